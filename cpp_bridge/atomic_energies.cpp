/* What atomic_energies.h declares. */

#include "atomic_energies.h"

#include <cstring>

namespace mliap_local {

/* Atoms that moved leave energies behind that nobody asks for again. */
static constexpr std::size_t ENERGIES_PER_POINT = 8;

const double *AtomicEnergies::next(const Points &points, const NeighbourList &list, double cutoff,
                                   int i)
{
  if (next_ >= expected_.size() || expected_[next_] != i) return nullptr;
  next_++;
  const auto known = energy_.find(key(points, list, cutoff, i));
  return known == energy_.end() ? nullptr : &known->second;
}

const Rows &AtomicEnergies::unknown(const Points &points, const NeighbourList &list, double cutoff,
                                    int i)
{
  if (energy_.size() > ENERGIES_PER_POINT * points.n_all) forget();
  next_ = 0;
  expected_.assign(1, i);
  for (int jj = 0; jj < list.numneigh[i]; jj++)
    expected_.push_back(list.firstneigh[i][jj] & list.mask);

  atoms_.clear();
  species_.clear();
  unknown_.clear();
  for (const int atom : expected_) {
    const std::uint64_t its_key = key(points, list, cutoff, atom);
    if (energy_.count(its_key)) continue;
    atoms_.push_back(atom);
    species_.push_back(points.species[atom]);
    unknown_.push_back(its_key);
  }
  collect_rows(points, list, cutoff, atoms_, rows_);
  return rows_;
}

void AtomicEnergies::remember(const double *energies)
{
  for (std::size_t k = 0; k < unknown_.size(); k++) energy_[unknown_[k]] = energies[k];
}

/* 64 bits of all that the row holds: among a million rows two share a key by chance once in 10^7
   times. */
std::uint64_t AtomicEnergies::key(const Points &points, const NeighbourList &list, double cutoff,
                                  int i)
{
  std::uint64_t key = 1;    // no 0, which mixing would not change
  const auto mix = [&key](std::uint64_t word) {
    key = (key ^ word) * 0x9e3779b97f4a7c15u;
    key ^= key >> 32;
  };
  neighbours_.clear();
  find_row(points, list, cutoff, i, neighbours_);
  mix(points.species[i]);
  for (const int j : neighbours_) {
    mix(points.species[j]);
    for (int c = 0; c < 3; c++) {
      const double r = points.x[3 * j + c] - points.x[3 * i + c];
      std::uint64_t word;
      std::memcpy(&word, &r, sizeof(word));
      mix(word);
    }
  }
  return key;
}

}    // namespace mliap_local
