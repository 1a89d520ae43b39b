/* What changes.h declares: states remembered, compared and matched point by point. */

#include "changes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace mliap_local {

namespace {

/* Points compared at once: most have not changed, and memcmp is as fast as memory. */
constexpr int BLOCK = 64;
/* How far two lists of ghosts may be out of step where atoms came between or went. */
constexpr int LOOK_AHEAD = 16;
/* Fewer own atoms than this are never too many for an incremental evaluation. */
constexpr int FEW = 32;
/* Beyond this fraction of the own atoms a full evaluation costs no more. */
constexpr int FRACTION = 8;

}    // namespace

void Changes::forget()
{
  remembers_ = proposes_ = settled_unsent_ = false;
}

void Changes::settle(const Points &points, double energy)
{
  settled_.n_own = points.n_own;
  settled_.n_all = points.n_all;
  settled_.x.assign(points.x, points.x + 3 * static_cast<std::size_t>(points.n_all));
  settled_.species.assign(points.species, points.species + points.n_all);
  settled_.row.resize(points.n_own);
  for (int k = 0; k < points.n_own; k++) settled_.row[k] = points.species[k] < 0 ? -1 : k;
  settled_.energy = energy;
  settled_.cached = true;
  n_rows_ = points.n_own;
  free_rows_.clear();
  remembers_ = true;
  proposes_ = settled_unsent_ = false;
  accepted_ = 0;
}

Changes::Answer Changes::compare(const Points &points, double cutoff, double tolerance,
                                 double overlap)
{
  tolerance_ = tolerance;
  if (!remembers_ || !find_difference(points)) return Answer::unknown;
  if (difference_.gone.empty() && difference_.come.empty()) return Answer::settled;
  if (proposes_ && settle_proposal_if_nearer(points) && difference_.gone.empty() &&
      difference_.come.empty())
    return Answer::proposed;
  return describe(points, cutoff, overlap);
}

/* Points that contribute nothing are alike wherever they are. */
bool Changes::same(const double *a, int species_a, const double *b, int species_b) const
{
  if (species_a != species_b) return false;
  if (species_a < 0) return true;
  return std::fabs(a[0] - b[0]) <= tolerance_ && std::fabs(a[1] - b[1]) <= tolerance_ &&
      std::fabs(a[2] - b[2]) <= tolerance_;
}

/* The difference between the settled state and the points; false if it is large. */
bool Changes::find_difference(const Points &points)
{
  const State &old = settled_;
  std::vector<int> &gone = difference_.gone, &come = difference_.come;
  gone.clear();
  come.clear();
  const std::size_t few = std::max(FEW, points.n_own / FRACTION);

  const auto lost = [&](int place) {
    if (old.species[place] >= 0) gone.push_back(place);
  };
  const auto found = [&](int place) {
    if (points.species[place] >= 0) come.push_back(place);
  };
  const auto same_at = [&](int a, int b) {
    return same(&old.x[3 * a], old.species[a], points.x + 3 * b, points.species[b]);
  };
  const auto equal_block = [&](int a, int b, int size) {
    return !std::memcmp(&old.x[3 * a], points.x + 3 * b, sizeof(double) * 3 * size) &&
        !std::memcmp(&old.species[a], points.species + b, sizeof(int) * size);
  };

  /* Own atoms keep their places but for the few that were inserted, deleted or migrated. */
  const int common = std::min(old.n_own, points.n_own);
  row_now_.resize(points.n_own);
  std::copy(old.row.begin(), old.row.begin() + common, row_now_.begin());
  for (int k = 0; k < common;) {
    const int size = std::min(BLOCK, common - k);
    if (!equal_block(k, k, size))
      for (int at = k; at < k + size; at++)
        if (!same_at(at, at)) {
          lost(at);
          found(at);
          row_now_[at] = -1;
        }
    if (come.size() + gone.size() > 4 * few) return false;
    k += size;
  }
  for (int k = common; k < old.n_own; k++) lost(k);
  for (int k = common; k < points.n_own; k++) {
    found(k);
    row_now_[k] = -1;
  }
  if (come.size() + gone.size() > 4 * few) return false;
  match(points, 0, 0, true);
  if (come.size() > few || gone.size() > few) return false;

  /* Ghosts keep their order, but one that comes or goes shifts all behind it. */
  const std::size_t own_gone = gone.size(), own_come = come.size();
  const std::size_t many = 32 * few;
  int a = old.n_own, b = points.n_own;
  while (a < old.n_all && b < points.n_all) {
    const int size = std::min({BLOCK, old.n_all - a, points.n_all - b});
    if (equal_block(a, b, size)) {
      a += size;
      b += size;
      continue;
    }
    for (int step = 0; step < size && a < old.n_all && b < points.n_all; step++) {
      if (same_at(a, b)) {
        a++;
        b++;
        continue;
      }
      int skip_a = 1, skip_b = 1;
      for (int total = 1, resolved = 0; total <= LOOK_AHEAD && !resolved; total++)
        for (int ahead = 0; ahead <= total; ahead++) {
          const int at_a = a + ahead, at_b = b + total - ahead;
          if (at_a < old.n_all && at_b < points.n_all && same_at(at_a, at_b)) {
            skip_a = ahead;
            skip_b = total - ahead;
            resolved = 1;
            break;
          }
        }
      while (skip_a-- > 0) lost(a++);
      while (skip_b-- > 0) found(b++);
      if (come.size() + gone.size() > many) return false;
    }
  }
  for (; a < old.n_all; a++) lost(a);
  for (; b < points.n_all; b++) found(b);
  if (come.size() + gone.size() > many) return false;
  match(points, own_gone, own_come, false);
  return true;
}

