/* Energies of single atoms, for Monte Carlo that asks for those of an atom and of each of its
   neighbours before and after it changes the atom (fix sgcmc).

   The energy of an atom depends on its row alone: its species, and the species and r_ij of its
   neighbours. The cache holds the message sums that the last full evaluation found. A row that lost
   nothing but the species of some neighbours since then is that sum and few edges: a derived row. It
   always starts from the settled sum, never from another derived one, and the cache stays as it is,
   so nothing drifts, and what Monte Carlo made of its proposal need not be known. All other rows,
   such as those of ghosts that belong to another process, are evaluated whole.

   Energies are remembered by what the rows held, so nothing that changed is ever mistaken for what
   it was, and what is back where it was needs no new evaluation. Knows neither LAMMPS nor Python. */

#pragma once

#include "packed_change.h"

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace mliap_local {

class AtomicEnergies {
 public:
  void forget();

  /* Other points may come, or the cache may hold something else. The questions start again. */
  void unsettle();
  /* Row k of the cache is own atom k of these points and has this energy. */
  void settle(const Points &points, const double *energies);

  /* For each settled point the own atom that it is or whose periodic image it is, with the same
     surroundings; -1: none. Wanted before the first ask() about a settled state. */
  bool wants_images() const { return settled_ && image_.empty(); }
  void set_images(const std::vector<int> &images) { image_ = images; }

  /* The energy of atom i, or NULL where ask() did not expect it to be asked for next. Until the next
     ask() or unsettle() no point may change but the first that was asked for, whose present species
     shows whether it did. */
  const double *next(int i, int species_of_first);
  int first() const { return expected_.empty() ? -1 : expected_[0]; }

  /* From now on atom i is expected, then its neighbours in the order of the list. Most of their
     energies are known then; those of the following rows, maybe none, next() has to be told. */
  void ask(const Points &points, const NeighbourList &list, double cutoff, int i);

  /* Derived rows: atoms, and what makes them of the settled state. Valid until the next ask(). */
  const std::vector<int> &derived() const { return derived_; }
  const mliap_local_change &change() const { return change_; }
  void answer_derived(const double *energies);

  /* Whole rows: atoms. */
  const std::vector<int> &whole() const { return whole_.atoms; }
  void answer_whole(const double *energies) { answer(whole_, energies); }

 private:
  enum Mark : std::uint32_t { SAME, RETYPED, MOVED, MARKS };
  struct Unknown {    // rows whose energies are not known
    std::vector<int> atoms;
    std::vector<std::size_t> places;    // in expected_
    std::vector<std::uint64_t> keys;
    int size() const { return static_cast<int>(atoms.size()); }
    void clear();
    void add(int atom, std::size_t place, std::uint64_t key);
  };

  Mark mark(const Points &points, int i);
  bool find_retyped(const Points &points, const NeighbourList &list, double cutoff, int i);
  std::uint64_t derived_key(const Points &points, int i) const;
  std::uint64_t whole_key(const Points &points, const NeighbourList &list, double cutoff, int i);
  void pack(const Points &points, const NeighbourList &list, double cutoff);
  void answer(const Unknown &rows, const double *energies);

  // the state that the cache holds
  bool settled_ = false;
  std::uint64_t settled_number_ = 0;    // among all that there were
  int n_own_ = 0;
  std::vector<double> x_, settled_energy_;
  std::vector<int> settled_species_, image_;

  // what ask() found of each point, once for all rows that it is in
  std::vector<std::uint32_t> mark_;
  std::uint32_t asked_ = 0;

  std::unordered_map<std::uint64_t, double> energy_;
  std::vector<int> expected_;
  int first_species_ = -1;
  std::vector<double> energies_;    // of expected_
  std::size_t next_ = 0;            // place in expected_
  Unknown fresh_, kept_, whole_;    // derived rows that changed themselves, or around them
  struct Edge {
    int row, sender;    // place in kept_
  };
  std::vector<Edge> kept_edges_;
  mliap_local_change change_{};
  std::vector<double> packed_;
  std::vector<int> derived_, retyped_, row_;
};

}    // namespace mliap_local
