/* What neighbours.h declares: loops over atoms and lists, and no decisions. */

#include "neighbours.h"

#include <algorithm>
#include <limits>

namespace mliap_local {

void find_row(const Points &points, const NeighbourList &list, double cutoff, int i,
              std::vector<int> &row)
{
  if (points.species[i] < 0) return;
  const double cutoff2 = cutoff * cutoff;
  const int *neighbours = list.firstneigh[i];
  for (int jj = 0; jj < list.numneigh[i]; jj++) {
    const int j = neighbours[jj] & list.mask;
    if (points.species[j] >= 0 && square_distance(points.x + 3 * i, points.x + 3 * j) < cutoff2)
      row.push_back(j);
  }
}

void Rows::clear()
{
  atoms.clear();
  species.clear();
  first.assign(1, 0);
  for (const int atom : others) places_[atom] = -1;
  others.clear();
  n_more = 0;
}

/* What another row costs, in places for neighbours. */
static constexpr int ROW = 10;
/* Rows are cut where that leaves less than so much. */
static constexpr double WORTH = 0.9;

/* The width at which rows cost least, where wider ones go on in other rows, and what they cost. */
static std::pair<int, std::size_t> narrowest(const std::vector<int> &lengths)
{
  const int widest = lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
  std::vector<std::size_t> rows(widest + 1);    // of each length
  for (const int length : lengths) rows[length]++;
  int best = widest;
  const std::size_t whole = lengths.size() * (widest + ROW);
  std::size_t room = whole;
  for (int width = widest - 2; width >= 8; width -= 2) {
    std::size_t needed = rows[0];
    for (int length = 1; length <= widest; length++)
      needed += rows[length] * ((length + width - 1) / width);
    if (needed * (width + ROW) >= room) continue;
    room = needed * (width + ROW);
    best = width;
  }
  if (room < WORTH * whole) return {best, room};
  return {widest, whole};
}

void Rows::split()
{
  const int n = n_rows();
  std::vector<int> lengths(n), order, starts{0};
  for (int row = 0; row < n; row++) lengths[row] = first[row + 1] - first[row];
  const int widest = narrowest(lengths).first;
  if (widest == width()) return;
  const auto take = [&](int from, int to) {
    for (int k = from; k < to; k++) order.push_back(k);
    starts.push_back(static_cast<int>(order.size()));
  };
  for (int row = 0; row < n; row++) take(first[row], std::min(first[row + 1], first[row] + widest));
  for (int row = 0; row < n; row++)
    for (int from = first[row] + widest; from < first[row + 1]; from += widest, n_more++) {
      take(from, std::min(first[row + 1], from + widest));
      const int atom = atoms[row], kind = species[row];
      atoms.push_back(atom);
      species.push_back(kind);
    }
  const auto reorder = [&](auto &values) {
    const auto old = values;
    for (std::size_t k = 0; k < order.size(); k++) values[k] = old[order[k]];
  };
  reorder(senders);
  reorder(kinds);
  reorder(other);
  for (std::vector<double> &component : r_ij) reorder(component);
  first = starts;
}

int Rows::place(int atom, int n)
{
  if (static_cast<int>(places_.size()) < n) places_.resize(n, -1);
  if (places_[atom] < 0) {
    places_[atom] = static_cast<int>(others.size());
    others.push_back(atom);
  }
  return places_[atom];
}

void Rows::begin_row(int atom, int kind, int room)
{
  atoms.push_back(atom);
  species.push_back(kind);
  first.push_back(first.back());
  const std::size_t needed = static_cast<std::size_t>(first.back()) + room + 1;
  if (senders.size() >= needed) return;
  const std::size_t size = needed + needed / 2;
  senders.resize(size);
  kinds.resize(size);
  for (std::vector<double> &component : r_ij) component.resize(size);
}

int Rows::width() const
{
  int width = 0;
  for (int row = 0; row < n_rows(); row++) width = std::max(width, first[row + 1] - first[row]);
  return width;
}

/* The row of atom i: who of these is near. */
static void add_row(const Points &points, double cutoff, int i, const int *neighbours, int n,
                    int mask, Rows &rows)
{
  const double cutoff2 = cutoff * cutoff;
  rows.begin_row(i, points.species[i], n);
  const double *x_i = points.x + 3 * static_cast<std::size_t>(i);
  for (int jj = 0; jj < n; jj++) {
    const int j = neighbours[jj] & mask;
    const double *x_j = points.x + 3 * static_cast<std::size_t>(j);
    const bool near = square_distance(x_i, x_j) < cutoff2;
    rows.add(j, points.species[j], x_i, x_j, near & (points.species[j] >= 0));
  }
}

void find_rows(const Points &points, const NeighbourList &list, double cutoff,
               const std::vector<int> &atoms, int begin, int end, Rows &rows)
{
  rows.clear();
  for (int row = begin; row < end; row++) {
    const bool listed = atoms[row] >= 0;
    const int i = listed ? atoms[row] : ~atoms[row];
    const int n = listed && points.species[i] >= 0 ? list.numneigh[i] : 0;
    add_row(points, cutoff, i, list.firstneigh[i], n, list.mask, rows);
  }
}

void HalfList::make(const Points &points, const NeighbourList &list)
{
  std::vector<int> listed;
  list_own(points, list, listed);
  species_.assign(points.species, points.species + points.n_all);
  first_.assign(1, 0);
  neighbours_.clear();
  std::vector<int> lengths;
  std::size_t whole = 0;
  for (int i = 0; i < points.n_own; i++) {
    const int kind = points.species[i], n = listed[i] >= 0 && kind >= 0 ? list.numneigh[i] : 0;
    for (int jj = 0; jj < n; jj++) {
      const int j = list.firstneigh[i][jj] & list.mask, owner = ends.owner[j];
      const bool pair = points.species[j] == kind && owner >= 0;
      const bool farther =
          ends.depth[j] > ends.depth[i] || (ends.depth[j] == ends.depth[i] && owner > i);
      if (!pair || farther) neighbours_.push_back(j);
    }
    lengths.push_back(static_cast<int>(neighbours_.size() - first_.back()));
    first_.push_back(neighbours_.size());
    whole = std::max<std::size_t>(whole, n);
  }
  const double all = static_cast<double>(points.n_own) * static_cast<double>(whole + ROW);
  room_ = all > 0.0 ? static_cast<double>(narrowest(lengths).second) / all : 1.0;
}

double HalfList::bytes() const
{
  return static_cast<double>(neighbours_.capacity() + species_.capacity()) * sizeof(int) +
      static_cast<double>(first_.capacity()) * sizeof(std::size_t) +
      static_cast<double>(ends.owner.capacity()) * (sizeof(int) + sizeof(std::int64_t));
}

bool HalfList::is_of(const Points &points) const
{
  return species_.size() == static_cast<std::size_t>(points.n_all) &&
      std::equal(species_.begin(), species_.end(), points.species);
}

void HalfList::find_rows(const Points &points, double cutoff, int begin, int end, Rows &rows) const
{
  rows.clear();
  for (int i = begin; i < end; i++) {
    const int kind = points.species[i], from = rows.first.back();
    const int n = kind >= 0 ? static_cast<int>(first_[i + 1] - first_[i]) : 0;
    add_row(points, cutoff, i, neighbours_.data() + first_[i], n, ~0, rows);
    if (rows.other.size() < rows.senders.size()) rows.other.resize(rows.senders.size());
    for (int k = from; k < rows.first.back(); k++) {
      const int owner = ends.owner[rows.senders[k]];
      rows.other[k] = rows.kinds[k] != kind || owner < 0 ? -1 : rows.place(owner, points.n_own);
    }
  }
  rows.split();
}

void list_own(const Points &points, const NeighbourList &list, std::vector<int> &atoms)
{
  atoms.resize(points.n_own);
  for (int i = 0; i < points.n_own; i++) atoms[i] = ~i;
  for (int ii = 0; ii < list.inum; ii++) atoms[list.ilist[ii]] = list.ilist[ii];
}

void search_rows(const Points &points, double cutoff, int begin, int end, Rows &rows)
{
  rows.clear();
  for (int i = begin; i < end; i++) {
    const bool counts = points.species[i] >= 0;
    rows.begin_row(i, points.species[i], counts ? points.n_all : 0);
    for (int j = 0; counts && j < points.n_all; j++) {
      const double x = points.x[3 * j] - points.x[3 * i];
      const double y = points.x[3 * j + 1] - points.x[3 * i + 1];
      const double z = points.x[3 * j + 2] - points.x[3 * i + 2];
      const bool near = x * x + y * y + z * z < cutoff * cutoff;
      if (near && j != i && points.species[j] >= 0)
        rows.add(j, points.species[j], points.x + 3 * i, points.x + 3 * j, true);
    }
  }
}

/* Values of neighbours in rows as wide as `width`, `none` where there is no neighbour. */
template <typename Value>
static void lay_values(const Rows &rows, int capacity, int width, const std::vector<Value> &values,
                       Value none, Value *laid)
{
  Value *const end = laid + static_cast<std::size_t>(capacity) * width;
  for (int row = 0; row < rows.n_rows(); row++) {
    const int from = rows.first[row], n = rows.first[row + 1] - from;
    laid = std::copy_n(values.data() + from, n, laid);
    laid = std::fill_n(laid, width - n, none);
  }
  std::fill(laid, end, none);
}

template <typename Real>
void lay_rows(const Rows &rows, int capacity, int width, int *species, signed char *kinds,
              Real *r_ij)
{
  const std::size_t plane = static_cast<std::size_t>(capacity) * width;
  for (int row = 0; row < rows.n_rows(); row++) {
    const int from = rows.first[row], n = rows.first[row + 1] - from;
    const std::size_t to = static_cast<std::size_t>(row) * width;
    for (int c = 0; c < 3; c++) {
      const double *found = rows.r_ij[c].data() + from;
      Real *laid = r_ij + c * plane + to;
      for (int k = 0; k < n; k++) laid[k] = static_cast<Real>(found[k]);
    }
  }
  lay_values(rows, capacity, width, rows.kinds, static_cast<signed char>(-1), kinds);
  std::copy(rows.species.begin(), rows.species.end(), species);
  std::fill(species + rows.n_rows(), species + capacity, -1);
}

void lay_others(const Rows &rows, int capacity, int width, int *others, int *other)
{
  const int none = static_cast<int>(rows.others.size());
  std::copy(rows.others.begin(), rows.others.end(), others);
  std::copy(rows.atoms.end() - rows.n_more, rows.atoms.end(), others + none);
  std::fill_n(other, static_cast<std::size_t>(capacity) * width, none);
  for (int row = 0; row < rows.n_rows(); row++) {
    int *laid = other + static_cast<std::size_t>(row) * width;
    for (int k = rows.first[row]; k < rows.first[row + 1]; k++, laid++)
      if (rows.other[k] >= 0) *laid = rows.other[k];
  }
}

void lay_points(const Rows &rows, int capacity, int width, int none, int *point, int *neighbour)
{
  lay_values(rows, capacity, width, rows.senders, none, neighbour);
  std::copy(rows.atoms.begin(), rows.atoms.end(), point);
  std::fill(point + rows.n_rows(), point + capacity, none);
}

template void lay_rows(const Rows &, int, int, int *, signed char *, float *);
template void lay_rows(const Rows &, int, int, int *, signed char *, double *);

std::pair<int, int> closest_pair(const Points &points)
{
  std::pair<int, int> closest{-1, -1};
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < points.n_own; i++)
    for (int j = 0; j < points.n_all; j++) {
      if (j == i || points.species[i] < 0 || points.species[j] < 0) continue;
      const double square = square_distance(points.x + 3 * i, points.x + 3 * j);
      if (square >= least) continue;
      least = square;
      closest = {i, j};
    }
  return closest;
}