/* Points that only changed places have not changed: strike them out of the difference. */
void Changes::match(const Points &points, std::size_t first_gone, std::size_t first_come, bool own)
{
  std::vector<int> &gone = difference_.gone, &come = difference_.come;
  std::size_t kept_come = first_come;
  for (std::size_t c = first_come; c < come.size(); c++) {
    bool struck = false;
    for (std::size_t g = first_gone; g < gone.size() && !struck; g++) {
      if (gone[g] < 0) continue;
      if (same(&settled_.x[3 * gone[g]], settled_.species[gone[g]], points.x + 3 * come[c],
               points.species[come[c]])) {
        if (own) row_now_[come[c]] = settled_.row[gone[g]];
        gone[g] = -1;
        struck = true;
      }
    }
    if (!struck) come[kept_come++] = come[c];
  }
  come.resize(kept_come);
  gone.erase(std::remove(gone.begin() + first_gone, gone.end(), -1), gone.end());
}

/* If the points are nearer to the proposal than to the settled state, the proposal was accepted:
   it becomes the settled state, and the difference is taken from there. */
bool Changes::settle_proposal_if_nearer(const Points &points)
{
  const std::vector<int> &gone = difference_.gone, &come = difference_.come;

  /* Which points of the proposal are here, and which points here are the proposal's? */
  std::vector<int> here(proposed_come_.size(), -1);
  std::vector<char> proposed(come.size(), 0);
  std::size_t n_here = 0;
  for (std::size_t q = 0; q < proposed_come_.size(); q++)
    for (std::size_t c = 0; c < come.size(); c++) {
      const Point &point = proposed_come_[q];
      if (proposed[c] || point.own != (come[c] < points.n_own)) continue;
      if (!same(point.x, point.species, points.x + 3 * come[c], points.species[come[c]])) continue;
      here[q] = come[c];
      proposed[c] = 1;
      n_here++;
      break;
    }
  std::vector<int> both, still_gone, back;
  std::set_difference(gone.begin(), gone.end(), proposed_gone_.begin(), proposed_gone_.end(),
                      std::back_inserter(still_gone));
  std::set_difference(proposed_gone_.begin(), proposed_gone_.end(), gone.begin(), gone.end(),
                      std::back_inserter(back));
  const std::size_t from_settled = gone.size() + come.size();
  const std::size_t from_proposed =
      still_gone.size() + back.size() + (proposed_come_.size() - n_here) + (come.size() - n_here);
  if (from_proposed >= from_settled) return false;

  /* The difference from the proposal, as points that are gone and places that have come. */
  std::vector<Point> now_gone;
  std::vector<int> now_come;
  for (int place : still_gone) {
    const bool own = place < settled_.n_own;
    const double *x = &settled_.x[3 * place];
    now_gone.push_back(
        {{x[0], x[1], x[2]}, settled_.species[place], own ? settled_.row[place] : -1, own});
  }
  for (std::size_t q = 0; q < proposed_come_.size(); q++) {
    if (here[q] < 0)
      now_gone.push_back(proposed_come_[q]);
    else if (proposed_come_[q].own)
      row_now_[here[q]] = proposed_come_[q].row;
  }
  for (std::size_t c = 0; c < come.size(); c++)
    if (!proposed[c]) now_come.push_back(come[c]);
  for (int place : back) {    // the proposal took it away, and here it is: rare, so just look
    const bool own = place < settled_.n_own;
    const int begin = own ? 0 : points.n_own, end = own ? points.n_own : points.n_all;
    for (int k = begin; k < end; k++)
      if (same(&settled_.x[3 * place], settled_.species[place], points.x + 3 * k,
               points.species[k]) &&
          (!own || row_now_[k] == settled_.row[place]) &&
          std::find(now_come.begin(), now_come.end(), k) == now_come.end()) {
        now_come.push_back(k);
        if (own) row_now_[k] = -1;
        break;
      }
  }
  std::sort(now_come.begin(), now_come.end());

  free_rows_.resize(free_rows_.size() - proposed_taken_);
  free_rows_.insert(free_rows_.end(), proposed_emptied_.begin(), proposed_emptied_.end());
  n_rows_ = proposed_rows_;
  write_settled(points, now_gone, now_come);
  settled_.energy = proposed_energy_;
  settled_.cached = proposed_cached_;
  proposes_ = false;
  settled_unsent_ = proposed_cached_;
  accepted_++;
  return true;
}

