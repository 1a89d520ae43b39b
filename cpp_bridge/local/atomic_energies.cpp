/* What atomic_energies.h declares. */

#include "atomic_energies.h"

#include <algorithm>
#include <cstring>

namespace mliap_local {

/* Atoms that moved leave energies behind that nobody asks for again. */
static constexpr std::size_t ENERGIES_PER_POINT = 8;
/* Counts at the beginning of a change. */
enum { NEW = 2, DELETED = 3 };

void AtomicEnergies::Unknown::clear()
{
  atoms.clear();
  places.clear();
  keys.clear();
}

void AtomicEnergies::Unknown::add(int atom, std::size_t place, std::uint64_t key)
{
  atoms.push_back(atom);
  places.push_back(place);
  keys.push_back(key);
}

void AtomicEnergies::forget()
{
  unsettle();
  energy_.clear();
}

void AtomicEnergies::settle(const Points &points, const double *energies)
{
  settled_ = true;
  settled_number_++;
  n_own_ = points.n_own;
  x_.assign(points.x, points.x + 3 * static_cast<std::size_t>(points.n_all));
  settled_species_.assign(points.species, points.species + points.n_all);
  settled_energy_.assign(energies, energies + points.n_own);
  mark_.assign(points.n_all, 0);
  asked_ = 0;
  image_.clear();
}

void AtomicEnergies::unsettle()
{
  settled_ = false;
  expected_.clear();
}

const double *AtomicEnergies::next(int i, int species_of_first)
{
  if (next_ >= expected_.size() || expected_[next_] != i) return nullptr;
  return species_of_first == first_species_ ? &energies_[next_++] : nullptr;
}

void AtomicEnergies::ask(const Points &points, const NeighbourList &list, double cutoff, int i)
{
  if (energy_.size() > ENERGIES_PER_POINT * points.n_all) energy_.clear();
  expected_.assign(1, i);
  for (int jj = 0; jj < list.numneigh[i]; jj++)
    expected_.push_back(list.firstneigh[i][jj] & list.mask);
  first_species_ = points.species[i];
  energies_.resize(expected_.size());
  next_ = 0;
  asked_++;
  for (Unknown *rows : {&fresh_, &kept_, &whole_}) rows->clear();
  derived_.clear();
  kept_edges_.clear();

  const bool comparable = settled_ && n_own_ == points.n_own &&
      settled_species_.size() == static_cast<std::size_t>(points.n_all);
  for (std::size_t place = 0; place < expected_.size(); place++) {
    const int atom = expected_[place];
    const bool derived = comparable && find_retyped(points, list, cutoff, atom);
    if (derived && retyped_.empty() && mark(points, atom) == SAME) {
      energies_[place] = settled_energy_[image_[atom]];
      continue;
    }
    const std::uint64_t key =
        derived ? derived_key(points, atom) : whole_key(points, list, cutoff, atom);
    const auto known = energy_.find(key);
    if (known != energy_.end()) {
      energies_[place] = known->second;
    } else if (!derived) {
      whole_.add(atom, place, key);
    } else if (mark(points, atom) == RETYPED) {
      fresh_.add(atom, place, key);
    } else {
      for (const int j : retyped_) kept_edges_.push_back({kept_.size(), j});
      kept_.add(atom, place, key);
    }
  }
  if (!fresh_.atoms.empty() || !kept_.atoms.empty()) pack(points, list, cutoff);
}

void AtomicEnergies::answer_derived(const double *energies)
{
  answer(fresh_, energies);
  answer(kept_, energies + fresh_.size());
}

void AtomicEnergies::answer(const Unknown &rows, const double *energies)
{
  for (std::size_t k = 0; k < rows.atoms.size(); k++)
    energies_[rows.places[k]] = energy_[rows.keys[k]] = energies[k];
}

/* --- rows beside those of the settled state ----------------------------------------------------- */

AtomicEnergies::Mark AtomicEnergies::mark(const Points &points, int i)
{
  if (mark_[i] < MARKS * asked_) {
    const bool moved = std::memcmp(points.x + 3 * i, x_.data() + 3 * i, 3 * sizeof(double)) != 0;
    const bool retyped = points.species[i] != settled_species_[i];
    mark_[i] = MARKS * asked_ + (moved ? MOVED : retyped ? RETYPED : SAME);
  }
  return static_cast<Mark>(mark_[i] % MARKS);
}

/* Neighbours of atom i with another species than in the settled state, or false if the row is not
   one of the cache that lost nothing else. */
bool AtomicEnergies::find_retyped(const Points &points, const NeighbourList &list, double cutoff,
                                  int i)
{
  retyped_.clear();
  if (image_[i] < 0 || mark(points, i) == MOVED) return false;
  const std::uint32_t same = MARKS * asked_ + SAME;
  for (int jj = 0; jj < list.numneigh[i]; jj++) {
    const int j = list.firstneigh[i][jj] & list.mask;
    if (mark_[j] == same) continue;
    const Mark found = mark(points, j);
    if (found == MOVED) return false;
    if (found == RETYPED && square_distance(points.x + 3 * i, points.x + 3 * j) < cutoff * cutoff)
      retyped_.push_back(j);
  }
  return true;
}

/* Rows that changed themselves and start from nothing, then rows that are settled sums and a few
   edges; see mliap_local_change. */
void AtomicEnergies::pack(const Points &points, const NeighbourList &list, double cutoff)
{
  const int n_fresh = static_cast<int>(fresh_.atoms.size());
  derived_ = fresh_.atoms;
  derived_.insert(derived_.end(), kept_.atoms.begin(), kept_.atoms.end());
  const double n_rows = static_cast<double>(derived_.size());
  packed_.assign({n_rows, static_cast<double>(n_fresh), 0.0, 0.0});
  for (const int atom : derived_) {
    packed_.push_back(image_[atom]);
    packed_.push_back(points.species[atom]);
  }
  const auto add = [&](int count, int row, int sender, int species) {
    if (species < 0) return;
    packed_[count]++;
    packed_.push_back(row);
    packed_.push_back(species);
    for (int c = 0; c < 3; c++)
      packed_.push_back(points.x[3 * sender + c] - points.x[3 * derived_[row] + c]);
  };
  for (int row = 0; row < n_fresh; row++) {
    row_.clear();
    find_row(points, list, cutoff, derived_[row], row_);
    for (const int j : row_) add(NEW, row, j, points.species[j]);
  }
  for (const auto &[row, j] : kept_edges_) add(NEW, n_fresh + row, j, points.species[j]);
  for (const auto &[row, j] : kept_edges_) add(DELETED, n_fresh + row, j, settled_species_[j]);
  change_ = padded(packed_, 0, n_own_);
}

/* --- 64 bits of all that a row holds: among a million two share a key by chance once in 10^7 times */

/* Where keys start: not what a small number could turn into 0, which mixing does not change. */
static constexpr std::uint64_t WHOLE = 0x243f6a8885a308d3u, DERIVED = 0x13198a2e03707344u;

/* Numbers of few digits differ in their highest bits alone, which must reach the lowest of the key
   and come back before the next word. */
static void mix(std::uint64_t &key, std::uint64_t word)
{
  key = (key ^ word) * 0x9e3779b97f4a7c15u;
  key = (key ^ key >> 32) * 0xd6e8feb86659fd93u;
  key ^= key >> 29;
}

/* The settled state, the row there, and in what it differs. */
std::uint64_t AtomicEnergies::derived_key(const Points &points, int i) const
{
  std::uint64_t key = DERIVED;
  mix(key, settled_number_);
  mix(key, i);
  mix(key, points.species[i]);
  for (const int j : retyped_) {
    mix(key, j);
    mix(key, points.species[j]);
  }
  return key;
}

std::uint64_t AtomicEnergies::whole_key(const Points &points, const NeighbourList &list,
                                        double cutoff, int i)
{
  std::uint64_t key = WHOLE;
  row_.clear();
  find_row(points, list, cutoff, i, row_);
  mix(key, points.species[i]);
  for (const int j : row_) {
    mix(key, points.species[j]);
    for (int c = 0; c < 3; c++) {
      const double r = points.x[3 * j + c] - points.x[3 * i + c];
      std::uint64_t word;
      std::memcpy(&word, &r, sizeof(word));
      mix(key, word);
    }
  }
  return key;
}

}    // namespace mliap_local
