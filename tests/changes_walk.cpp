/* Random walks through changes.h, checked against looking at all pairs.

   Not a test: test_changes.py compiles and runs it. Atoms sit on a fine grid, so that vectors are
   exact, and messages and energies are hashes, so that nothing but the right rows and edges gives
   the right sum. Prints how often each answer came; exits with 1 at the first wrong energy. */

#include "changes.h"
#include "walk.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

using mliap_local::Changes;
using mliap_local::Points;

static const double BOX = 4.0, CUTOFF = 1.5;

struct Atom {
  double x[3];
  int species;
};

static Word readout(int species, Word sum)
{
  return species < 0 ? 0 : mixed(sum ^ mixed(species + 7));
}

/* 53 bits survive in a double. */
static double energy_of(Word total) { return static_cast<double>(total >> 11); }

/* Own atoms and the images that lie around the box, as LAMMPS would show them. */
struct Shown {
  std::vector<double> x;
  std::vector<int> species;
  int n_own;

  explicit Shown(const std::vector<Atom> &atoms, int first_image)
  {
    n_own = static_cast<int>(atoms.size());
    for (const Atom &atom : atoms) add(atom, 0.0, 0.0, 0.0);
    for (int k = 0; k < 27; k++) {
      const int image = (k + first_image) % 27;
      if (image == 13) continue;
      for (const Atom &atom : atoms)
        add(atom, BOX * (image % 3 - 1), BOX * (image / 3 % 3 - 1), BOX * (image / 9 - 1));
    }
  }
  void add(const Atom &atom, double dx, double dy, double dz)
  {
    const double at[3] = {atom.x[0] + dx, atom.x[1] + dy, atom.x[2] + dz};
    for (const double p : at)
      if (p < -CUTOFF - 0.2 || p > BOX + CUTOFF + 0.2) return;
    x.insert(x.end(), at, at + 3);
    species.push_back(atom.species);
  }
  Points points() const
  {
    return {n_own, static_cast<int>(species.size()), x.data(), species.data()};
  }
};

struct Row {
  int species = -1;
  Word sum = 0;
};

/* All rows by looking at all pairs. */
static std::vector<Row> all_rows(const Points &points)
{
  std::vector<Row> rows(points.n_own);
  for (int i = 0; i < points.n_own; i++) {
    rows[i].species = points.species[i];
    if (points.species[i] < 0) continue;
    for (int j = 0; j < points.n_all; j++) {
      double r[3];
      for (int c = 0; c < 3; c++) r[c] = points.x[3 * j + c] - points.x[3 * i + c];
      if (i == j || points.species[j] < 0) continue;
      if (r[0] * r[0] + r[1] * r[1] + r[2] * r[2] < CUTOFF * CUTOFF)
        rows[i].sum += message(points.species[j], r);
    }
  }
  return rows;
}

static Word total_of(const std::vector<Row> &rows)
{
  Word total = 0;
  for (const Row &row : rows) total += readout(row.species, row.sum);
  return total;
}

/* The rows after a change, from those before it and what the contract says of it. */
static std::vector<Row> updated(std::vector<Row> rows, const mliap_local_change &change)
{
  const double *at = change.packed;
  const int n_rows = int(at[0]), n_changed = int(at[1]), n_edges = int(at[2]), n_old = int(at[3]);
  rows.resize(std::max<std::size_t>(rows.size(), change.cache_rows));
  const double *row = at + 4, *edge = row + 2 * n_rows;
  for (int k = 0; k < n_rows; k++) {
    Row &here = rows.at(int(row[2 * k]));
    if (k < n_changed)
      here.sum = 0;
    else if (here.species != int(row[2 * k + 1]))
      std::exit((std::puts("a row that did not change has another species"), 1));
    here.species = int(row[2 * k + 1]);
  }
  for (int k = 0; k < n_edges + n_old; k++, edge += 5) {
    const Word sent = message(int(edge[1]), edge + 2);
    Word &sum = rows.at(int(row[2 * int(edge[0])])).sum;
    sum += k < n_edges ? sent : -sent;
  }
  return rows;
}

static Atom new_atom(const std::vector<Atom> &atoms)
{
  if (!atoms.empty() && any(6) == 0) {    // where another is
    Atom atom = atoms[any(int(atoms.size()))];
    if (any(2)) atom.species = any(3);
    return atom;
  }
  return {{any(256) / 64.0, any(256) / 64.0, any(256) / 64.0}, any(3)};
}

/* What Monte Carlo fixes and other commands do to atoms. */
static void disturb(std::vector<Atom> &atoms)
{
  const int n = int(atoms.size()), k = n ? any(n) : 0;
  switch (n < 4 ? 0 : any(9)) {
    case 0: atoms.push_back(new_atom(atoms)); break;
    case 1:    // as LAMMPS deletes: the last takes the place
      atoms[k] = atoms.back();
      atoms.pop_back();
      break;
    case 2: atoms[k].species = -1; break;    // excluded, as in a trial of a deletion
    case 3: atoms[k].species = any(3); break;
    case 4: atoms[k] = new_atom(atoms); break;
    case 5: std::swap(atoms[k], atoms[any(n)]); break;
    case 6: std::swap(atoms[k].species, atoms[any(n)].species); break;
    case 7: atoms[k].x[any(3)] = any(256) / 64.0; break;
    case 8:
      if (any(20) == 0) std::shuffle(atoms.begin(), atoms.end(), generator);
      break;
  }
}

int main(int, char **argv)
{
  Changes changes;
  std::vector<Row> cache, proposal;
  std::vector<Atom> atoms;
  for (int k = 0; k < 40; k++) atoms.push_back(new_atom(atoms));
  long count[5] = {0, 0, 0, 0, 0}, kept = 0;
  int first_image = 0;

  for (int call = 0; call < std::atoi(argv[1]); call++) {
    const std::vector<Atom> before = atoms;
    for (int n = any(10) ? 1 : any(6); n > 0; n--) disturb(atoms);
    if (any(50) == 0) first_image = any(27);    // another order of ghosts
    const Shown shown(atoms, first_image);
    const Points now = shown.points();
    const std::vector<Row> truth = all_rows(now);
    const double expected = energy_of(total_of(truth));

    const Changes::Answer answer = changes.compare(now, CUTOFF, 0.0, 0.0);
    count[int(answer)]++;
    double energy = expected;
    if (answer == Changes::Answer::changed && changes.cached()) {
      if (changes.change().settled) cache = proposal;
      proposal = updated(cache, changes.change());
      energy = energy_of(total_of(proposal));
      changes.propose(energy, 0.0, any(30) > 0);    // seldom: not to be settled in the cache
    } else if (answer == Changes::Answer::changed) {
      changes.propose(energy, 0.0, false);
    } else if (answer == Changes::Answer::unknown || !changes.cached()) {
      cache = truth;
      changes.settle(now, energy, 0.0);
    } else {
      energy = changes.settled_energy();
    }
    if (energy != expected) {
      std::printf("call %d, answer %d: energy %.17g, expected %.17g\n", call, int(answer), energy,
                  expected);
      return 1;
    }
    if (any(200) == 0) changes.forget();
    if (any(2) || atoms.size() > 80)
      atoms = before;
    else
      kept++;
  }
  std::printf("%ld %ld %ld %ld %ld %ld\n", count[0], count[1], count[2], count[3], count[4], kept);
  return 0;
}
