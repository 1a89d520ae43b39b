/* Random walks through stage.h, checked against looking at all pairs.

   Not a test: test_changes.py compiles and runs it. Several processes stand side by side, each with
   its part of the box and with images as ghosts; every difference of energies is the sum over them.
   Atoms sit on a fine grid and messages are hashes, so that nothing but the right rows and edges
   gives the right sum; energies are small whole numbers, so that sums are exact. Prints how often
   each thing happened; exits with 1 at the first wrong answer. */

#include "stage.h"
#include "walk.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <optional>
#include <set>
#include <vector>

using namespace mliap_local;
using Answer = Stage::Answer;

/* Squares of distances on the grid are whole multiples of 1/4096: no pair is at these. */
static const double CUTOFF = std::sqrt((9216 + 0.5) / 4096), GUARD = std::sqrt((700 + 0.5) / 4096);
static const double CLOSE = std::sqrt((5000 + 0.5) / 4096);

static long propositions, accepted, overlaps, touched_none, unsound, failures, compactions, filled,
    questions, crossings;

static const char *where = "";

[[noreturn]] static void wrong(const char *what, double got = 0, double expected = 0)
{
  std::printf("%s, %s: got %.17g, expected %.17g after %ld proposals\n", where, what, got, expected,
              propositions);
  std::exit(1);
}
static void expect(const char *what, double got, double expected)
{
  if (got != expected) wrong(what, got, expected);
}

static double readout(int species, Word sum)
{
  return species < 0 ? 0.0 : static_cast<double>(mixed(sum ^ mixed(species + 7)) >> 44);
}

/* --- the model, as bridge.h says that it answers ------------------------------------------------ */

struct Row {
  int species = -1;
  Word sum = 0;
  double energy() const { return readout(species, sum); }
};

class Model {
 public:
  int full(const mliap_local_rows &rows, mliap_local_result &result)
  {
    if (rows.row && !prepare(rows.settled, rows.cache_rows)) return 0;
    if (any(1200) == 0) return failures++, 0;
    if (rows.keep != (rows.row != nullptr)) wrong("keep without places");
    std::set<int> named;
    result.energy = 0.0;
    const std::vector<Row> shown = asked(rows);
    for (int k = 0; k < rows.n_rows; k++) {
      const Row row = shown[k];
      result.energy += row.energy();
      if (!rows.row) continue;
      Row &here = cache_.at(rows.row[k]);
      if (here.species >= 0 || !named.insert(rows.row[k]).second) wrong("a row filled twice");
      here = row;
    }
    if (rows.row) result.energy = total(cache_);
    if (rows.row) proposal_.reset();
    return 1;
  }

  /* Rows as they are handed over, in shares of any size and with any room. */
  static std::vector<Row> asked(const mliap_local_rows &rows)
  {
    std::vector<Row> shown;
    for (int begin = 0, end; begin < rows.n_rows; begin = end) {
      end = begin + 1 + any(rows.n_rows - begin);
      int width = -1;
      if (!rows.find(rows.caller, begin, end, &width) || width < 0) wrong("find");
      const int capacity = end - begin + any(3);
      width += any(3);
      std::vector<int> species(capacity, 7);
      std::vector<signed char> kinds(capacity * width, 7);
      std::vector<double> r_ij(3 * capacity * width, NAN);
      if (!rows.lay(rows.caller, capacity, width, 8, species.data(), kinds.data(),
                    r_ij.data(), nullptr, nullptr))
        wrong("lay");
      for (int row = 0; row < capacity; row++) {
        if (row >= end - begin) {
          expect("species beyond the share", species[row], -1);
          continue;
        }
        Row laid{species[row], 0};
        for (int j = row * width; j < (row + 1) * width; j++) {
          const double r[3] = {r_ij[j], r_ij[j + capacity * width], r_ij[j + 2 * capacity * width]};
          if (kinds[j] >= 0) laid.sum += message(kinds[j], r);
        }
        shown.push_back(laid);
      }
    }
    return shown;
  }

