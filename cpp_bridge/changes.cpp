/* What changes.h declares: states remembered, compared and matched point by point. */

#include "changes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace mliap_local {

namespace {

/* How far two lists of ghosts may be out of step where atoms came between or went. */
constexpr int LOOK_AHEAD = 16;
/* Fewer own atoms than this are never too many for an incremental evaluation. */
constexpr int FEW = 32;
/* Beyond this fraction of the own atoms a full evaluation costs no more. */
constexpr int FRACTION = 8;
/* Values of a row and of an edge in mliap_local_change. */
constexpr int ROW = 2, EDGE = 5;
/* Room behind the records, so that Python need not copy them to pad them: its sizes are 64 rows or
   more, and up to 1.5 times what is needed. */
constexpr std::size_t LEAST_ROOM = 1024, ROOM_FACTOR = 2;

/* Points that contribute nothing are alike wherever they are. */
bool same(const double *a, int species_a, const double *b, int species_b, double tolerance)
{
  if (species_a != species_b) return false;
  if (species_a < 0) return true;
  return std::fabs(a[0] - b[0]) <= tolerance && std::fabs(a[1] - b[1]) <= tolerance &&
      std::fabs(a[2] - b[2]) <= tolerance;
}

}    // namespace

void Changes::forget()
{
  remembers_ = proposes_ = settled_unsent_ = false;
}

Changes::View Changes::view(const Points &points, int part)
{
  if (part == OWN) return {points.x, points.species, points.n_own};
  return {points.x + 3 * static_cast<std::size_t>(points.n_own), points.species + points.n_own,
          points.n_all - points.n_own};
}

void Changes::settle(const Points &points, double energy, double squares)
{
  for (int p = 0; p < PARTS; p++) {
    const View now = view(points, p);
    part_[p].settled.assign(now.x, now.species, now.n);
  }
  for (int k = 0; k < points.n_own; k++)
    if (points.species[k] >= 0) part_[OWN].settled.set_row(k, k);
  settled_energy_ = energy;
  settled_squares_ = squares;
  settled_cached_ = true;
  n_rows_ = points.n_own;
  free_rows_.clear();
  remembers_ = true;
  proposes_ = settled_unsent_ = false;
  accepted_ = 0;
}

Changes::Answer Changes::compare(const Points &points, double cutoff, double tolerance,
                                 double overlap)
{
  const auto nothing_differs = [&]() {
    return part_[OWN].gone.empty() && part_[OWN].come.empty() && part_[GHOSTS].gone.empty() &&
        part_[GHOSTS].come.empty();
  };
  tolerance_ = tolerance;
  if (!remembers_ || !find_difference(points)) return Answer::unknown;
  if (nothing_differs()) return Answer::settled;
  if (proposes_ && settle_proposal_if_nearer(points) && nothing_differs()) return Answer::proposed;
  return describe(points, cutoff, overlap);
}

/* --- how the points differ from the settled state ---------------------------------------------- */

bool Changes::same_at(const Part &part, int settled, const View &now, int place) const
{
  return same(part.settled.x(settled), *part.settled.species(settled), now.x + 3 * place,
              now.species[place], tolerance_);
}

/* Most points have not changed, and memcmp is as fast as memory. */
bool Changes::equal_run(const Part &part, int settled, const View &now, int place, int size) const
{
  return !std::memcmp(part.settled.x(settled), now.x + 3 * place, sizeof(double) * 3 * size) &&
      !std::memcmp(part.settled.species(settled), now.species + place, sizeof(int) * size);
}

void Changes::leave(Part &part, int place)
{
  if (*part.settled.species(place) >= 0) part.gone.push_back(place);
}

void Changes::enter(Part &part, const View &now, int place)
{
  part.touched.push_back({place, -1});
  if (now.species[place] >= 0) part.come.push_back(place);
}

int &Changes::touched_row(Part &part, int place)
{
  const auto before = [](const Touched &touched, int place) { return touched.place < place; };
  return std::lower_bound(part.touched.begin(), part.touched.end(), place, before)->row;
}

/* False if the difference is large. */
bool Changes::find_difference(const Points &points)
{
  for (Part &part : part_) {
    part.gone.clear();
    part.come.clear();
    part.touched.clear();
    part.in_order = true;
  }
  const std::size_t few = std::max(FEW, points.n_own / FRACTION);
  return compare_own(view(points, OWN), few) && compare_ghosts(view(points, GHOSTS), 32 * few);
}

