/* What stage.h declares: the points of a stage, and proposals as differences of few rows. */

#include "stage.h"

#include <algorithm>
#include <cmath>

namespace mliap_local {

/* An image that LAMMPS made differs from ours by rounding: this part of the cutoff. */
static constexpr double SAME_PLACE = 1.0e-7;
/* Places that came one by one slow every search down; when so many have come, all are sorted anew:
   this number, and one for so many points. */
static constexpr int MANY_ADDED = 4096, PART_ADDED = 8;
/* The cache has room for all own atoms at once, or for so many: each size is a compilation. */
static constexpr int FIRST_ROWS = 16384;
/* Rows that are filled in one call, at most. */
static constexpr std::size_t MOST_FILLED = 4096;

bool Surroundings::operator==(const Surroundings &other) const
{
  return std::equal(&edge[0][0], &edge[0][0] + 9, &other.edge[0][0]) &&
      std::equal(periodic, periodic + 3, other.periodic) && std::equal(low, low + 3, other.low) &&
      std::equal(high, high + 3, other.high);
}

/* --- the points -------------------------------------------------------------------------------- */

bool Stage::holds(const Points &points, const Surroundings &around) const
{
  if (points.n_own != n_own_ || !(around == around_)) return false;
  for (int k = 0; k < n_own_; k++) {
    const int place = place_of_[k];
    if (cells_.species(place) != points.species[k] ||
        !std::equal(points.x + 3 * k, points.x + 3 * k + 3, cells_.x(place)))
      return false;
  }
  return true;
}

void Stage::begin(const Points &points, const Surroundings &around)
{
  around_ = around;
  /* Images of a point in the box that may be near to one in it: so many edges away. */
  for (int c = 0; c < 3; c++) {
    const double *a = around.edge[(c + 1) % 3], *b = around.edge[(c + 2) % 3];
    const double normal[3] = {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2],
                              a[0] * b[1] - a[1] * b[0]};
    double along = 0.0, area2 = 0.0;
    for (int d = 0; d < 3; d++) {
      along += normal[d] * around.edge[c][d];
      area2 += normal[d] * normal[d];
    }
    const double thickness = std::fabs(along) / std::sqrt(area2);
    reach_[c] = around.periodic[c] ? static_cast<int>(std::ceil(evaluator_.cutoff / thickness)) : 0;
  }
  cells_.assign(points.x, points.species, points.n_all, evaluator_.cutoff);
  n_own_ = points.n_own;
  place_of_.assign(cells_.places().begin(), cells_.places().begin() + n_own_);
  row_.assign(points.n_all, GHOST);
  start_anew();
  proposal_ = Proposal();
}

/* The same points, sorted by cell again. */
void Stage::compact()
{
  std::vector<double> x;
  std::vector<int> species, rows;
  const auto keep = [&](int place) {
    x.insert(x.end(), cells_.x(place), cells_.x(place) + 3);
    species.push_back(cells_.species(place));
    rows.push_back(row_[place]);
  };
  for (const int place : place_of_) keep(place);
  for (int place = 0; place < cells_.size(); place++)
    if (row_[place] == GHOST && cells_.species(place) >= 0) keep(place);
  cells_.assign(x.data(), species.data(), static_cast<int>(species.size()), evaluator_.cutoff);
  place_of_.assign(cells_.places().begin(), cells_.places().begin() + n_own_);
  row_.resize(rows.size());
  for (std::size_t k = 0; k < rows.size(); k++) row_[cells_.places()[k]] = rows[k];
}

/* Images of a point of the box that own points here may be near to; `home`: the point itself. */
template <class Visit> void Stage::images(const double *x, Visit &&visit) const
{
  for (int a = -reach_[0]; a <= reach_[0]; a++)
    for (int b = -reach_[1]; b <= reach_[1]; b++)
      for (int c = -reach_[2]; c <= reach_[2]; c++) {
        const bool home = a == 0 && b == 0 && c == 0;
        double image[3];
        bool near = true;
        for (int d = 0; d < 3; d++) {
          image[d] = x[d];
          if (!home)
            image[d] += a * around_.edge[0][d] + b * around_.edge[1][d] + c * around_.edge[2][d];
          near = near && image[d] > around_.low[d] - evaluator_.cutoff &&
              image[d] < around_.high[d] + evaluator_.cutoff;
        }
        if (near || home) visit(image, home, near);
      }
}

