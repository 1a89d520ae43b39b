/* What changed since the last call, and which remembered state it changed from.

   A Monte Carlo fix tells the pair style neither what it tries nor what came of it. So two states
   are remembered: the settled one, whose rows the cache holds, and the last proposal, as its
   difference from it. A new state is compared with both, point by point; the nearer one is what
   it came from. If that is the proposal, the proposal was accepted.

   Nothing that LAMMPS says about its atoms is trusted: not tags, order, images, or the age of a
   list. A point is its position and species; own atoms and ghosts are compared alike, so a change
   is seen on every process that can see it. Whatever happened between two calls, the difference
   is complete; if it is large, the answer is that a full evaluation is due. */

#pragma once

#include "interpreter.h"
#include "neighbours.h"
#include "packed_change.h"
#include "point_list.h"

#include <vector>

namespace mliap_local {

class Changes {
 public:
  enum class Answer {
    settled,     // the settled state itself: its energy is known
    proposed,    // the proposal itself, which is settled now: its energy is known
    overlap,     // a changed atom is closer to an unchanged one than allowed
    changed,     // a small difference: see change()
    unknown,    // nothing remembered, too much changed, or no number: evaluate in full, settle()
  };

  /* Remember nothing. */
  void forget();

  /* Points of which all rows were evaluated just now; row k of the cache is own atom k. */
  void settle(const Points &points, double energy, double squares);

  /* Compare. `tolerance`: a coordinate that differs by no more has not changed. `overlap`: the
     distance that a changed atom must keep from those that did not change; 0: no guard. */
  Answer compare(const Points &points, double cutoff, double tolerance, double overlap);

  /* After Answer::changed: the difference, valid until the next call of this object. */
  const mliap_local_change &change() const { return change_; }

  /* The energy of that difference's new state, which is now the proposal. `cached`: its rows were
     handed to the cache, so that they can be settled there. */
  void propose(double energy, double squares, bool cached);

  double settled_energy() const { return settled_energy_; }
  /* What mliap_local_result.squares has come to: of the last settle(), and of all updates since,
     the proposal's included. */
  double squares() const { return settled_squares_ + (proposes_ ? proposed_squares_ : 0.0); }
  bool cached() const { return settled_cached_; }    // does the cache hold the settled state
  bool proposes() const { return proposes_; }
  long accepted() const { return accepted_; }    // proposals settled since the last settle()

 private:
  struct View {
    const double *x;
    const int *species;
    int n;
  };
  struct Touched {    // a place that does not hold what the settled state holds there
    int place, row;    // row: of what is remembered from elsewhere, -1: new
  };
  /* Own atoms or ghosts: what is settled, how the points differ, and how the proposal did. */
  struct Compared {
    PointList settled;
    std::vector<int> gone;    // places in the settled state
    std::vector<int> come;    // places among the points
    std::vector<Touched> touched;
    bool in_order = true;    // places have not shifted: `touched` is all that differs
    std::vector<Point> come_points;
    std::vector<int> proposed_gone;
    std::vector<Point> proposed_come;
  };

  static View view(const Points &points, int part);
  bool same_at(const Compared &part, int settled, const View &now, int place) const;
  bool equal_run(const Compared &part, int settled, const View &now, int place, int size) const;
  static void leave(Compared &part, int place);
  static void enter(Compared &part, const View &now, int place);
  static int &touched_row(Compared &part, int place);
  bool find_difference(const Points &points);
  bool compare_own(const View &now, std::size_t few);
  bool compare_ghosts(const View &now, std::size_t many);
  void match(Compared &part, const View &now);
  bool settle_proposal_if_nearer(const Points &points);
  int place_of(const Compared &part, int settled, const View &now,
               const std::vector<int> &taken) const;
  static void rewrite(Compared &part, const View &now, const std::vector<Point> &gone,
                      const std::vector<int> &come);
  Answer describe(const Points &points, double cutoff, double overlap);
  bool take_rows(const Points &points);

  bool remembers_ = false, proposes_ = false, settled_unsent_ = false;
  double tolerance_ = 0.0;
  Compared part_[PARTS];
  double settled_energy_ = 0.0, settled_squares_ = 0.0;
  bool settled_cached_ = false;
  long accepted_ = 0;
  CacheRows cache_rows_;

  /* The proposal, beside its parts. */
  double proposed_energy_ = 0.0, proposed_squares_ = 0.0;
  bool proposed_cached_ = false;
  CacheRows::Proposal proposed_rows_;

  /* Storage behind change_, and what propose() needs of it. */
  mliap_local_change change_{};
  PackedChange packed_;
  CacheRows::Proposal next_rows_;
  std::vector<int> near_;
};

}    // namespace mliap_local