  int update(const mliap_local_change &change, mliap_local_result &result)
  {
    if (!prepare(change.settled, change.cache_rows)) return 0;
    const double *at = change.packed;
    const int n_rows = int(at[0]), n_changed = int(at[1]), n_edges = int(at[2]), n_old = int(at[3]);
    const double *row = at + 4, *edge = row + 2 * n_rows, *end = edge + 5 * (n_edges + n_old);
    if (std::any_of(end, at + change.room, [](double v) { return v != 0.0; })) wrong("room");
    std::vector<Row> rows;
    std::vector<int> places;
    for (int k = 0; k < n_rows; k++) {
      places.push_back(int(row[2 * k]));
      rows.push_back({int(row[2 * k + 1]), k < n_changed ? 0 : cache_.at(places[k]).sum});
      if (k >= n_changed && cache_[places[k]].species != rows[k].species)
        wrong("species of a row not changed", rows[k].species, cache_[places[k]].species);
    }
    for (int k = 0; k < n_edges + n_old; k++, edge += 5) {
      const Word sent = message(int(edge[1]), edge + 2);
      rows.at(int(edge[0])).sum += k < n_edges ? sent : -sent;
    }
    result.sound = any(40) > 0;
    if (!result.sound) unsound++;
    if (result.atom_energy) {
      if (change.settled) proposal_.reset();
      for (int k = 0; k < n_rows; k++) {
        result.atom_energy[k] = result.sound ? rows[k].energy() : 1e9;
        result.settled_energy[k] = cache_.at(places[k]).energy();
      }
      return 1;
    }
    if (std::set<int>(places.begin(), places.end()).size() != places.size())
      wrong("a row named twice");
    proposal_ = cache_;
    for (int k = 0; k < n_rows; k++) proposal_->at(places[k]) = rows[k];
    result.energy = result.sound ? total(*proposal_) : 1e9;
    if (!result.sound) proposal_.reset();
    return 1;
  }

 private:
  /* False: it fails after it has settled what it was told to, which nobody can know. */
  bool prepare(int settled, int cache_rows)
  {
    if (settled > 0 && !proposal_) wrong("settles what is no proposal");
    if (settled > 0) cache_ = *proposal_;
    if (settled < 0) cache_.clear();
    if (settled) proposal_.reset();
    cache_.resize(std::max<std::size_t>(cache_.size(), cache_rows));
    if (any(1200) > 0) return true;
    failures++;
    return false;
  }
  static double total(const std::vector<Row> &rows)
  {
    double sum = 0.0;
    for (const Row &row : rows) sum += row.energy();
    return sum;
  }

  std::vector<Row> cache_;
  std::optional<std::vector<Row>> proposal_;
};

/* --- the box, its atoms, its processes ---------------------------------------------------------- */

struct Box {
  const char *name;
  double edge[3][3];
  bool periodic[3];
  int parts[3];    // processes in each direction
  int atoms;
};

static const Box BOXES[] = {
    {"one process", {{4, 0, 0}, {0, 4, 0}, {0, 0, 4}}, {true, true, true}, {1, 1, 1}, 40},
    {"three", {{5, 0, 0}, {0, 3.5, 0}, {0, 0, 3}}, {true, true, true}, {3, 1, 1}, 35},
    {"four", {{4, 0, 0}, {0, 4, 0}, {0, 0, 2}}, {true, true, true}, {2, 2, 1}, 25},
    {"small", {{1.25, 0, 0}, {0, 1, 0}, {0, 0, 1.125}}, {true, true, true}, {1, 1, 1}, 3},
    {"thin", {{5, 0, 0}, {0, 0.75, 0}, {0, 0, 3}}, {true, true, true}, {2, 1, 1}, 10},
    {"tilted", {{4, 0, 0}, {1.5, 4, 0}, {-0.75, 2, 3.5}}, {true, true, true}, {2, 1, 2}, 40},
    {"tilted and small",
     {{2, 0, 0}, {0.875, 1, 0}, {-0.5, 0.25, 1}},
     {true, true, true},
     {2, 1, 1},
     4},
    {"slab", {{4, 0, 0}, {0, 3, 0}, {0, 0, 4}}, {true, true, false}, {1, 1, 2}, 30},
    {"free", {{4, 0, 0}, {0, 4, 0}, {0, 0, 4}}, {false, false, false}, {2, 1, 1}, 30},
};