/* A ghost that goes. Two alike at one point may both go, so each is found once. */
int Stage::place_at(const Proposal &proposal, const double *x, int species) const
{
  int found = -1;
  near_.clear();
  cells_.find_near(x, SAME_PLACE * evaluator_.cutoff, near_);
  for (const int place : near_) {
    if (row_[place] != GHOST || cells_.species(place) != species) continue;
    if (std::find(proposal.gone.begin(), proposal.gone.end(), place) != proposal.gone.end())
      continue;
    if (found < 0 || square_distance(x, cells_.x(place)) < square_distance(x, cells_.x(found)))
      found = place;
  }
  return found;
}

/* --- a proposal -------------------------------------------------------------------------------- */

/* Settled places near to a place, but for those that go. */
void Stage::find_kept(const Proposal &proposal, const double *at, double cutoff,
                      std::vector<int> &near) const
{
  near.clear();
  cells_.find_near(at, cutoff, near);
  const std::vector<int> &gone = proposal.gone_sorted;
  near.erase(std::remove_if(
                 near.begin(), near.end(),
                 [&](int place) { return std::binary_search(gone.begin(), gone.end(), place); }),
             near.end());
}

/* Who goes and comes here, images included. */
bool Stage::describe(const std::vector<TrialAtom> &gone, const std::vector<TrialAtom> &come,
                     Proposal &proposal)
{
  bool good = true;
  proposal = Proposal();
  for (const TrialAtom &atom : gone)
    images(atom.x, [&](const double *x, bool home, bool) {
      const bool own = home && atom.own >= 0;
      const int place = own ? place_of_[atom.own] : place_at(proposal, x, atom.species);
      if (place >= 0) {
        proposal.gone.push_back(place);
        proposal.leave[own ? OWN : GHOSTS].push_back({{x[0], x[1], x[2]}, atom.species, -1});
        return;
      }
      near_.clear();    // beyond LAMMPS's ghosts an image is missed by nobody
      cells_.find_near(x, evaluator_.cutoff, near_);
      for (const int p : near_) good = good && row_[p] == GHOST;
    });
  proposal.gone_sorted = proposal.gone;
  std::sort(proposal.gone_sorted.begin(), proposal.gone_sorted.end());
  if (!good)
    failure_ = "expected a ghost for each periodic image near an atom, got none for one that a "
               "trial moves; use comm_modify cutoff with a larger cutoff";
  for (const TrialAtom &atom : come)
    images(atom.x, [&](const double *x, bool home, bool near) {
      const bool own = home && atom.own >= 0;
      if (!near && !own) return;
      proposal.come[own ? OWN : GHOSTS].push_back({{x[0], x[1], x[2]}, atom.species, -1});
      if (own) proposal.index.push_back(atom.own);
    });
  return good;
}

void Stage::find_near(Proposal &proposal) const
{
  const auto look = [&](const std::vector<Point>(&points)[PARTS],
                        std::vector<std::vector<int>>(&near)[PARTS]) {
    for (int part = 0; part < PARTS; part++) {
      near[part].resize(points[part].size());
      for (std::size_t k = 0; k < points[part].size(); k++) {
        std::vector<int> &found = near[part][k];
        if (&points == &proposal.come && k < proposal.leave[part].size() &&
            std::equal(points[part][k].x, points[part][k].x + 3, proposal.leave[part][k].x)) {
          found = proposal.near_leave[part][k];    // it stays where it is, as another species
          continue;
        }
        find_kept(proposal, points[part][k].x, evaluator_.cutoff, found);
        if (part == GHOSTS)
          found.erase(std::remove_if(found.begin(), found.end(),
                                     [&](int place) { return row_[place] == GHOST; }),
                      found.end());
        for (const int place : found)
          if (row_[place] != GHOST) proposal.touched.push_back(place);
      }
    }
  };
  look(proposal.leave, proposal.near_leave);
  look(proposal.come, proposal.near_come);
  std::sort(proposal.touched.begin(), proposal.touched.end());
  proposal.touched.erase(std::unique(proposal.touched.begin(), proposal.touched.end()),
                         proposal.touched.end());
}