/* Own atoms keep their places but for the few that were inserted, deleted or migrated. */
bool Changes::compare_own(const View &now, std::size_t few)
{
  Part &own = part_[OWN];
  const auto many = [&]() { return own.gone.size() + own.come.size() > 4 * few; };
  const int common = std::min(own.settled.size(), now.n);
  for (int begin = 0; begin < common && !many(); begin += PointList::RUN) {
    const int end = std::min(begin + PointList::RUN, common);
    if (equal_run(own, begin, now, begin, end - begin)) continue;
    for (int k = begin; k < end; k++)
      if (!same_at(own, k, now, k)) {
        leave(own, k);
        enter(own, now, k);
      }
  }
  for (int k = common; k < own.settled.size() && !many(); k++) leave(own, k);
  for (int k = common; k < now.n && !many(); k++) enter(own, now, k);
  if (many()) return false;
  match(own, now);
  return own.come.size() <= few && own.gone.size() <= few;
}

/* Ghosts keep their order, but one that comes or goes shifts all behind it. */
bool Changes::compare_ghosts(const View &now, std::size_t many)
{
  Part &ghosts = part_[GHOSTS];
  const int n_settled = ghosts.settled.size();
  int a = 0, b = 0;
  while (a < n_settled && b < now.n) {
    const int size = std::min({PointList::RUN, n_settled - a, now.n - b});
    if (equal_run(ghosts, a, now, b, size)) {
      a += size;
      b += size;
      continue;
    }
    for (int step = 0; step < size && a < n_settled && b < now.n; step++) {
      if (same_at(ghosts, a, now, b)) {
        a++;
        b++;
        continue;
      }
      int skip_a = 1, skip_b = 1;
      for (int total = 1, resolved = 0; total <= LOOK_AHEAD && !resolved; total++)
        for (int ahead = 0; ahead <= total; ahead++) {
          const int at_a = a + ahead, at_b = b + total - ahead;
          if (at_a < n_settled && at_b < now.n && same_at(ghosts, at_a, now, at_b)) {
            skip_a = ahead;
            skip_b = total - ahead;
            resolved = 1;
            break;
          }
        }
      if (skip_a != skip_b) ghosts.in_order = false;
      while (skip_a-- > 0) leave(ghosts, a++);
      while (skip_b-- > 0) enter(ghosts, now, b++);
      if (ghosts.come.size() + ghosts.gone.size() > many) return false;
    }
  }
  for (; a < n_settled; a++) leave(ghosts, a);
  for (; b < now.n; b++) enter(ghosts, now, b);
  if (ghosts.come.size() + ghosts.gone.size() > many) return false;
  match(ghosts, now);
  return true;
}

/* Points that only changed places have not changed: strike them out of the difference. */
void Changes::match(Part &part, const View &now)
{
  std::size_t kept = 0;
  for (const int place : part.come) {
    const auto g = std::find_if(part.gone.begin(), part.gone.end(), [&](int settled) {
      return settled >= 0 && same_at(part, settled, now, place);
    });
    if (g == part.gone.end()) {
      part.come[kept++] = place;
    } else {
      touched_row(part, place) = part.settled.row(*g);
      *g = -1;
    }
  }
  part.come.resize(kept);
  part.gone.erase(std::remove(part.gone.begin(), part.gone.end(), -1), part.gone.end());
}

/* --- was the proposal accepted ----------------------------------------------------------------- */

/* If the points are nearer to the proposal than to the settled state, the proposal was accepted:
   it becomes the settled state, and the difference is taken from there. */
bool Changes::settle_proposal_if_nearer(const Points &points)
{
  struct Against {
    std::vector<int> here;         // of each point of the proposal its place now, -1: nowhere
    std::vector<char> proposed;    // of each point that has come: was it proposed
    std::vector<int> still_gone, back;
  } against[PARTS];
  std::size_t from_settled = 0, from_proposed = 0;
  for (int p = 0; p < PARTS; p++) {
    const Part &part = part_[p];
    const View now = view(points, p);
    Against &to = against[p];
    to.here.assign(part.proposed_come.size(), -1);
    to.proposed.assign(part.come.size(), 0);
    std::size_t n_here = 0;
    for (std::size_t q = 0; q < part.proposed_come.size(); q++)
      for (std::size_t c = 0; c < part.come.size(); c++) {
        const Point &point = part.proposed_come[q];
        const int place = part.come[c];
        if (to.proposed[c] ||
            !same(point.x, point.species, now.x + 3 * place, now.species[place], tolerance_))
          continue;
        to.here[q] = place;
        to.proposed[c] = 1;
        n_here++;
        break;
      }
    const auto without = [](const std::vector<int> &all, const std::vector<int> &others,
                            std::vector<int> &rest) {
      std::set_difference(all.begin(), all.end(), others.begin(), others.end(),
                          std::back_inserter(rest));
    };
    without(part.gone, part.proposed_gone, to.still_gone);
    without(part.proposed_gone, part.gone, to.back);
    from_settled += part.gone.size() + part.come.size();
    from_proposed += to.still_gone.size() + to.back.size() + part.proposed_come.size() +
        part.come.size() - 2 * n_here;
  }
  if (from_proposed >= from_settled) return false;

  for (int p = 0; p < PARTS; p++) {
    Part &part = part_[p];
    const View now = view(points, p);
    std::vector<Point> gone;
    std::vector<int> come;
    for (const int place : against[p].still_gone) gone.push_back(part.settled.at(place));
    for (std::size_t q = 0; q < part.proposed_come.size(); q++)
      if (against[p].here[q] < 0)
        gone.push_back(part.proposed_come[q]);
      else
        touched_row(part, against[p].here[q]) = part.proposed_come[q].row;
    for (std::size_t c = 0; c < part.come.size(); c++)
      if (!against[p].proposed[c]) come.push_back(part.come[c]);
    for (const int place : against[p].back)
      if (const int at = place_of(part, place, now, come); at >= 0) come.push_back(at);
    std::sort(come.begin(), come.end());
    rewrite(part, now, gone, come);
  }
  free_rows_.resize(free_rows_.size() - proposed_taken_);
  free_rows_.insert(free_rows_.end(), proposed_emptied_.begin(), proposed_emptied_.end());
  n_rows_ = proposed_rows_;
  settled_energy_ = proposed_energy_;
  settled_squares_ += proposed_squares_;
  settled_cached_ = proposed_cached_;
  proposes_ = false;
  settled_unsent_ = proposed_cached_;
  accepted_++;
  return true;
}

