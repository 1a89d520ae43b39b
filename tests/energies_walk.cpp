/* Random flips through atomic_energies.h, checked against looking at all pairs.

   Not a test: test_changes.py compiles and runs it. Plays fix sgcmc, its commands between and the
   cache. Messages and energies are hashes, so that nothing but the right rows and edges gives the
   right energy. Prints how many rows were derived, evaluated whole, and known; exits with 1 at the
   first wrong energy. */

#include "atomic_energies.h"
#include "walk.h"

#include <cstdio>
#include <cstdlib>

using mliap_local::AtomicEnergies;
using mliap_local::NeighbourList;
using mliap_local::Points;

static const double BOX = 4.0, CUTOFF = 1.5, SKIN = 0.2;
static const int N = 14, SPECIES = 3;

static double readout(int species, Word sum)
{
  return species < 0 ? 0.0 : static_cast<double>(mixed(sum ^ mixed(species + 7)) >> 11);
}

/* Own atoms, images around them, and who sees whom. */
struct World {
  std::vector<double> x;
  std::vector<int> species, owner, ilist, numneigh;
  std::vector<std::vector<int>> rows;
  std::vector<int *> firstneigh;

  World()
  {
    for (int k = 0; k < N; k++) species.push_back(any(SPECIES + 1) - 1);
    x.resize(3 * N);
    for (double &at : x) at = any(256) / 64.0;
    surround();
  }
  int size() const { return static_cast<int>(species.size()); }
  Points points() const { return {N, size(), x.data(), species.data()}; }
  NeighbourList list() const
  {
    return {N, ilist.data(), numneigh.data(), firstneigh.data(), 0x1fffffff};
  }
  void surround()
  {
    x.resize(3 * N);
    species.resize(N);
    owner.clear();
    for (int k = 0; k < N; k++) owner.push_back(k);
    for (int image = 0; image < 27; image++)
      for (int k = 0; image != 13 && k < N; k++) {
        const int shift[3] = {image % 3 - 1, image / 3 % 3 - 1, image / 9 - 1};
        for (int c = 0; c < 3; c++) x.push_back(x[3 * k + c] + BOX * shift[c]);
        species.push_back(species[k]);
        owner.push_back(k);
      }
    rows.assign(size(), {});
    for (int i = 0; i < size(); i++)
      for (int j = 0; j < size(); j++)
        if (i != j && mliap_local::square_distance(&x[3 * i], &x[3 * j]) <
                (CUTOFF + SKIN) * (CUTOFF + SKIN))
          rows[i].push_back(j);
    numneigh.clear();
    firstneigh.clear();
    for (auto &row : rows) {
      numneigh.push_back(static_cast<int>(row.size()));
      firstneigh.push_back(row.data());
    }
    ilist.assign(owner.begin(), owner.begin() + N);
  }
  /* As after a window of fix sgcmc: images get the types of their atoms. */
  void communicate()
  {
    for (int k = N; k < size(); k++) species[k] = species[owner[k]];
  }
  Word sum(int i) const
  {
    Word sum = 0;
    for (const int j : rows[i]) {
      double r[3];
      for (int c = 0; c < 3; c++) r[c] = x[3 * j + c] - x[3 * i + c];
      if (species[i] < 0 || species[j] < 0) continue;
      if (r[0] * r[0] + r[1] * r[1] + r[2] * r[2] < CUTOFF * CUTOFF) sum += message(species[j], r);
    }
    return sum;
  }
  double energy(int i) const { return readout(species[i], sum(i)); }
};

static std::vector<Word> cache(N);
static std::vector<int> cache_species(N);