/* The settled state, written in the order of the points so that the next comparison runs straight
   through: the points without those that came, and those that are gone in their places. */
void Changes::write_settled(const Points &points, const std::vector<Point> &gone,
                            const std::vector<int> &come)
{
  State &next = scratch_;
  next.x.clear();
  next.species.clear();
  next.row.clear();
  difference_.gone.clear();
  difference_.come = come;

  const auto copy = [&](int begin, int end, bool own) {
    next.x.insert(next.x.end(), points.x + 3 * begin, points.x + 3 * end);
    next.species.insert(next.species.end(), points.species + begin, points.species + end);
    if (own) next.row.insert(next.row.end(), row_now_.begin() + begin, row_now_.begin() + end);
  };
  const auto put = [&](const Point &point) {
    difference_.gone.push_back(static_cast<int>(next.species.size()));
    next.x.insert(next.x.end(), point.x, point.x + 3);
    next.species.push_back(point.species);
    if (point.own) next.row.push_back(point.row);
  };
  const auto part = [&](int begin, int end, bool own) {
    std::size_t g = 0;
    const auto next_gone = [&]() -> const Point * {
      while (g < gone.size() && gone[g].own != own) g++;
      return g < gone.size() ? &gone[g++] : nullptr;
    };
    for (int place : come) {
      if (place < begin || place >= end) continue;
      copy(begin, place, own);
      if (const Point *point = next_gone()) {
        put(*point);
      } else if (own) {    // keep the atoms behind it in their places
        copy(place, place + 1, own);
        next.species.back() = next.row.back() = -1;
      }
      begin = place + 1;
    }
    copy(begin, end, own);
    while (const Point *point = next_gone()) put(*point);
  };
  part(0, points.n_own, true);
  next.n_own = static_cast<int>(next.species.size());
  part(points.n_own, points.n_all, false);
  next.n_all = static_cast<int>(next.species.size());
  std::swap(settled_, scratch_);
}