/* Where a settled point that has not changed is now. That is asked of points which the proposal
   took away and which are back, and seldom: so just look. */
int Changes::place_of(const Part &part, int settled, const View &now,
                      const std::vector<int> &taken) const
{
  const int row = part.settled.row(settled);
  for (int place = 0; place < now.n; place++) {
    if (!same_at(part, settled, now, place)) continue;
    if (std::find(taken.begin(), taken.end(), place) != taken.end()) continue;
    const auto touched = std::find_if(part.touched.begin(), part.touched.end(),
                                      [&](const Touched &t) { return t.place == place; });
    const bool elsewhere = touched != part.touched.end();
    if (&part == &part_[GHOSTS] || (elsewhere ? touched->row == row : place == settled))
      return place;
  }
  return -1;
}

/* The proposal in the order of the points, so that the next comparison runs straight through: the
   points without those that came since, and with those that are gone since in their places. */
void Changes::rewrite(Part &part, const View &now, const std::vector<Point> &gone,
                      const std::vector<int> &come)
{
  const Point nothing{{0.0, 0.0, 0.0}, -1, -1};
  PointList &settled = part.settled;
  if (part.in_order) {
    settled.resize(now.n);
    for (const Touched &touched : part.touched) {
      const double *x = now.x + 3 * touched.place;
      settled.set(touched.place, {{x[0], x[1], x[2]}, now.species[touched.place], touched.row});
    }
  } else {
    settled.assign(now.x, now.species, now.n);
  }
  part.gone.clear();
  part.come = come;
  std::size_t g = 0;
  for (const int place : come) {
    const bool fits = g < gone.size();
    settled.set(place, fits ? gone[g++] : nothing);
    if (fits) part.gone.push_back(place);
  }
  for (; g < gone.size(); g++) {
    part.gone.push_back(settled.size());
    settled.resize(settled.size() + 1);
    settled.set(settled.size() - 1, gone[g]);
  }
}

/* --- the difference in the words of the contract ----------------------------------------------- */

Changes::Answer Changes::describe(const Points &points, double cutoff, double overlap)
{
  rows_.clear();
  edges_.clear();
  if (!take_rows(points)) return Answer::unknown;
  const int n_changed = static_cast<int>(rows_.size()) / ROW;
  const bool too_close = add_new_edges(cutoff, overlap);
  const int n_edges = static_cast<int>(edges_.size()) / EDGE;
  add_deleted_edges(cutoff);
  for (std::size_t k = 0; k < rows_.size(); k += ROW)
    place_of_row_[static_cast<int>(rows_[k])] = -1;
  pack(n_changed, n_edges);
  return too_close ? Answer::overlap : Answer::changed;
}

/* A changed atom takes the row of one that is gone, else a free one, else a new one. False if one
   is nowhere: no number is near nothing. */