struct Atom {
  double x[3];
  int species;    // -1: nobody's business
};

class World {
 public:
  explicit World(const Box &box) : box_(box)
  {
    find_images();
    const int n = box.parts[0] * box.parts[1] * box.parts[2];
    for (int p = 0; p < n; p++) processes_.emplace_back();
    for (int k = 0; k < box.atoms; k++) atoms_.push_back(new_atom(any(10) ? any(3) : -1));
    begin();
  }

  void step()
  {
    if (any(400) == 0) return disturb();
    const int what = any(100);
    if (what < 8) return ask_each();
    if (what == 8) return refused_visit();
    if (what == 9) return evaluate_all();
    propose();
  }

 private:
  struct Process {
    Model model;
    Stage stage{
        {[this](const mliap_local_rows &r, mliap_local_result &s) { return model.full(r, s); },
         [this](const mliap_local_change &c, mliap_local_result &s) { return model.update(c, s); },
         CUTOFF}};
    std::vector<int> own;      // atoms
    std::vector<bool> known;   // is its row
    double memory = 0.0;
  };
  /* Atoms that go and come. Each that comes is one that has gone, or a new one. */
  struct Trial {
    std::vector<int> gone;
    std::vector<Atom> come;
    std::vector<int> is;    // atom that it was, or -1
  };

  /* --- places */
  void lamda(const double *x, double *l) const
  {
    const auto &e = box_.edge;
    l[2] = x[2] / e[2][2];
    l[1] = (x[1] - l[2] * e[2][1]) / e[1][1];
    l[0] = (x[0] - l[2] * e[2][0] - l[1] * e[1][0]) / e[0][0];
  }
  int process_of(const double *x) const
  {
    double l[3];
    lamda(x, l);
    int process = 0;
    for (int c = 2; c >= 0; c--) process = process * box_.parts[c] + int(l[c] * box_.parts[c]);
    return process;
  }
  Atom new_atom(int species)
  {
    if (!atoms_.empty() && any(12) == 0) {    // where another is
      Atom atom = atoms_[any(int(atoms_.size()))];
      atom.species = any(3);
      return atom;
    }
    Atom atom{{}, species};
    double l[3];
    do {
      for (int c = 0; c < 3; c++) atom.x[c] = (any(640) - 128) / 64.0;
      lamda(atom.x, l);
    } while (std::any_of(l, l + 3, [](double v) { return v < 0.0 || v >= 1.0; }));
    return atom;
  }
  /* More images than needed: all whose box may come within the cutoff of the box itself. */
  void find_images()
  {
    double extent[3] = {0, 0, 0};
    for (int c = 0; c < 3; c++)
      for (int d = 0; d < 3; d++) extent[d] += std::fabs(box_.edge[c][d]);
    int reach[3];
    for (int c = 0; c < 3; c++)
      reach[c] = box_.periodic[c] ? 1 + int(std::ceil(2.0 * CUTOFF / box_.edge[c][c])) : 0;
    for (int a = -reach[0]; a <= reach[0]; a++)
      for (int b = -reach[1]; b <= reach[1]; b++)
        for (int c = -reach[2]; c <= reach[2]; c++) {
          Image image{{0, 0, 0}, a == 0 && b == 0 && c == 0};
          bool near = true;
          for (int d = 0; d < 3; d++) {
            image.by[d] = a * box_.edge[0][d] + b * box_.edge[1][d] + c * box_.edge[2][d];
            near = near && std::fabs(image.by[d]) < extent[d] + CUTOFF;
          }
          if (near) images_.push_back(image);
        }
  }

