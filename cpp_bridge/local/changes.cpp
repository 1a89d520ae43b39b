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
  cache_rows_.assign(points.n_own);
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

bool Changes::same_at(const Compared &part, int settled, const View &now, int place) const
{
  return same(part.settled.x(settled), *part.settled.species(settled), now.x + 3 * place,
              now.species[place], tolerance_);
}

/* Most points have not changed, and memcmp is as fast as memory. */
bool Changes::equal_run(const Compared &part, int settled, const View &now, int place,
                        int size) const
{
  return !std::memcmp(part.settled.x(settled), now.x + 3 * place, sizeof(double) * 3 * size) &&
      !std::memcmp(part.settled.species(settled), now.species + place, sizeof(int) * size);
}

void Changes::leave(Compared &part, int place)
{
  if (*part.settled.species(place) >= 0) part.gone.push_back(place);
}

void Changes::enter(Compared &part, const View &now, int place)
{
  part.touched.push_back({place, -1});
  if (now.species[place] >= 0) part.come.push_back(place);
}

int &Changes::touched_row(Compared &part, int place)
{
  const auto before = [](const Touched &touched, int place) { return touched.place < place; };
  return std::lower_bound(part.touched.begin(), part.touched.end(), place, before)->row;
}

/* False if the difference is large. */
bool Changes::find_difference(const Points &points)
{
  for (Compared &part : part_) {
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
  Compared &own = part_[OWN];
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
  Compared &ghosts = part_[GHOSTS];
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
void Changes::match(Compared &part, const View &now)
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
    const Compared &part = part_[p];
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
    Compared &part = part_[p];
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
  cache_rows_.settle(proposed_rows_);
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
int Changes::place_of(const Compared &part, int settled, const View &now,
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
void Changes::rewrite(Compared &part, const View &now, const std::vector<Point> &gone,
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
  packed_.clear();
  if (!take_rows(points)) return Answer::unknown;
  std::vector<Point> come[PARTS], gone[PARTS];
  for (int p = 0; p < PARTS; p++) {
    come[p] = part_[p].come_points;
    for (const int place : part_[p].gone) gone[p].push_back(part_[p].settled.at(place));
  }
  const auto near = [&](int p, const Point &point, auto &&visit) {
    const Compared &part = part_[p];
    part.settled.find_near(point.x, cutoff, near_);
    for (const int place : near_)
      if (!std::binary_search(part.gone.begin(), part.gone.end(), place))
        visit(part.settled.x(place), *part.settled.species(place), part.settled.row(place));
  };
  const bool too_close = packed_.add_edges(come, gone, cutoff, overlap, near);
  change_ = packed_.pack(settled_unsent_, next_rows_.size);
  return too_close ? Answer::overlap : Answer::changed;
}

/* False if a point is nowhere: no number is near nothing. */
bool Changes::take_rows(const Points &points)
{
  std::vector<int> gone;
  for (const int place : part_[OWN].gone) gone.push_back(part_[OWN].settled.row(place));
  next_rows_ = cache_rows_.propose(std::move(gone));
  for (int p = 0; p < PARTS; p++) {
    Compared &part = part_[p];
    const View now = view(points, p);
    part.come_points.clear();
    for (const int place : part.come) {
      const double *x = now.x + 3 * place;
      if (!std::isfinite(x[0] + x[1] + x[2])) return false;
      const int row = p == OWN ? cache_rows_.take(next_rows_) : -1;
      if (p == OWN) packed_.add_changed_row(row, now.species[place]);
      part.come_points.push_back({{x[0], x[1], x[2]}, now.species[place], row});
    }
  }
  for (std::size_t g = next_rows_.from_gone; g < next_rows_.gone.size(); g++)
    packed_.add_changed_row(next_rows_.gone[g], -1);
  return true;
}

void Changes::propose(double energy, double squares, bool cached)
{
  for (Compared &part : part_) {
    part.proposed_gone = part.gone;
    part.proposed_come = part.come_points;
  }
  proposed_cached_ = cached;
  proposed_energy_ = energy;
  proposed_squares_ = squares;
  proposed_rows_ = next_rows_;
  proposes_ = true;
  settled_unsent_ = false;
}

}    // namespace mliap_local
