/* Energies of single atoms, for Monte Carlo that asks for those of an atom and of each of its
   neighbours before and after it changes the atom (fix sgcmc).

   The energy of an atom depends on its row alone: its species, and the species and r_ij of its
   neighbours. Energies are remembered by what the rows held, so nothing that changed is ever
   mistaken for what it was, and what is back where it was needs no new evaluation. The order of
   the questions only says which rows to evaluate at once. Knows neither LAMMPS nor Python. */

#pragma once

#include "neighbours.h"

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace mliap_local {

class AtomicEnergies {
 public:
  void forget() { energy_.clear(); }

  /* The energy of atom i, or NULL where it is not the one that unknown() expected to be asked for
     next, or not known. Looks at the species of i and of its neighbours in the list, no others. */
  const double *next(const Points &points, const NeighbourList &list, double cutoff, int i);

  /* From now on atom i is expected, then its neighbours in the order of the list. Gives those of
     their rows that are not known, maybe none. remember() wants their energies. */
  const Rows &unknown(const Points &points, const NeighbourList &list, double cutoff, int i);
  const std::vector<int> &unknown_species() const { return species_; }
  void remember(const double *energies);

 private:
  std::uint64_t key(const Points &points, const NeighbourList &list, double cutoff, int i);

  std::unordered_map<std::uint64_t, double> energy_;
  std::vector<std::uint64_t> unknown_;    // keys of rows_
  std::vector<int> atoms_, species_, neighbours_;
  std::vector<int> expected_;
  std::size_t next_ = 0;    // place in expected_
  Rows rows_;
};

}    // namespace mliap_local