  /* --- all pairs: energies of atoms, and pairs closer than CLOSE, either way */
  std::vector<Row> look(const std::vector<Atom> &atoms, double &close) const
  {
    std::vector<Row> rows;
    for (const Atom &atom : atoms) rows.push_back({atom.species, 0});
    close = 0.0;
    for (const Image &image : images_)
      for (std::size_t i = 0; i < atoms.size(); i++)
        for (std::size_t j = 0; j < atoms.size(); j++) {
          if ((image.home && i == j) || atoms[i].species < 0 || atoms[j].species < 0) continue;
          double r[3];
          for (int c = 0; c < 3; c++) r[c] = atoms[j].x[c] + image.by[c] - atoms[i].x[c];
          const double square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
          if (square < CUTOFF * CUTOFF) rows[i].sum += message(atoms[j].species, r);
          close += square < CLOSE * CLOSE;
        }
    return rows;
  }
  static double total(const std::vector<Row> &rows)
  {
    double sum = 0.0;
    for (const Row &row : rows) sum += row.energy();
    return sum;
  }
  bool within(const Atom &a, const Atom &b, double distance) const
  {
    if (a.species < 0 || b.species < 0) return false;
    for (const Image &image : images_) {
      const double r[3] = {b.x[0] + image.by[0], b.x[1] + image.by[1], b.x[2] + image.by[2]};
      if (square_distance(a.x, r) < distance * distance) return true;
    }
    return false;
  }