/* Rows of the present state for those of these own places that have none. */
bool Stage::fill(std::vector<int> places)
{
  places.erase(std::remove_if(places.begin(), places.end(),
                              [&](int place) { return row_[place] != UNKNOWN; }),
               places.end());
  for (std::size_t begin = 0; begin < places.size(); begin += MOST_FILLED) {
    const std::size_t end = std::min(places.size(), begin + MOST_FILLED);
    const std::vector<int> part(places.begin() + static_cast<long>(begin),
                                places.begin() + static_cast<long>(end));
    CacheRows::Proposal taken = cache_rows_.propose({});
    rows_row_.clear();
    for (std::size_t k = 0; k < part.size(); k++) rows_row_.push_back(cache_rows_.take(taken));
    Shares shares(static_cast<int>(part.size()), rows_of(part, nullptr));
    mliap_local_rows wanted = shares.wanted();
    wanted.keep = 1;
    wanted.row = rows_row_.data();
    wanted.settled = settled_;
    wanted.cache_rows = cache_size(taken.size);
    mliap_local_result result{};
    if (!evaluator_.full(wanted, result)) return false;
    cache_rows_.settle(taken);
    for (std::size_t k = 0; k < part.size(); k++) row_[part[k]] = rows_row_[k];
    settled_ = 0;
    energy_ = result.energy;
    squares_ += result.squares;
    compilations_ = result.compilations;
    filled_ += static_cast<long>(part.size());
  }
  return true;
}

/* Neighbours of these places in the present state, or in a proposed one, whose own atoms that come
   follow. The places must live as long as the answer. */
Shares::Find Stage::rows_of(const std::vector<int> &places, const Proposal *proposal) const
{
  return [this, &places, proposal](int begin, int end, Rows &rows) {
    static thread_local std::vector<int> near;
    const double cutoff2 = evaluator_.cutoff * evaluator_.cutoff;
    rows.clear();
    for (int row = begin; row < end; row++) {
      const bool comes = row >= static_cast<int>(places.size());
      const int place = comes ? -1 : places[row];
      const Point *self = comes ? &proposal->come[OWN][row - places.size()] : nullptr;
      const double *at = comes ? self->x : cells_.x(place);
      near.clear();
      if (proposal)
        find_kept(*proposal, at, evaluator_.cutoff, near);
      else
        cells_.find_near(at, evaluator_.cutoff, near);
      std::size_t room = near.size();
      if (proposal) room += proposal->come[OWN].size() + proposal->come[GHOSTS].size();
      rows.begin_row(place, comes ? self->species : std::max(-1, cells_.species(place)),
                     static_cast<int>(room));
      if (proposal)
        for (const std::vector<Point> &part : proposal->come)
          for (const Point &point : part)
            if (&point != self && square_distance(at, point.x) < cutoff2)
              rows.add(-1, point.species, at, point.x, true);
      for (const int other : near)
        rows.add(other, cells_.species(other), at, cells_.x(other), other != place);
    }
  };
}

bool Stage::evaluate(const std::vector<int> &places, const Proposal *proposal, double &energy,
                     double &squares)
{
  const std::size_t n = places.size() + (proposal ? proposal->come[OWN].size() : 0);
  Shares shares(static_cast<int>(n), rows_of(places, proposal));
  mliap_local_result result{};
  const bool good = evaluator_.full(shares.wanted(), result);
  energy = result.energy;
  squares = result.squares;
  compilations_ = result.compilations;
  return good;
}

/* The proposal in the words of the contract, in packed_. False if something overlaps. */
bool Stage::pack(Proposal &proposal, double overlap)
{
  std::vector<int> gone;
  for (const int place : proposal.gone)
    if (row_[place] != GHOST) gone.push_back(row_[place]);
  proposal.rows = cache_rows_.propose(std::move(gone));
  packed_.clear();
  for (Point &point : proposal.come[OWN]) {
    point.row = cache_rows_.take(proposal.rows);
    packed_.add_changed_row(point.row, point.species);
  }
  for (std::size_t g = proposal.rows.from_gone; g < proposal.rows.gone.size(); g++)
    packed_.add_changed_row(proposal.rows.gone[g], -1);
  const auto near_of = [&](const Point &point) -> const std::vector<int> & {
    for (int part = 0; part < PARTS; part++) {
      const auto &come = proposal.come[part], &leave = proposal.leave[part];
      if (&point >= come.data() && &point < come.data() + come.size())
        return proposal.near_come[part][&point - come.data()];
      if (&point >= leave.data() && &point < leave.data() + leave.size())
        return proposal.near_leave[part][&point - leave.data()];
    }
    return near_;    // it is one of them
  };
  return !packed_.add_edges(proposal.come, proposal.leave, evaluator_.cutoff, overlap,
                            [&](int part, const Point &point, auto &&visit) {
                              for (const int place : near_of(point))
                                if ((row_[place] == GHOST) == (part == GHOSTS))
                                  visit(cells_.x(place), cells_.species(place), row_[place]);
                            });
}

int Stage::cache_size(int rows) const
{
  return std::max(rows, std::min(n_own_, FIRST_ROWS));
}

