/* A Monte Carlo stage: what a trial changes in the energy, at the price of what it touches.

   begin() looks at all points once and sorts them into cells. After that nothing here costs more
   than the neighbours of the points that a trial moves: rows of the cache whose message sums are
   not known are evaluated from their neighbours when a trial first touches them. What every process
   sees is told in the same words to all: points that go and points that come, wherever they are;
   each evaluates the rows of its own atoms, and the difference is the sum over processes.

   Knows neither LAMMPS nor Python. */

#pragma once

#include "cells.h"
#include "interpreter.h"
#include "packed_change.h"
#include "shares.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace mliap_local {

/* The periodic box, and where this process's own points may be. */
struct Surroundings {
  double edge[3][3] = {};    // vectors of the box
  bool periodic[3] = {};
  double low[3] = {}, high[3] = {};    // Cartesian bounds of this process's part of the box
  bool operator==(const Surroundings &) const;
};

/* An atom of a trial, as all processes are told. Its periodic images are the stage's business. */
struct TrialAtom {
  double x[3];
  int species;
  int own = -1;    // its index here, if this process has it; an atom that comes: >= 0 if it will
};

/* An opened model. Both return 0 if they failed, after they have kept the reason. */
struct Evaluator {
  std::function<int(const mliap_local_rows &, mliap_local_result &)> full;
  std::function<int(const mliap_local_change &, mliap_local_result &)> update;
  double cutoff = 0.0;
};

class Stage {
 public:
  explicit Stage(Evaluator evaluator) : evaluator_(std::move(evaluator)) {}
  void set_cutoff(double cutoff) { evaluator_.cutoff = cutoff; }
  /* Trials that leave an atom with a larger grade are answered `beyond`; 0: none are. */
  void set_grade(double grade) { grade_ = grade; }
  /* After so many accepted proposals all rows are evaluated anew when they are next touched. */
  void set_refresh(long accepted) { refresh_ = accepted; }

  /* Do these own points stand where the stage has them, in the same surroundings? What it knows then
     stays true, if that holds for all processes. */
  bool holds(const Points &points, const Surroundings &around) const;
  /* Own points and all ghosts within the cutoff of them. Nothing is evaluated. */
  void begin(const Points &points, const Surroundings &around);
  void forget() { n_own_ = -1; }

  enum class Answer { none, difference, overlap, beyond, failed };
  /* What this process's rows add to the difference of energies if `gone` leave and `come` appear.
     none: no row here is touched. overlap: one that comes is closer than `overlap` to a point that
     stays; difference() is not known then. beyond: see set_grade(). failed: see failure(). It is a proposal until the next
     call of this object. */
  Answer propose(const std::vector<TrialAtom> &gone, const std::vector<TrialAtom> &come,
                 double overlap);
  double difference() const { return difference_; }
  const std::string &failure() const { return failure_; }    // empty: the evaluator kept the reason
  /* The proposal becomes the state. Own atoms that come are appended in their order. */
  void accept();
  /* As LAMMPS removes atoms: the last one takes the index of one that has gone. accept() does not
     do this, because who has gone may have come back elsewhere. */
  void close_gap(int own);
  /* Two own atoms exchange their indices. */
  void exchange(int one, int other) { std::swap(place_of_[one], place_of_[other]); }

  /* Differences of proposals that each start from the present state, in one call. Answer and
     difference of each; none becomes a proposal. */
  struct Trial {
    std::vector<TrialAtom> gone, come;
    Answer answer = Answer::none;
    double difference = 0.0;
  };
  bool propose_each(std::vector<Trial> &trials, double overlap);
  /* Fills the rows that these will touch, in one call. */
  bool prepare(const std::vector<Trial> &trials);

  /* Own points with others that are closer than this: pairs of two own points count twice. */
  double close_pairs(double distance) const;
  /* The same of the proposal less those of the present state. */
  double close_pairs_difference(double distance) const;

  /* Energy and squares of all own atoms of the present state, by the cells' neighbours; the cache
     stays as it is. */
  bool evaluate_all(double &energy, double &squares);

  /* The same of the rows that are known, whose energy as increments made it is known_energy(). */
  bool evaluate_known(double &energy, double &squares);
  /* Energy of the rows that are known, as increments made it, and which own atoms they are. */
  double known_energy() const { return energy_; }
  std::vector<int> known() const;

  int n_own() const { return n_own_; }
  long accepted() const { return accepted_; }
  long updates() const { return updates_; }
  long filled() const { return filled_; }
  int compilations() const { return compilations_; }
  double squares() const { return squares_; }
  double memory() const;

 private:
  static constexpr int UNKNOWN = -1, GHOST = -2;    // instead of a row

  struct Proposal {
    std::vector<int> gone, gone_sorted;    // places
    std::vector<Point> leave[PARTS];    // the points that are there
    std::vector<Point> come[PARTS];    // own ones with their rows
    /* Settled places near to each of these that stay, those of ghosts for own points only. */
    std::vector<std::vector<int>> near_leave[PARTS], near_come[PARTS];
    std::vector<int> index;    // that own ones will have
    std::vector<int> touched;    // own places that stay and are near any of these
    CacheRows::Proposal rows;
    bool cached = false;    // the cache can settle it
  };

  void compact();
  void start_anew();
  bool is_beyond(double grade) const { return grade_ > 0.0 && !(grade <= grade_); }
  template <class Visit> void images(const double *x, Visit &&visit) const;
  void find_kept(const Proposal &, const double *at, double cutoff, std::vector<int> &near) const;
  int place_at(const Proposal &, const double *x, int species) const;
  bool describe(const std::vector<TrialAtom> &gone, const std::vector<TrialAtom> &come,
                Proposal &proposal);
  void find_near(Proposal &) const;
  int cache_size(int rows) const;
  bool fill(std::vector<int> places);
  Shares::Find rows_of(const std::vector<int> &places, const Proposal *proposal) const;
  bool evaluate(const std::vector<int> &places, const Proposal *proposal, double &energy,
                double &squares);
  bool describe_each(const std::vector<Trial> &trials, std::vector<Proposal> &proposals);
  bool fill_around(const std::vector<Proposal> &proposals);
  bool pack(Proposal &, double overlap);
  bool evaluate_wholly(const Proposal &, double &difference);
  double close_to(const Proposal &, const std::vector<Point> (&points)[PARTS],
                  double distance) const;

  Evaluator evaluator_;
  Surroundings around_;
  int reach_[3] = {0, 0, 0};    // images looked at, in each direction
  Cells cells_;
  std::vector<int> row_;    // of each place
  std::vector<int> place_of_;    // own atom -> place
  int n_own_ = -1;
  CacheRows cache_rows_;
  int settled_ = -1;    // for the next call: see bridge.h
  double energy_ = 0.0, difference_ = 0.0, proposed_energy_ = 0.0, squares_ = 0.0;
  long refresh_ = 0;    // 0: never
  long accepted_ = 0, updates_ = 0, filled_ = 0;    // accepted since rows started anew
  int compilations_ = 0;
  Proposal proposal_;
  PackedChange packed_;
  PackedTogether together_;
  double grade_ = 0.0;
  std::vector<double> atom_energy_, settled_energy_, atom_grade_;
  mutable std::vector<int> near_;
  std::vector<int> rows_row_;
  std::string failure_;
};

}    // namespace mliap_local
