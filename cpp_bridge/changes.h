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
  void settle(const Points &points, double energy);

  /* Compare. `tolerance`: a coordinate that differs by no more has not changed. `overlap`: the
     distance that a changed atom must keep from those that did not change; 0: no guard. */
  Answer compare(const Points &points, double cutoff, double tolerance, double overlap);

  /* After Answer::changed: the difference, valid until the next call of this object. */
  const mliap_local_change &change() const { return change_; }

  /* The energy of that difference's new state, which is now the proposal. `cached`: its rows were
     handed to the cache, so that they can be settled there. */
  void propose(double energy, bool cached);

  double settled_energy() const { return settled_.energy; }
  bool cached() const { return settled_.cached; }    // does the cache hold the settled state
  long accepted() const { return accepted_; }    // proposals settled since the last settle()

 private:
  struct Point {
    double x[3];
    int species;
    int row;    // of the cache, own atoms only
    bool own;
  };
  struct State {
    int n_own = 0, n_all = 0;
    std::vector<double> x;
    std::vector<int> species, row;    // row: own atoms
    double energy = 0.0;
    bool cached = false;
  };
  struct Difference {
    std::vector<int> gone;    // places in the settled state
    std::vector<int> come;    // places in the new state
  };

  bool same(const double *a, int species_a, const double *b, int species_b) const;
  bool find_difference(const Points &points);
  void match(const Points &points, std::size_t first_gone, std::size_t first_come, bool own);
  bool settle_proposal_if_nearer(const Points &points);
  void write_settled(const Points &points, const std::vector<Point> &gone,
                     const std::vector<int> &come);
  Answer describe(const Points &points, double cutoff, double overlap);
  void add_edge(int receiver, int sender_species, const double *at_receiver,
                const double *at_sender);
  int row_place(int row, int species);

  bool remembers_ = false, proposes_ = false, settled_unsent_ = false;
  double tolerance_ = 0.0;
  State settled_;
  long accepted_ = 0;
  int n_rows_ = 0;    // rows of the cache in use or free, all below this
  std::vector<int> free_rows_;

  Difference difference_;
  std::vector<int> row_now_;    // row of each own atom of the new state, -1: changed

  /* The proposal, as its difference from the settled state. */
  std::vector<int> proposed_gone_;
  std::vector<Point> proposed_come_;
  double proposed_energy_ = 0.0;
  bool proposed_cached_ = false;
  std::vector<int> proposed_emptied_;    // rows that it frees
  std::size_t proposed_taken_ = 0;    // free rows that it takes, from the end
  int proposed_rows_ = 0;    // rows that there are then

  /* Storage behind change_, and what propose() needs of it. */
  mliap_local_change change_{};
  std::vector<int> row_, species_, receiver_, sender_species_, place_of_row_;
  std::vector<double> r_ij_;
  std::vector<int> near_, emptied_;
  std::vector<Point> come_points_;
  std::size_t taken_ = 0;
  int rows_ = 0;
  State scratch_;
};

}    // namespace mliap_local
