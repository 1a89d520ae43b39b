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

void collect_rows(const Points &points, const NeighbourList &list, double cutoff,
                  const std::vector<int> &atoms, Rows &rows)
{
  /* The list holds neighbours within the skin too; the rows must be as narrow as they can be,
     because every place costs an edge. So gather first, then lay out with the width found. */
  static thread_local std::vector<int> found;
  static thread_local std::vector<std::size_t> first;
  found.clear();
  first.assign(1, 0);
  std::size_t width = 1;
  for (const int i : atoms) {
    if (i >= 0) find_row(points, list, cutoff, i, found);
    width = std::max(width, found.size() - first.back());
    first.push_back(found.size());
  }

  const std::size_t places = atoms.size() * width;
  rows.width = static_cast<int>(width);
  rows.senders.assign(places, -1);
  rows.neighbour_species.assign(places, -1);
  rows.r_ij.assign(places * 3, 0.0);
  for (std::size_t row = 0; row < atoms.size(); row++) {
    if (atoms[row] < 0) continue;
    const double *x_i = points.x + 3 * atoms[row];
    std::size_t place = row * width;
    for (std::size_t k = first[row]; k < first[row + 1]; k++, place++) {
      const int j = found[k];
      rows.senders[place] = j;
      rows.neighbour_species[place] = points.species[j];
      for (int c = 0; c < 3; c++) rows.r_ij[3 * place + c] = points.x[3 * j + c] - x_i[c];
    }
  }
}

void collect_rows(const Points &points, const NeighbourList &list, double cutoff, Rows &rows)
{
  static thread_local std::vector<int> atoms;
  atoms.assign(points.n_own, -1);
  for (int ii = 0; ii < list.inum; ii++) atoms[list.ilist[ii]] = list.ilist[ii];
  collect_rows(points, list, cutoff, atoms, rows);
}

void search_rows(const Points &points, double cutoff, Rows &rows)
{
  std::vector<std::vector<int>> senders(points.n_own);
  std::size_t width = 1;
  for (int i = 0; i < points.n_own; i++) {
    if (points.species[i] < 0) continue;
    for (int j = 0; j < points.n_all; j++) {
      const double x = points.x[3 * j] - points.x[3 * i];
      const double y = points.x[3 * j + 1] - points.x[3 * i + 1];
      const double z = points.x[3 * j + 2] - points.x[3 * i + 2];
      if (x * x + y * y + z * z < cutoff * cutoff && j != i && points.species[j] >= 0)
        senders[i].push_back(j);
    }
    width = std::max(width, senders[i].size());
  }
  rows.width = static_cast<int>(width);
  rows.senders.assign(width * points.n_own, -1);
  rows.neighbour_species.assign(width * points.n_own, -1);
  rows.r_ij.assign(3 * width * points.n_own, 0.0);
  for (int i = 0; i < points.n_own; i++)
    for (std::size_t k = 0; k < senders[i].size(); k++) {
      const int j = senders[i][k];
      rows.senders[width * i + k] = j;
      rows.neighbour_species[width * i + k] = points.species[j];
      for (int c = 0; c < 3; c++)
        rows.r_ij[3 * (width * i + k) + c] = points.x[3 * j + c] - points.x[3 * i + c];
    }
}

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

void add_forces(const Rows &rows, const double *edge_gradient, int n_own, const Sums &sums)
{
  const bool wants_virial = sums.virial || sums.vatom || sums.cvatom;
  for (int i = 0; i < n_own; i++) {
    double *f_i = sums.f + 3 * i;
    for (int k = 0; k < rows.width; k++) {
      const std::size_t place = static_cast<std::size_t>(i) * rows.width + k;
      const int j = rows.senders[place];
      if (j < 0) break;
      const double *g = edge_gradient + 3 * place;
      const double *r = rows.r_ij.data() + 3 * place;
      double *f_j = sums.f + 3 * j;
      for (int c = 0; c < 3; c++) {
        f_i[c] += g[c];
        f_j[c] -= g[c];
      }
      if (!wants_virial) continue;
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
  }
}

/* Loops without branches, which the compiler turns into vector instructions, the widest that the
   processor has. */
#if defined(__x86_64__) && defined(__GNUC__) && defined(__GLIBC__) && !defined(__clang__)
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