Stage::Answer Stage::propose(const std::vector<TrialAtom> &gone, const std::vector<TrialAtom> &come,
                             double overlap)
{
  failure_.clear();
  if (cells_.added() > MANY_ADDED + n_own_ / PART_ADDED) compact();
  if (!describe(gone, come, proposal_)) return Answer::failed;
  find_near(proposal_);
  std::vector<int> needed = proposal_.touched;
  for (const int place : proposal_.gone)
    if (row_[place] != GHOST) needed.push_back(place);
  difference_ = 0.0;
  if (needed.empty() && proposal_.come[OWN].empty()) {
    proposed_energy_ = energy_;
    proposal_.rows = cache_rows_.propose({});
    return Answer::none;
  }
  if (!fill(needed)) return Answer::failed;
  if (!pack(proposal_, overlap)) return Answer::overlap;
  const mliap_local_change change = packed_.pack(settled_, cache_size(proposal_.rows.size));
  mliap_local_result result{};
  if (!evaluator_.update(change, result)) return Answer::failed;
  settled_ = 0;
  updates_++;
  compilations_ = result.compilations;
  proposal_.cached = result.sound;
  if (result.sound) {
    proposed_energy_ = result.energy;
    difference_ = result.energy - energy_;
    squares_ += result.squares;
  } else if (!evaluate_wholly(proposal_, difference_)) {
    return Answer::failed;
  }
  return is_beyond(result.grade) ? Answer::beyond : Answer::difference;
}

/* Where huge messages are taken away only rounding would be left: both states from scratch. */
bool Stage::evaluate_wholly(const Proposal &proposal, double &difference)
{
  std::vector<int> before = proposal.touched;
  for (const int place : proposal.gone)
    if (row_[place] != GHOST) before.push_back(place);
  double old_energy, new_energy, squares;
  if (!evaluate(before, nullptr, old_energy, squares)) return false;
  if (!evaluate(proposal.touched, &proposal, new_energy, squares)) return false;
  difference = new_energy - old_energy;
  return true;
}

void Stage::accept()
{
  for (const int place : proposal_.gone) cells_.remove(place);
  for (int part = 0; part < PARTS; part++)
    for (std::size_t k = 0; k < proposal_.come[part].size(); k++) {
      const Point &point = proposal_.come[part][k];
      const int place = cells_.add(point.x, point.species);
      row_.push_back(part == OWN ? point.row : GHOST);
      if (part == GHOSTS) continue;
      const int index = proposal_.index[k];
      if (index == n_own_) {
        place_of_.push_back(place);
        n_own_++;
      } else {
        place_of_[index] = place;
      }
    }
  accepted_++;
  if (proposal_.cached) {
    cache_rows_.settle(proposal_.rows);
    settled_ = 1;
    energy_ = proposed_energy_;
  } else if (!proposal_.touched.empty() || !proposal_.come[OWN].empty() ||
             !proposal_.leave[OWN].empty()) {
    start_anew();
  }
  proposal_ = Proposal();
  if (refresh_ > 0 && accepted_ >= refresh_) start_anew();
}

/* No row is known: each is evaluated from its neighbours when a trial next touches it. */
void Stage::start_anew()
{
  for (const int place : place_of_) row_[place] = UNKNOWN;
  cache_rows_.assign(0);
  settled_ = -1;
  energy_ = squares_ = 0.0;
  accepted_ = 0;
}

void Stage::close_gap(int own)
{
  place_of_[own] = place_of_.back();
  place_of_.pop_back();
  n_own_--;
}

/* --- many proposals at once -------------------------------------------------------------------- */

bool Stage::fill_around(const std::vector<Proposal> &proposals)
{
  std::vector<int> needed;
  for (const Proposal &proposal : proposals) {
    needed.insert(needed.end(), proposal.touched.begin(), proposal.touched.end());
    for (const int place : proposal.gone)
      if (row_[place] != GHOST) needed.push_back(place);
  }
  std::sort(needed.begin(), needed.end());
  needed.erase(std::unique(needed.begin(), needed.end()), needed.end());
  return fill(std::move(needed));
}

bool Stage::describe_each(const std::vector<Trial> &trials, std::vector<Proposal> &proposals)
{
  failure_.clear();
  proposals.resize(trials.size());
  for (std::size_t t = 0; t < trials.size(); t++) {
    if (!describe(trials[t].gone, trials[t].come, proposals[t])) return false;
    find_near(proposals[t]);
  }
  return fill_around(proposals);
}