  /* --- as LAMMPS shows a process its part of the box */
  Surroundings around(int process) const
  {
    Surroundings around;
    std::copy(&box_.edge[0][0], &box_.edge[0][0] + 9, &around.edge[0][0]);
    std::copy(box_.periodic, box_.periodic + 3, around.periodic);
    for (int c = 0; c < 3; c++) {
      around.low[c] = 1e9;
      around.high[c] = -1e9;
    }
    for (int corner = 0; corner < 8; corner++) {
      double l[3], x[3];
      for (int c = 0, rest = process; c < 3; rest /= box_.parts[c++])
        l[c] = (rest % box_.parts[c] + (corner >> c & 1)) / double(box_.parts[c]);
      for (int d = 0; d < 3; d++) {
        x[d] = l[0] * box_.edge[0][d] + l[1] * box_.edge[1][d] + l[2] * box_.edge[2][d];
        around.low[d] = std::min(around.low[d], x[d]);
        around.high[d] = std::max(around.high[d], x[d]);
      }
    }
    return around;
  }
  struct Image {
    double by[3];
    bool home;
  };
  struct Shown {
    std::vector<double> x;
    std::vector<int> species;
    int n_own = 0;
    void add(const double *at, int kind)
    {
      x.insert(x.end(), at, at + 3);
      species.push_back(kind);
    }
    Points points() const { return {n_own, int(species.size()), x.data(), species.data()}; }
  };
  /* Own atoms; then images up to the cutoff from the part, across its faces, off by rounding. */
  Shown shown(int process, bool ghosts) const
  {
    Shown shown;
    for (const int k : processes_[process].own) shown.add(atoms_[k].x, atoms_[k].species);
    shown.n_own = int(shown.species.size());
    if (!ghosts) return shown;
    const auto &e = box_.edge;
    const double volume = e[0][0] * e[1][1] * e[2][2];
    double skin[3];    // in lamda
    for (int c = 0; c < 3; c++) {
      const double *a = e[(c + 1) % 3], *b = e[(c + 2) % 3];
      skin[c] = CUTOFF *
          std::hypot(a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2],
                     a[0] * b[1] - a[1] * b[0]) /
          volume;
    }
    for (const Image &image : images_)
      for (const Atom &atom : atoms_) {
        double at[3], l[3];
        bool near = !(image.home && process_of(atom.x) == process);
        for (int c = 0; c < 3; c++) at[c] = atom.x[c] + image.by[c];
        lamda(at, l);
        for (int c = 0, rest = process; c < 3; rest /= box_.parts[c++]) {
          const double low = (rest % box_.parts[c]) / double(box_.parts[c]);
          near = near && l[c] >= low - skin[c] - 1e-9 &&
              l[c] < low + 1.0 / box_.parts[c] + skin[c] + 1e-9;
        }
        if (!image.home)
          for (double &component : at) component += (any(3) - 1) * 1e-10;
        if (near) shown.add(at, atom.species);
      }
    return shown;
  }
  void begin()
  {
    for (std::size_t p = 0; p < processes_.size(); p++) {
      Process &process = processes_[p];
      process.own.clear();
      for (std::size_t k = 0; k < atoms_.size(); k++)
        if (process_of(atoms_[k].x) == int(p)) process.own.push_back(int(k));
      std::shuffle(process.own.begin(), process.own.end(), generator);
      process.known.assign(process.own.size(), false);
      process.stage.begin(shown(int(p), true).points(), around(int(p)));
      process.memory = 0.0;
    }
    rows_ = look(atoms_, close_);
    check_state();
  }

  /* --- trials */
  int index_of(int process, int atom) const
  {
    const auto &own = processes_[process].own;
    const auto at = std::find(own.begin(), own.end(), atom);
    return at == own.end() ? -1 : int(at - own.begin());
  }
  Trial trial()
  {
    Trial t;
    std::vector<int> some;
    for (std::size_t k = 0; k < atoms_.size(); k++)
      if (atoms_[k].species >= 0) some.push_back(int(k));
    std::shuffle(some.begin(), some.end(), generator);
    const int n = int(some.size());
    const auto comes = [&](int atom, double by) {
      Atom there = atom < 0 ? new_atom(any(3)) : atoms_[atom];
      if (atom >= 0 && by > 0.0) {
        const Atom other = new_atom(0);
        std::copy(other.x, other.x + 3, there.x);
      }
      if (atom >= 0 && by < 0.0) there.species = any(3);
      t.come.push_back(there);
      t.is.push_back(atom);
    };
    switch (n < 2 ? 0 : any(7)) {
    case 0:
      comes(-1, 0.0);
      break;
    case 1:
      t.gone = {some[0]};
      break;
    case 2:
    case 3:
      t.gone = {some[0]};
      comes(some[0], 1.0);
      break;
    case 4:
      t.gone = {some[0]};
      comes(some[0], -1.0);
      break;
    case 5:
      t.gone = {some[0], some[1]};
      comes(some[0], 0.0);
      comes(some[1], 0.0);
      std::swap(t.come[0].species, t.come[1].species);
      break;
    case 6:    // anything
      for (int k = 0; k < std::min(n, any(4)); k++) {
        t.gone.push_back(some[k]);
        if (any(2)) comes(some[k], any(2) - 0.5);
      }
      for (int k = any(3); k > 0; k--) comes(-1, 0.0);
    }
    return t;
  }
  /* What process p is told of it: an own atom that stays here keeps its index, others are new. */
  std::pair<std::vector<TrialAtom>, std::vector<TrialAtom>> told(const Trial &t, int p) const
  {
    std::vector<TrialAtom> gone, come;
    const auto tell = [](const Atom &atom, int own) {
      return TrialAtom{{atom.x[0], atom.x[1], atom.x[2]}, atom.species, own};
    };
    for (const int k : t.gone) gone.push_back(tell(atoms_[k], index_of(p, k)));
    int next = int(processes_[p].own.size());
    for (std::size_t k = 0; k < t.come.size(); k++) {
      const bool here = process_of(t.come[k].x) == p;
      const int was = t.is[k] < 0 ? -1 : index_of(p, t.is[k]);
      come.push_back(tell(t.come[k], !here ? -1 : was >= 0 ? was : next++));
    }
    return {gone, come};
  }
  std::vector<Atom> after(const Trial &t) const
  {
    std::vector<Atom> atoms;
    for (std::size_t k = 0; k < atoms_.size(); k++)
      if (std::find(t.gone.begin(), t.gone.end(), int(k)) == t.gone.end())
        atoms.push_back(atoms_[k]);
    atoms.insert(atoms.end(), t.come.begin(), t.come.end());
    return atoms;
  }
  bool too_close(const Trial &t) const
  {
    for (const Atom &atom : t.come)
      for (std::size_t k = 0; k < atoms_.size(); k++)
        if (std::find(t.gone.begin(), t.gone.end(), int(k)) == t.gone.end() &&
            within(atoms_[k], atom, GUARD))
          return true;
    return false;
  }
  /* Rows that a process must know afterwards, and no others. */
  void expect_known(int p, const std::vector<Trial> &trials)
  {
    Process &process = processes_[p];
    for (std::size_t k = 0; k < process.own.size(); k++)
      for (const Trial &t : trials) {
        const int atom = process.own[k];
        bool near = std::find(t.gone.begin(), t.gone.end(), atom) != t.gone.end();
        for (const int g : t.gone) near = near || within(atoms_[atom], atoms_[g], CUTOFF);
        for (const Atom &c : t.come) near = near || within(atoms_[atom], c, CUTOFF);
        if (near) process.known[k] = true;
      }
  }

  void propose()
  {
    propositions++;
    const Trial t = trial();
    const double guard = any(3) ? 0.0 : GUARD;
    double close, difference = 0.0, close_difference = 0.0;
    const std::vector<Atom> then = after(t);
    const std::vector<Row> rows = look(then, close);
    bool overlap = false, failed = false;
    std::vector<bool> sound;
    for (std::size_t p = 0; p < processes_.size(); p++) {
      Process &process = processes_[p];
      const auto [gone, come] = told(t, int(p));
      const long before = unsound, rows_before = process.stage.filled();
      const Answer answer = process.stage.propose(gone, come, guard);
      if (answer == Answer::failed && !process.stage.failure().empty())
        wrong(process.stage.failure().c_str());
      if (answer == Answer::none && process.stage.difference() != 0.0) wrong("none");
      touched_none += answer == Answer::none;
      overlap = overlap || answer == Answer::overlap;
      failed = failed || answer == Answer::failed;
      difference += process.stage.difference();
      close_difference += process.stage.close_pairs_difference(CLOSE);
      filled += process.stage.filled() - rows_before;
      sound.push_back(unsound == before);
      expect_known(int(p), {t});
      compactions += process.stage.memory() < process.memory;
      process.memory = process.stage.memory();
    }
    if (failed) {
      for (Process &process : processes_) process.stage.forget();
      return begin();
    }
    expect("overlap", overlap, guard > 0.0 && too_close(t));
    expect("pairs that become close", close_difference, close - close_);
    overlaps += overlap;
    if (!overlap) expect("difference", difference, total(rows) - total(rows_));
    check_known();
    if (overlap || any(2) ||
        (atoms_.size() > 1.5 * box_.atoms + 2 && t.come.size() > t.gone.size()))
      return;
    accept(t, sound);
  }

  void accept(const Trial &t, const std::vector<bool> &sound)
  {
    accepted++;
    const std::size_t old = atoms_.size();
    for (std::size_t k = 0; k < t.come.size(); k++)
      if (t.is[k] < 0) atoms_.push_back(t.come[k]);
    for (std::size_t p = 0; p < processes_.size(); p++) {
      Process &process = processes_[p];
      process.stage.accept();
      std::size_t added = old;
      for (std::size_t k = 0; k < t.come.size(); k++) {
        const int atom = t.is[k] < 0 ? int(added++) : t.is[k];
        if (process_of(t.come[k].x) != int(p)) continue;
        if (index_of(int(p), atom) >= 0) continue;    // a known one stays
        process.own.push_back(atom);
        process.known.push_back(true);
      }
      std::vector<int> left;
      for (const int g : t.gone) {
        const auto is = std::find(t.is.begin(), t.is.end(), g);
        const bool stays = is != t.is.end() && process_of(t.come[is - t.is.begin()].x) == int(p);
        if (index_of(int(p), g) >= 0 && !stays) left.push_back(index_of(int(p), g));
        crossings += index_of(int(p), g) >= 0 && !stays && is != t.is.end();
      }
      std::sort(left.rbegin(), left.rend());
      for (const int k : left) {
        process.stage.close_gap(k);
        process.own[k] = process.own.back();
        process.own.pop_back();
        process.known[k] = process.known.back();
        process.known.pop_back();
      }
      if (!sound[p]) process.known.assign(process.own.size(), false);
    }
    for (std::size_t k = 0; k < t.come.size(); k++)
      if (t.is[k] >= 0) atoms_[t.is[k]] = t.come[k];
    std::vector<int> vanish;
    for (const int g : t.gone)
      if (std::find(t.is.begin(), t.is.end(), g) == t.is.end()) vanish.push_back(g);
    std::sort(vanish.rbegin(), vanish.rend());
    for (const int g : vanish) {
      atoms_[g] = atoms_.back();
      for (Process &process : processes_)
        std::replace(process.own.begin(), process.own.end(), int(atoms_.size()) - 1, g);
      atoms_.pop_back();
    }
    rows_ = look(atoms_, close_);
    check_state();
  }

  /* Each from the present state, and none is one. */
  void ask_each()
  {
    questions++;
    const bool ahead = any(3) == 0;    // nothing but rows is asked for
    std::vector<Trial> trials(1 + any(12));
    for (Trial &t : trials) t = trial();
    const double guard = any(2) ? 0.0 : GUARD;
    std::vector<double> differences(trials.size(), 0.0);
    std::vector<bool> overlap(trials.size(), false);
    for (std::size_t p = 0; p < processes_.size(); p++) {
      std::vector<Stage::Trial> each;
      for (const Trial &t : trials) {
        auto [gone, come] = told(t, int(p));
        each.push_back({gone, come});
      }
      if (!(ahead ? processes_[p].stage.prepare(each)
                  : processes_[p].stage.propose_each(each, guard))) {
        if (!processes_[p].stage.failure().empty()) wrong(processes_[p].stage.failure().c_str());
        for (Process &process : processes_) process.stage.forget();
        return begin();
      }
      for (std::size_t k = 0; k < each.size(); k++) {
        differences[k] += each[k].difference;
        overlap[k] = overlap[k] || each[k].answer == Answer::overlap;
        if (each[k].answer == Answer::none && each[k].difference != 0.0) wrong("none of each");
      }
      expect_known(int(p), trials);
    }
    double close;
    for (std::size_t k = 0; !ahead && k < trials.size(); k++) {
      expect("overlap of each", overlap[k], guard > 0.0 && too_close(trials[k]));
      const double expected = total(look(after(trials[k]), close)) - total(rows_);
      if (!overlap[k]) expect("difference of each", differences[k], expected);
    }
    check_known();
  }

  /* As LAMMPS brings back an atom that a refused move took to another process: as the last one. */
  void refused_visit()
  {
    for (Process &process : processes_) {
      if (process.own.empty()) continue;
      const int k = any(int(process.own.size()));
      process.stage.exchange(k, process.stage.n_own() - 1);
      std::swap(process.own[k], process.own.back());
      const bool known = process.known[k];
      process.known[k] = process.known.back();
      process.known.back() = known;
    }
    check_state();
  }

  void evaluate_all()
  {
    for (Process &process : processes_) {
      double energy = 0.0, squares, expected = 0.0;
      if (!process.stage.evaluate_all(energy, squares)) continue;    // the model failed
      for (const int k : process.own) expected += rows_[k].energy();
      expect("energy of all", energy, expected);
    }
  }

  /* Atoms move on by other hands: what a stage holds is told from what it does not. */
  void disturb()
  {
    bool same = true;
    const int what = any(6);
    if (what == 1 && !atoms_.empty()) atoms_[any(int(atoms_.size()))] = new_atom(any(4) - 1);
    if (what == 2) atoms_.push_back(new_atom(any(4) - 1));
    if (what == 3) processes_[any(int(processes_.size()))].stage.forget();
    if (what == 2 || what == 3) same = false;
    for (std::size_t p = 0; p < processes_.size(); p++) {
      Process &process = processes_[p];
      auto &own = process.own;
      const std::vector<int> before = own;
      if (what == 4 && own.size() > 1) std::swap(own[0], own.back());
      if (what == 2 && process_of(atoms_.back().x) == int(p)) own.push_back(int(atoms_.size()) - 1);
      Surroundings there = around(int(p));
      if (what == 5) (any(2) ? there.edge[any(3)][any(3)] : there.high[any(3)]) += 1e-12;
      const bool holds = process.stage.holds(shown(int(p), false).points(), there);
      bool should = what != 5;
      for (std::size_t k = 0; k < own.size(); k++) {
        if (k >= before.size())
          should = false;
        else if (!same_atom(last_.at(before[k]), atoms_[own[k]]))
          should = false;
      }
      if (what != 3) expect("holds", holds, should);
      same = same && holds;
    }
    if (!same || what == 0 || what >= 4) begin();
  }
  static bool same_atom(const Atom &a, const Atom &b)
  {
    return a.species == b.species && std::equal(a.x, a.x + 3, b.x);
  }

  /* --- what must hold between any two calls */
  void check_known()
  {
    for (std::size_t p = 0; p < processes_.size(); p++) {
      Process &process = processes_[p];
      double energy = 0.0;
      std::vector<int> known;
      for (std::size_t k = 0; k < process.own.size(); k++)
        if (process.known[k] && atoms_[process.own[k]].species >= 0) {
          known.push_back(int(k));
          energy += rows_[process.own[k]].energy();
        }
      if (process.stage.known() != known)
        wrong("known rows", double(process.stage.known().size()), double(known.size()));
      expect("energy of known rows", process.stage.known_energy(), energy);
    }
  }
  void check_state()
  {
    double close = 0.0;
    for (std::size_t p = 0; p < processes_.size(); p++) {
      const Process &process = processes_[p];
      expect("own atoms", process.stage.n_own(), double(process.own.size()));
      close += process.stage.close_pairs(CLOSE);
      if (!process.stage.holds(shown(int(p), false).points(), around(int(p)))) wrong("holds");
    }
    expect("close pairs", close, close_);
    check_known();
    last_ = atoms_;
  }

  const Box box_;
  std::vector<Image> images_;
  std::vector<Atom> atoms_, last_;
  std::vector<Row> rows_;
  double close_ = 0.0;
  std::deque<Process> processes_;
};