bool Changes::take_rows(const Points &points)
{
  emptied_.clear();
  taken_ = 0;
  next_rows_ = n_rows_;
  std::size_t g = 0;
  for (int p = 0; p < PARTS; p++) {
    Part &part = part_[p];
    const View now = view(points, p);
    part.come_points.clear();
    for (const int place : part.come) {
      const double *x = now.x + 3 * place;
      if (!std::isfinite(x[0] + x[1] + x[2])) return false;
      int row = -1;
      if (p == OWN) {
        if (g < part.gone.size())
          row = part.settled.row(part.gone[g++]);
        else if (taken_ < free_rows_.size())
          row = free_rows_[free_rows_.size() - ++taken_];
        else
          row = next_rows_++;
        rows_.insert(rows_.end(),
                     {static_cast<double>(row), static_cast<double>(now.species[place])});
      }
      part.come_points.push_back({{x[0], x[1], x[2]}, now.species[place], row});
    }
  }
  const Part &own = part_[OWN];
  for (; g < own.gone.size(); g++) {
    emptied_.push_back(own.settled.row(own.gone[g]));
    rows_.insert(rows_.end(), {static_cast<double>(emptied_.back()), -1.0});
  }
  if (place_of_row_.size() < static_cast<std::size_t>(next_rows_))
    place_of_row_.resize(next_rows_, -1);
  return true;
}

/* Edges of the changed points with settled ones that have not changed, and among themselves. True
   if one of the former is shorter than allowed. */
bool Changes::add_new_edges(double cutoff, double overlap)
{
  bool too_close = false;
  for (int p = 0; p < PARTS; p++)
    for (std::size_t c = 0; c < part_[p].come_points.size(); c++) {
      const Point &point = part_[p].come_points[c];
      const int receiver = static_cast<int>(c);    // own: changed rows come first, in this order
      for (int q = 0; q < PARTS; q++) {
        if (p == GHOSTS && q == GHOSTS) continue;    // no row here receives from either
        const Part &part = part_[q];
        part.settled.find_near(point.x, cutoff, near_);
        for (const int place : near_) {
          if (std::binary_search(part.gone.begin(), part.gone.end(), place)) continue;
          const double *x = part.settled.x(place);
          if (square_distance(x, point.x) < overlap * overlap) too_close = true;
          if (p == OWN) add_edge(receiver, point.x, *part.settled.species(place), x);
          if (q == OWN) add_edge(place_of_row(place), x, point.species, point.x);
        }
        if (p != OWN) continue;
        for (std::size_t d = 0; d < part.come_points.size(); d++) {
          const Point &other = part.come_points[d];
          if (&other != &point && square_distance(other.x, point.x) < cutoff * cutoff)
            add_edge(receiver, point.x, other.species, other.x);
        }
      }
    }
  return too_close;
}

void Changes::add_deleted_edges(double cutoff)
{
  const Part &own = part_[OWN];
  for (const Part &part : part_)
    for (const int gone : part.gone) {
      const double *at = part.settled.x(gone);
      own.settled.find_near(at, cutoff, near_);
      for (const int place : near_)
        if (!std::binary_search(own.gone.begin(), own.gone.end(), place))
          add_edge(place_of_row(place), own.settled.x(place), *part.settled.species(gone), at);
    }
}

/* Where the row of an own atom that has not changed stands among the rows of the change. */
int Changes::place_of_row(int settled)
{
  const PointList &own = part_[OWN].settled;
  int &place = place_of_row_[own.row(settled)];
  if (place < 0) {
    place = static_cast<int>(rows_.size()) / ROW;
    rows_.insert(
        rows_.end(),
        {static_cast<double>(own.row(settled)), static_cast<double>(*own.species(settled))});
  }
  return place;
}

void Changes::add_edge(int receiver, const double *at_receiver, int sender_species,
                       const double *at_sender)
{
  edges_.insert(edges_.end(),
                {static_cast<double>(receiver), static_cast<double>(sender_species),
                 at_sender[0] - at_receiver[0], at_sender[1] - at_receiver[1],
                 at_sender[2] - at_receiver[2]});
}

void Changes::pack(int n_changed, int n_edges)
{
  const double n_rows = static_cast<double>(rows_.size() / ROW);
  const double n_deleted = static_cast<double>(edges_.size() / EDGE) - n_edges;
  packed_.assign({n_rows, static_cast<double>(n_changed), static_cast<double>(n_edges), n_deleted});
  packed_.insert(packed_.end(), rows_.begin(), rows_.end());
  packed_.insert(packed_.end(), edges_.begin(), edges_.end());
  packed_.resize(std::max(LEAST_ROOM, ROOM_FACTOR * packed_.size()), 0.0);
  change_ = {settled_unsent_, next_rows_, packed_.data(), static_cast<int>(packed_.size())};
}

void Changes::propose(double energy, double squares, bool cached)
{
  for (Part &part : part_) {
    part.proposed_gone = part.gone;
    part.proposed_come = part.come_points;
  }
  proposed_cached_ = cached;
  proposed_energy_ = energy;
  proposed_squares_ = squares;
  proposed_emptied_ = emptied_;
  proposed_taken_ = taken_;
  proposed_rows_ = next_rows_;
  proposes_ = true;
  settled_unsent_ = false;
}

}    // namespace mliap_local