template <typename Real>
void add_forces(const Rows &rows, int capacity, int width, const Real *gradient, const Sums &sums)
{
  const bool wants_virial = sums.virial || sums.vatom || sums.cvatom;
  const std::size_t plane = static_cast<std::size_t>(capacity) * width;
  for (int row = 0; row < rows.n_rows(); row++) {
    const int i = rows.atoms[row], from = rows.first[row], n = rows.first[row + 1] - from;
    if (n == 0) continue;
    const Real *at = gradient + static_cast<std::size_t>(row) * width;
    double f_i[3] = {0.0, 0.0, 0.0};
    for (int k = 0; k < n; k++) {
      const int j = rows.senders[from + k];
      const double g[3] = {at[k], at[k + plane], at[k + 2 * plane]};
      double *f_j = sums.f + 3 * static_cast<std::size_t>(j);
      for (int c = 0; c < 3; c++) {
        f_i[c] += g[c];
        f_j[c] -= g[c];
      }
      if (!wants_virial) continue;
      const double r[3] = {rows.r_ij[0][from + k], rows.r_ij[1][from + k], rows.r_ij[2][from + k]};
      const double v[9] = {-r[0] * g[0], -r[1] * g[1], -r[2] * g[2], -r[0] * g[1], -r[0] * g[2],
                           -r[1] * g[2], -r[1] * g[0], -r[2] * g[0], -r[2] * g[1]};
      if (sums.virial)
        for (int c = 0; c < 6; c++) sums.virial[c] += v[c];
      if (sums.vatom)
        for (int c = 0; c < 6; c++) {
          sums.vatom[i][c] += 0.5 * v[c];
          sums.vatom[j][c] += 0.5 * v[c];
        }
      if (sums.cvatom)
        for (int c = 0; c < 9; c++) sums.cvatom[j][c] += v[c];
    }
    for (int c = 0; c < 3; c++) sums.f[3 * static_cast<std::size_t>(i) + c] += f_i[c];
  }
}