/* An image that LAMMPS has not made is told, not left out. */
static void miss_a_ghost()
{
  Model model;
  Stage stage(
      {[&](const mliap_local_rows &r, mliap_local_result &s) { return model.full(r, s); },
       [&](const mliap_local_change &c, mliap_local_result &s) { return model.update(c, s); },
       CUTOFF});
  Surroundings around;
  for (int c = 0; c < 3; c++) {
    around.edge[c][c] = around.high[c] = 4.0;
    around.periodic[c] = true;
  }
  const double x[] = {0.25, 1, 1, 3.75, 1, 1, -0.25, 1, 1};    // an image of the first is not there
  const int species[] = {0, 1, 1};
  stage.begin({2, 3, x, species}, around);
  if (stage.propose({{{0.25, 1, 1}, 0, 0}}, {}, 0.0) != Answer::failed) wrong("missed ghost");
  if (stage.failure().find("use comm_modify cutoff") == std::string::npos) wrong("no remedy");
}

int main(int, char **argv)
{
  miss_a_ghost();
  for (const Box &box : BOXES) {
    World world(box);
    where = box.name;
    /* Few atoms with many images each: cheap, and soon sorted anew. */
    const int steps = std::atoi(argv[1]) * (box.atoms < 5 ? 2 : 1);
    for (int k = 0; k < steps; k++) world.step();
  }
  std::printf("%ld %ld %ld %ld %ld %ld %ld %ld %ld %ld\n", propositions, accepted, overlaps,
              touched_none, unsound, failures, compactions, filled, questions, crossings);
  return 0;
}