bool Stage::prepare(const std::vector<Trial> &trials)
{
  std::vector<Proposal> proposals;
  return describe_each(trials, proposals);
}

bool Stage::propose_each(std::vector<Trial> &trials, double overlap)
{
  std::vector<Proposal> proposals;
  if (!describe_each(trials, proposals)) return false;

  together_.clear();
  int cache_rows = cache_rows_.size();
  for (std::size_t t = 0; t < trials.size(); t++) {
    Proposal &proposal = proposals[t];
    trials[t].difference = 0.0;
    trials[t].answer = Answer::none;
    if (proposal.touched.empty() && proposal.come[OWN].empty() && proposal.leave[OWN].empty())
      continue;
    const bool apart = pack(proposal, overlap);
    trials[t].answer = apart ? Answer::difference : Answer::overlap;
    if (!apart) continue;
    together_.add(packed_, static_cast<int>(t));
    cache_rows = std::max(cache_rows, proposal.rows.size);
  }
  if (together_.empty()) return true;
  const mliap_local_change change = together_.pack(settled_, cache_size(cache_rows));
  atom_energy_.resize(together_.n_rows());
  settled_energy_.resize(together_.n_rows());
  mliap_local_result result{};
  result.atom_energy = atom_energy_.data();
  result.settled_energy = settled_energy_.data();
  if (grade_ > 0.0) {
    atom_grade_.resize(together_.n_rows());
    result.atom_grade = atom_grade_.data();
  }
  if (!evaluator_.update(change, result)) return false;
  settled_ = 0;
  updates_++;
  compilations_ = result.compilations;
  for (std::size_t row = 0; row < atom_grade_.size(); row++)
    if (is_beyond(atom_grade_[row]))
      trials[together_.owner(static_cast<int>(row))].answer = Answer::beyond;
  if (!result.sound) {    // which of them? each for itself
    for (std::size_t t = 0; t < trials.size(); t++)
      if (trials[t].answer == Answer::difference &&
          !evaluate_wholly(proposals[t], trials[t].difference))
        return false;
    return true;
  }
  for (int row = 0; row < together_.n_rows(); row++) {
    const int t = together_.owner(row);
    const Proposal &proposal = proposals[t];
    /* A row that was free holds nothing of the present state. */
    const bool was_free = together_.changed(row) >= static_cast<int>(proposal.rows.from_gone) &&
        together_.changed(row) < static_cast<int>(proposal.come[OWN].size());
    trials[t].difference += atom_energy_[row] - (was_free ? 0.0 : settled_energy_[row]);
  }
  return true;
}

/* --- what others ask --------------------------------------------------------------------------- */

double Stage::close_pairs(double distance) const
{
  double pairs = 0.0;
  for (const int place : place_of_) {
    if (cells_.species(place) < 0) continue;
    near_.clear();
    cells_.find_near(cells_.x(place), distance, near_);
    pairs += static_cast<double>(near_.size()) - 1.0;    // itself
  }
  return pairs;
}

/* Pairs of these points with own ones, and of own ones among them with all, themselves included. */
double Stage::close_to(const Proposal &proposal, const std::vector<Point> (&points)[PARTS],
                       double distance) const
{
  double pairs = 0.0;
  const double distance2 = distance * distance;
  for (int part = 0; part < PARTS; part++)
    for (const Point &point : points[part]) {
      find_kept(proposal, point.x, distance, near_);
      for (const int place : near_) pairs += (part == OWN) + (row_[place] != GHOST);
      if (part == OWN)
        for (const std::vector<Point> &others : points)
          for (const Point &other : others)
            pairs += &other != &point && square_distance(other.x, point.x) < distance2;
    }
  return pairs;
}

double Stage::close_pairs_difference(double distance) const
{
  return close_to(proposal_, proposal_.come, distance) -
      close_to(proposal_, proposal_.leave, distance);
}

bool Stage::evaluate_all(double &energy, double &squares)
{
  return evaluate(place_of_, nullptr, energy, squares);
}

bool Stage::evaluate_known(double &energy, double &squares)
{
  std::vector<int> places;
  for (const int place : place_of_)
    if (row_[place] >= 0) places.push_back(place);
  return evaluate(places, nullptr, energy, squares);
}

std::vector<int> Stage::known() const
{
  std::vector<int> known;
  for (int k = 0; k < n_own_; k++)
    if (row_[place_of_[k]] >= 0) known.push_back(k);
  return known;
}

double Stage::memory() const
{
  return static_cast<double>(cells_.size()) * (3 * sizeof(double) + 4 * sizeof(int));
}

}    // namespace mliap_local