template void add_forces(const Rows &, int, int, const float *, const Sums &);
template void add_forces(const Rows &, int, int, const double *, const Sums &);

void add_point_forces(const Points &points, const double *force, const Sums &sums)
{
  const std::size_t n = 3 * static_cast<std::size_t>(points.n_all);
  for (std::size_t k = 0; k < n; k++) sums.f[k] += force[k];
  if (!sums.virial) return;
  for (std::size_t k = 0; k < n; k += 3) {
    const double *r = points.x + k, *f = force + k;
    const double v[6] = {r[0] * f[0], r[1] * f[1], r[2] * f[2],
                         r[0] * f[1], r[0] * f[2], r[1] * f[2]};
    for (int c = 0; c < 6; c++) sums.virial[c] += v[c];
  }
}

/* Loops without branches, which the compiler turns into vector instructions, the widest that the
   processor has. */
// ThreadSanitizer is not yet there when the loader asks which of the versions to take
#if defined(__x86_64__) && defined(__GNUC__) && defined(__GLIBC__) && !defined(__clang__) &&       \
    !defined(__SANITIZE_THREAD__)
#define WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDEST
#endif

WIDEST void find_species(const int *type, const int *mask, int hidden, const int *species_of_type,
                         int n, int *__restrict species)
{
  for (int k = 0; k < n; k++) {
    const int known = species_of_type[type[k]];
    species[k] = mask[k] & hidden ? -1 : known;
  }
}

/* Squared distances of a few points. */
static constexpr int LANES = 16;

WIDEST static bool any_near(const double *x, const double *at, double cutoff2, double *square)
{
  long any = 0;
  for (int p = 0; p < LANES; p++) {
    const double dx = x[3 * p] - at[0], dy = x[3 * p + 1] - at[1], dz = x[3 * p + 2] - at[2];
    square[p] = dx * dx + dy * dy + dz * dz;
  }
  for (int p = 0; p < LANES; p++) any |= square[p] < cutoff2;
  return any;
}

void find_near(const double *x, const int *species, int begin, int end, const double *at,
               double cutoff, std::vector<int> &near)
{
  const double cutoff2 = cutoff * cutoff;
  double square[LANES];
  const auto keep = [&](int p, double square) {
    if (square < cutoff2 && species[p] >= 0) near.push_back(p);
  };
  for (; begin + LANES <= end; begin += LANES) {
    if (!any_near(x + 3 * begin, at, cutoff2, square)) continue;
    for (int p = 0; p < LANES; p++) keep(begin + p, square[p]);
  }
  for (; begin < end; begin++) keep(begin, square_distance(at, x + 3 * begin));
}

}    // namespace mliap_local