/* The difference in the words of the contract. */
Changes::Answer Changes::describe(const Points &points, double cutoff, double overlap)
{
  const std::vector<int> &gone = difference_.gone, &come = difference_.come;
  const State &old = settled_;
  row_.clear();
  species_.clear();
  receiver_.clear();
  sender_species_.clear();
  r_ij_.clear();
  come_points_.clear();
  emptied_.clear();
  taken_ = 0;
  int n_rows = n_rows_;

  /* A changed atom takes the row of one that is gone, else a free one, else a new one. */
  std::size_t g = 0;
  while (g < gone.size() && gone[g] >= old.n_own) g++;
  const auto next_row_gone = [&]() {
    const int row = g < gone.size() ? old.row[gone[g++]] : -1;
    while (g < gone.size() && gone[g] >= old.n_own) g++;
    return row;
  };
  for (int place : come) {
    const double *x = points.x + 3 * place;
    const bool own = place < points.n_own;
    int row = -1;
    if (!std::isfinite(x[0] + x[1] + x[2])) return Answer::unknown;    // no number is near nothing
    if (own) {
      row = next_row_gone();
      if (row < 0 && taken_ < free_rows_.size()) row = free_rows_[free_rows_.size() - ++taken_];
      if (row < 0) row = n_rows++;
      row_.push_back(row);
      species_.push_back(points.species[place]);
    }
    come_points_.push_back({{x[0], x[1], x[2]}, points.species[place], row, own});
  }
  for (int row = next_row_gone(); row >= 0; row = next_row_gone()) {
    row_.push_back(row);
    species_.push_back(-1);
    emptied_.push_back(row);
  }
  rows_ = n_rows;
  change_.n_changed = static_cast<int>(row_.size());
  if (place_of_row_.size() < static_cast<std::size_t>(n_rows)) place_of_row_.resize(n_rows, -1);

  const double overlap2 = overlap * overlap;
  const auto changed_here = [&](int p) { return std::binary_search(come.begin(), come.end(), p); };
  bool too_close = false;
  int changed_place = 0;
  for (std::size_t c = 0; c < come.size(); c++) {
    const Point &point = come_points_[c];
    find_near(points, point.own ? points.n_all : points.n_own, point.x, cutoff, come[c], near_);
    for (int p : near_) {
      const double *x = points.x + 3 * p;
      const double d[3] = {x[0] - point.x[0], x[1] - point.x[1], x[2] - point.x[2]};
      if (d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < overlap2 && !changed_here(p)) too_close = true;
      if (point.own) add_edge(changed_place, points.species[p], point.x, x);
      if (p < points.n_own && row_now_[p] >= 0)
        add_edge(row_place(row_now_[p], points.species[p]), point.species, x, point.x);
    }
    if (point.own) changed_place++;
  }
  change_.n_edges = static_cast<int>(receiver_.size());
  for (int place : gone) {
    const double *at = &old.x[3 * place];
    find_near(points, points.n_own, at, cutoff, -1, near_);
    for (int p : near_)
      if (row_now_[p] >= 0)
        add_edge(row_place(row_now_[p], points.species[p]), old.species[place], points.x + 3 * p,
                 at);
  }
  for (int row : row_) place_of_row_[row] = -1;

  change_.n_edges_deleted = static_cast<int>(receiver_.size()) - change_.n_edges;
  change_.n_rows = static_cast<int>(row_.size());
  change_.accepted = settled_unsent_;
  change_.row = row_.data();
  change_.species = species_.data();
  change_.receiver = receiver_.data();
  change_.sender_species = sender_species_.data();
  change_.r_ij = r_ij_.data();
  return too_close ? Answer::overlap : Answer::changed;
}

/* Where an unchanged row stands among the rows of the change. */
int Changes::row_place(int row, int species)
{
  if (place_of_row_[row] < 0) {
    place_of_row_[row] = static_cast<int>(row_.size());
    row_.push_back(row);
    species_.push_back(species);
  }
  return place_of_row_[row];
}

void Changes::add_edge(int receiver, int sender_species, const double *at_receiver,
                       const double *at_sender)
{
  receiver_.push_back(receiver);
  sender_species_.push_back(sender_species);
  for (int c = 0; c < 3; c++) r_ij_.push_back(at_sender[c] - at_receiver[c]);
}

void Changes::propose(double energy, bool cached)
{
  proposed_cached_ = cached;
  proposed_gone_ = difference_.gone;
  std::sort(proposed_gone_.begin(), proposed_gone_.end());
  proposed_come_ = come_points_;
  proposed_energy_ = energy;
  proposed_emptied_ = emptied_;
  proposed_taken_ = taken_;
  proposed_rows_ = rows_;
  proposes_ = true;
  settled_unsent_ = false;
}

}    // namespace mliap_local