/* What the bridge would answer. */
static std::vector<double> evaluated(const mliap_local_change &change)
{
  const double *at = change.packed;
  const int n_rows = int(at[0]), n_changed = int(at[1]), n_edges = int(at[2]), n_old = int(at[3]);
  const double *row = at + 4, *edge = row + 2 * n_rows;
  std::vector<Word> sums(n_rows, 0);
  std::vector<double> energies;
  for (int k = n_changed; k < n_rows; k++) {
    sums[k] = cache.at(int(row[2 * k]));
    if (cache_species.at(int(row[2 * k])) != int(row[2 * k + 1]))
      std::exit((std::puts("a row that did not change has another species"), 1));
  }
  for (int k = 0; k < n_edges + n_old; k++, edge += 5) {
    const Word sent = message(int(edge[1]), edge + 2);
    sums.at(int(edge[0])) += k < n_edges ? sent : -sent;
  }
  for (int k = 0; k < n_rows; k++) energies.push_back(readout(int(row[2 * k + 1]), sums[k]));
  return energies;
}

static long derived = 0, whole = 0, asked = 0;

static double answered(AtomicEnergies &energies, const World &world, int i)
{
  asked++;
  const Points now = world.points();
  if (energies.first() >= 0)
    if (const double *known = energies.next(i, now.species[energies.first()])) return *known;
  if (energies.wants_images()) {
    std::vector<int> images = world.owner;
    for (int k = N; k < world.size(); k++)
      if (world.owner[k] % 5 == 0) images[k] = -1;    // as if another process had those
    energies.set_images(images);
  }
  energies.ask(now, world.list(), CUTOFF, i);
  if (!energies.derived().empty() && any(40) == 0) {    // not sound
    energies.unsettle();
    energies.ask(now, world.list(), CUTOFF, i);
  }
  derived += long(energies.derived().size());
  whole += long(energies.whole().size());
  if (!energies.derived().empty()) energies.answer_derived(evaluated(energies.change()).data());
  std::vector<double> rest;
  for (const int atom : energies.whole()) rest.push_back(world.energy(atom));
  if (!rest.empty()) energies.answer_whole(rest.data());
  return *energies.next(i, now.species[i]);
}

/* False where somebody stops early, as after an error, maybe with a flip before the last. */
static bool ask_around(AtomicEnergies &energies, World &world, int i)
{
  std::vector<int> atoms = world.rows[i];
  atoms.insert(atoms.begin(), i);
  const bool stops = any(20) == 0;
  if (stops) atoms.resize(1 + any(int(atoms.size())));
  for (const int atom : atoms) {
    if (stops && atom == atoms.back() && any(2)) world.species[i] = any(SPECIES + 1) - 1;
    const double energy = answered(energies, world, atom);
    if (energy == world.energy(atom)) continue;
    std::printf("atom %d: energy %.17g, expected %.17g\n", atom, energy, world.energy(atom));
    std::exit(1);
  }
  return !stops;
}

/* A call of compute(): maybe with other atoms, maybe leaving them in the cache. */
static void compute(AtomicEnergies &energies, World &world)
{
  if (any(2)) world.species[any(N)] = any(SPECIES + 1) - 1;
  if (any(2)) world.x[any(3 * N)] = any(256) / 64.0;
  world.surround();
  energies.unsettle();
  const bool known = any(4) > 0;
  std::vector<double> own;
  for (int k = 0; k < N; k++) {
    own.push_back(world.energy(k));
    cache_species[k] = known ? world.species[k] : any(SPECIES);
    cache[k] = known ? world.sum(k) : generator();
  }
  if (known) energies.settle(world.points(), own.data());
}

/* An atom with its images, not so far that the lists would miss anybody. */
static void move_a_little(World &world)
{
  const int k = any(N), c = any(3);
  for (int image = 0; image < world.size(); image++)
    if (world.owner[image] == k) world.x[3 * image + c] += 4 / 64.0;
}

int main(int, char **argv)
{
  AtomicEnergies energies;
  World world;
  for (int stage = 0; stage < std::atoi(argv[1]); stage++) {
    compute(energies, world);
    if (any(4) == 0) move_a_little(world);
    for (int trial = any(12); trial > 0; trial--) {
      const int i = any(N), before = world.species[i];
      if (!ask_around(energies, world, i)) break;
      world.species[i] = any(SPECIES + 1) - 1;
      if (!ask_around(energies, world, i)) break;
      if (any(2)) world.species[i] = before;
      if (any(4) == 0) world.communicate();
    }
  }
  std::printf("%ld %ld %ld\n", derived, whole, asked - derived - whole);
  return 0;
}
