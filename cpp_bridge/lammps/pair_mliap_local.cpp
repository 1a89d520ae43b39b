/* What pair_mliap_local.h declares: the commands, the list, the calls, and what is added up. */

#include "pair_mliap_local.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "fix_mliap_local.h"
#include "force.h"
#include "group.h"
#include "memory.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_map>

using namespace LAMMPS_NS;
using mliap_local::Changes;
using mliap_local::Points;
using mliap_local::Shares;

/* LAMMPS moves untouched atoms by some 1e-14 of the box: in a triclinic box at each trial, in any
   box when it takes a refused molecule back by the way it came. An atom of it that came back exactly
   must not meet its own bond as an overlap with one that did not. */
static constexpr double NOISE = 1.0e-12;
/* A trial that raises the energy by so many kT is never accepted, at the highest temperature that
   anybody simulates: kelvin, or epsilon in units lj. */
static constexpr double NEVER = 1000.0, HOTTEST = 1.0e4, HOTTEST_LJ = 100.0;
static constexpr int ALL = 0;    // LAMMPS's first group
/* In which no crystal has many neighbours level with each other; per unit of length. */
static constexpr double DIRECTION[3] = {0.5377e9, 0.7312e9, 1.0e9};
static constexpr char KEYWORDS[] =
    "cache, verify, refresh, reference, overlap, forces, grade, device";

PairMLIAPLocal::PairMLIAPLocal(LAMMPS *lmp) : Pair(lmp), model_(lmp)
{
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  atomic_energy_enable = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_AVAIL;
}

PairMLIAPLocal::~PairMLIAPLocal()
{
  if (copymode) return;
  close_model();
  if (fix_ && modify) modify->delete_fix(fix_id_);
  if (allocated) {
    memory->destroy(setflag);
    memory->destroy(cutsq);    // Pair itself deletes map
  }
}

void PairMLIAPLocal::allocate()
{
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  map = new int[n];
  std::fill(map, map + n, -1);
  for (int i = 1; i < n; i++)
    for (int j = i; j < n; j++) setflag[i][j] = 0;
  allocated = 1;
}

void PairMLIAPLocal::settings(int narg, char **arg)
{
  cache_ = forces_ = true;
  relative_ = false;
  verify_ = 0;
  refresh_ = REFRESH;
  verify_tolerance_ = 0.0;
  asked_overlap_ = -1.0;
  grade_ = 0.0;
  device_ = "cpu";
  close_model();    // a second pair_style line: its keywords hold for a model opened after it

  const auto number = [&](int at) { return utils::numeric(FLERR, arg[at], false, lmp); };
  const auto whole = [&](int at) { return utils::inumeric(FLERR, arg[at], false, lmp); };
  for (int k = 0; k < narg; k += 2) {
    const std::string word = arg[k];
    if ((std::string(" ") + KEYWORDS + ",").find(" " + word + ",") == std::string::npos)
      error->all(FLERR, "Unknown pair_style mliap_local keyword {}; known are {}{}", word, KEYWORDS,
                 utils::strmatch(word, "\\.zip$")
                     ? "; a model file goes to pair_coeff: pair_coeff * * " + word +
                         " element1 element2 ..."
                     : "");
    if (k + 1 >= narg) utils::missing_cmd_args(FLERR, "pair_style mliap_local " + word, error);
    const std::string value = arg[k + 1];
    if (word == "cache") {
      cache_ = utils::logical(FLERR, value, false, lmp) == 1;
    } else if (word == "forces") {
      forces_ = utils::logical(FLERR, value, false, lmp) == 1;
    } else if (word == "overlap") {
      asked_overlap_ = number(k + 1);
      if (asked_overlap_ < 0.0)
        error->all(FLERR, "pair_style mliap_local overlap: expected a distance >= 0, got {}",
                   value);
    } else if (word == "grade") {
      grade_ = number(k + 1);
      if (!(grade_ > 0.0))
        error->all(FLERR, "pair_style mliap_local grade: expected a number > 0, got {}", value);
    } else if (word == "refresh") {
      refresh_ = whole(k + 1);
      if (refresh_ < 1)
        error->all(FLERR,
                   "pair_style mliap_local refresh: expected a number of accepted updates "
                   ">= 1, got {}",
                   value);
    } else if (word == "verify") {
      verify_ = whole(k + 1);
      if (verify_ < 0)
        error->all(FLERR, "pair_style mliap_local verify: expected N >= 0 (0: never), got {}",
                   value);
      if (k + 2 < narg && utils::is_double(arg[k + 2])) {
        verify_tolerance_ = number(k + 2);
        if (verify_tolerance_ <= 0.0)
          error->all(FLERR, "pair_style mliap_local verify: expected a tolerance > 0, got {}",
                     arg[k + 2]);
        k++;
      }
    } else if (word == "reference") {
      if (value != "model" && value != "isolated")
        error->all(FLERR, "pair_style mliap_local reference: expected model or isolated, got {}",
                   value);
      relative_ = value == "isolated";
    } else {
      if (value != "cpu" && value != "gpu")
        error->all(FLERR, "pair_style mliap_local device: expected cpu or gpu, got {}", value);
      device_ = value;
    }
  }
  if (grade_ > 0.0 && !cache_)
    error->all(FLERR,
               "pair_style mliap_local grade: trials are refused by the grades of the atoms that "
               "they change, which cache no does not know; use cache yes");
}

void PairMLIAPLocal::coeff(int narg, char **arg)
{
  if (narg < 4 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
    error->all(FLERR,
               "pair_coeff for mliap_local: expected * * model.zip and an element (or NULL) "
               "for each atom type");
  if (narg != 3 + atom->ntypes)
    error->all(FLERR,
               "pair_coeff for mliap_local: expected {} elements (or NULL), one for each "
               "atom type, got {}",
               atom->ntypes, narg - 3);
  const std::string last = arg[narg - 1];
  if (utils::strmatch(last, "\\.zip$") && !utils::strmatch(arg[2], "\\.zip$"))
    error->all(FLERR,
               "pair_coeff for mliap_local: expected the model file before the elements, got {} at "
               "their end; use pair_coeff * * {} element1 element2 ...",
               last, last);
  if (!allocated) allocate();
  close_model();
  map_element2type(narg - 3, arg + 3);
  open_model(arg[2]);
  make_fix();
}

void PairMLIAPLocal::open_model(const char *file)
{
  masses_checked_ = false;
  model_file_ = file;
  openings_++;
  try {
    model_.open(file, {elements, elements + nelements}, device_, relative_, grade_ > 0.0);
  } catch (...) {
    close_model();    // no run without a model
    throw;
  }
  overlap_ = asked_overlap_ < 0.0 ? model_.overlap : asked_overlap_;
  if (overlap_ >= model_.cutoff) {
    close_model();    // no run without a model
    error->all(
        FLERR,
        "pair_style mliap_local overlap: expected a distance below the model's cutoff, {:.8g}, "
        "got {:.8g}",
        model_.cutoff, overlap_);
  }
}

void PairMLIAPLocal::close_model()
{
  model_.close();
  changes_.forget();
  atomic_energies_.forget();
  for (int i = 1; allocated && i <= atom->ntypes; i++)
    for (int j = i; j <= atom->ntypes; j++) setflag[i][j] = 0;
}

std::vector<std::string> PairMLIAPLocal::elements_of_types() const
{
  std::vector<std::string> types;
  for (int type = 1; type <= atom->ntypes; type++)
    types.emplace_back(map[type] < 0 ? "NULL" : elements[map[type]]);
  return types;
}

/* The fix needs a box, so it cannot be made in settings(); a user may have deleted it since. */
void PairMLIAPLocal::make_fix()
{
  if (fix_) return;
  fix_id_ = "mliap_local";
  for (int number = 2; modify->get_fix_by_id(fix_id_); number++)
    fix_id_ = "mliap_local_" + std::to_string(number);
  fix_ = dynamic_cast<FixMLIAPLocal *>(modify->add_fix(fix_id_ + " all mliap_local"));
  fix_->pair = this;
}

void PairMLIAPLocal::init_style()
{
  if (!force->newton_pair)
    error->all(FLERR, "Pair style mliap_local requires newton pair on, got off; use newton on");
  if (!atom->tag_enable)
    error->all(FLERR, "Pair style mliap_local requires atom IDs, got none; use atom_modify id yes");
  if (atom->molecular != Atom::ATOMIC)
    for (int k = 1; k < 4; k++)
      if (force->special_lj[k] != 1.0)
        error->all(FLERR,
                   "Pair style mliap_local counts all pairs, also bonded ones: expected "
                   "special_bonds lj 1 1 1, got {} {} {}; use special_bonds lj/coul 1 1 1",
                   force->special_lj[1], force->special_lj[2], force->special_lj[3]);
  if (utils::strmatch(update->integrate_style, "^verlet/split"))
    error->all(FLERR,
               "Pair style mliap_local cannot tell steps from trials in run_style "
               "verlet/split; use run_style verlet");
  if (neighbor->includegroup)
    error->all(FLERR,
               "Pair style mliap_local needs the neighbours of all atoms, but neigh_modify "
               "include {} hides some; use neigh_modify include all",
               group->names[neighbor->includegroup]);
  if (forces_ && !model_.differentiable)
    error->all(FLERR,
               "The model has no derivatives, so pair_style mliap_local cannot give forces; "
               "export it with vjp_order=1 or higher, or use forces no for pure Monte Carlo");
  if (!forces_ && comm->me == 0)
    utils::logmesg(lmp,
                   "{}: forces no: no forces, no pressure; use thermo_style custom without "
                   "press\n",
                   fix_id_);
  if ((offset_flag || tail_flag) && comm->me == 0)
    error->warning(FLERR,
                   "pair_modify shift and tail do not change a model's energy; convert the "
                   "potential with a shift, or use pair_modify shift no tail no");
  make_fix();
  check_masses();
  neighbor->add_request(this, NeighConst::REQ_FULL | NeighConst::REQ_OCCASIONAL);
  checked_ = false;
  list_built_ = last_trial_ = -1;
  if (comm->me == 0)
    for (int k = 0; k < nelements; k++)
      utils::logmesg(lmp, "{}: energy of isolated {} is {:.10g}{}\n", fix_id_, elements[k],
                     model_.isolated_energy[k], relative_ ? ", taken as zero" : "");
}

/* Elements in another order than the types give an energy all the same; their masses tell. */
void PairMLIAPLocal::check_masses()
{
  if (masses_checked_ || atom->rmass || !atom->mass) return;
  masses_checked_ = true;
  for (int type = 1; type <= atom->ntypes; type++) {
    if (map[type] < 0 || !atom->mass_setflag[type]) continue;
    const double expected = model_.mass[map[type]], got = atom->mass[type];
    if (expected > 0.0 && std::fabs(got - expected) > 0.5 * expected && comm->me == 0)
      error->warning(FLERR,
                     "Type {} is {} in pair_coeff, of mass {:.6g} in the model file, but its mass "
                     "is {:.6g}; check the order of the elements in pair_coeff and the masses",
                     type, elements[map[type]], expected, got);
  }
}

double PairMLIAPLocal::init_one(int i, int j)
{
  if (setflag[i][j] == 0) error->all(FLERR, "All pair coeffs are not set");
  return model_.cutoff;
}

/* fix sgcmc works where forces are read. With atomic/energy yes, seen from the list that it asked
   for, it evaluates no forces; else it leaves those of its trials behind. */
void PairMLIAPLocal::check_sgcmc()
{
  by_atoms_ = false;
  for (const auto &sgcmc : modify->get_fix_by_style("^sgcmc")) {
    const NeighList *asked = neighbor->find_list(sgcmc);
    if (asked && asked->ghost) {
      by_atoms_ = true;
      const double needed = 2.0 * model_.cutoff + neighbor->skin;
      if (comm->get_comm_cutoff() < needed * (1.0 - 1.0e-7))    // as far as it is printed
        error->all(FLERR,
                   "fix sgcmc with mliap_local needs the neighbours of neighbours: expected a "
                   "communication cutoff of at least {:.8g}, got {:.8g}; use comm_modify cutoff "
                   "{:.8g}",
                   needed, comm->get_comm_cutoff(), needed);
      continue;
    }
    for (const auto &fix : modify->get_fix_list())
      if (fix->time_integrate)
        error->all(FLERR,
                   "fix sgcmc adds the forces of its trials to those of the step, but fix {} "
                   "integrates them; use the keyword atomic/energy yes of fix sgcmc, or, with "
                   "pair_style hybrid, run fix sgcmc and dynamics in turns",
                   fix->id);
  }
}

/* Monte Carlo fixes hide the atoms that they try to delete behind a group of their own, made in
   their init(), after ours. Atoms in such a group are counted as absent: see hidden(). Any other
   exclusion would hide pairs from the list but not from an incremental evaluation. */
void PairMLIAPLocal::check_exclusions()
{
  std::string hidden;
  if (neighbor->nex_type) hidden = "type";
  if (neighbor->nex_mol) hidden = "molecule";
  for (int k = 0; k < neighbor->nex_group; k++) {
    const std::string first = group->names[neighbor->ex1_group[k]];
    const std::string second = group->names[neighbor->ex2_group[k]];
    if (first.find("exclusion_group:") == std::string::npos &&
        second.find("exclusion_group:") == std::string::npos)
      hidden = "group " + first + " " + second;
  }
  if (!hidden.empty())
    error->all(FLERR,
               "Pair style mliap_local counts all pairs, but neigh_modify exclude {} hides "
               "some; remove it, or leave the types to another sub-style of pair_style hybrid",
               hidden);
}

/* The groups behind which atoms are hidden now. Not "who is not in group all": on several ranks fix
   gcmc can leave an atom outside of it for good, and native styles count that one again as soon as
   the fix is gone. */
int PairMLIAPLocal::hidden() const
{
  int bits = 0;
  for (int k = 0; k < neighbor->nex_group; k++) {
    const int first = neighbor->ex1_group[k], second = neighbor->ex2_group[k];
    bits |= group->bitmask[first == ALL ? second : first];
  }
  return bits;
}

int PairMLIAPLocal::species(int k) const
{
  return atom->mask[k] & hidden() ? -1 : map[atom->type[k]];
}

Points PairMLIAPLocal::points()
{
  const int n_all = atom->nlocal + atom->nghost;
  species_.resize(n_all);
  mliap_local::find_species(atom->type, atom->mask, hidden(), map, n_all, species_.data());
  return {atom->nlocal, n_all, n_all ? atom->x[0] : nullptr, species_.data()};
}

/* LAMMPS tells from time steps whether an occasional list is older than its bins, and whether the
   stencil that it is built from is. Box, positions and parts of ranks change within a step, so it
   is made to believe that they all just did. */
void PairMLIAPLocal::build_anew(NeighList *occasional)
{
  struct Later {
    bigint &step;
    const bigint as_it_was;
    explicit Later(bigint &step) : step(step), as_it_was(step) { step = MAXBIGINT; }
    ~Later() { step = as_it_was; }
  } bins(neighbor->last_setup_bins), build(neighbor->lastcall);
  neighbor->build_one(occasional);
}

/* The list is occasional, so that a trial does not pay for it. It is built when it is first asked
   for after LAMMPS filled its bins, and lasts as long as LAMMPS's own lists, but for two things.
   Where atoms have moved since the bins were filled (fix hmc fills them at the end of a step), it
   holds who is near now, and not who will be until the bins are filled again. And it lacks atoms
   that were hidden then: tried for deletion, or of a type that another sub-style of hybrid has. */
mliap_local::NeighbourList PairMLIAPLocal::neighbour_list(const Points &now)
{
  bool good = list_built_ == neighbor->ncalls &&
      listed_species_.size() == static_cast<std::size_t>(now.n_all);
  for (int k = 0; good && k < now.n_all; k++) good = listed_species_[k] >= 0 || now.species[k] < 0;
  if (!good) {
    build_anew(list);
    listed_species_.assign(now.species, now.species + now.n_all);
    half_list_old_ = true;
    list_built_ = neighbor->ncalls == fix_->calls_before_move() ? -1 : neighbor->ncalls;
  }
  return {list->inum, list->ilist, list->numneigh, list->firstneigh, NEIGHMASK};
}

/* The fix asks for it when LAMMPS has built its own lists. */
void PairMLIAPLocal::build_list()
{
  if (forces_) neighbour_list(points());
}

Changes::Answer PairMLIAPLocal::compare(const Points &now, double overlap)
{
  const double noise = NOISE * std::max({domain->prd[0], domain->prd[1], domain->prd[2]});
  return changes_.compare(now, model_.cutoff, noise, overlap);
}

void PairMLIAPLocal::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  if (!fix_)
    error->all(FLERR,
               "Pair style mliap_local needs its fix {}, but unfix removed it; use run without "
               "pre no, which makes it again, or remove the unfix line",
               fix_id_);
  if (!checked_) {
    check_sgcmc();
    check_exclusions();
    checked_ = true;
  }
  atomic_energies_.unsettle();
  const Points now = points();
  if (fix_->in_trial() && !eflag_atom && !vflag_either)
    eng_vdwl += trial_energy(now);
  else
    step(now);
}

/* A trial: the energy alone, at the price of what changed. The first call of a Monte Carlo stage
   asks for the present state, whose atoms molecular dynamics moved: no trial to refuse. */
double PairMLIAPLocal::trial_energy(const Points &now)
{
  const bool present = last_trial_ != fix_->moves();
  last_trial_ = fix_->moves();
  const Changes::Answer answer = compare(now, present ? 0.0 : overlap_);
  if (answer == Changes::Answer::overlap) {
    counters_[OVERLAPS]++;
    return Model::OVERLAP_ENERGY;
  }
  const double energy = energy_alone(now, answer, !present);
  if (std::isnan(energy)) no_number(now, energy);    // every fix would refuse it, and go on
  return energy;
}

double PairMLIAPLocal::energy_alone(const Points &now, Changes::Answer answer, bool refuse)
{
  /* Without sums in the cache nobody knows the grades of what a trial changes. */
  const bool due = changes_.accepted() >= refresh_ || (grade_ > 0.0 && !changes_.cached());
  const bool graded =
      refuse && grade_ > 0.0 && answer == Changes::Answer::changed && changes_.cached();
  if (answer == Changes::Answer::unknown || (due && !graded))
    return full(now, true, false, false).energy;
  if (answer != Changes::Answer::changed) {
    if (!cache_ || !changes_.cached()) return full(now, true, false, false).energy;
    counters_[INCREMENTAL]++;
    return verified(now, changes_.settled_energy());
  }

  mliap_local_result result{};
  if (cache_ && changes_.cached()) {
    if (!model_.evaluate(changes_.change(), result)) failed();
    counters_[COMPILATIONS] = result.compilations;
  }
  const bool sound = result.sound, beyond = graded && !(result.grade <= grade_);
  if (due && !beyond) return full(now, true, false, false).energy;
  if (!sound) result = full(now, false, false, false);
  changes_.propose(result.energy, result.squares, sound);
  if (beyond) {
    counters_[BEYOND]++;
    return Model::OVERLAP_ENERGY;
  }
  if (!sound) return result.energy;
  counters_[INCREMENTAL]++;
  return verified(now, result.energy);
}

bool PairMLIAPLocal::verification_is_due()
{
  if (!verify_ || ++since_verified_ < verify_) return false;
  since_verified_ = 0;
  return true;
}

/* The same energy, compared with a full one where it is the N-th. */
double PairMLIAPLocal::verified(const Points &now, double energy)
{
  if (verification_is_due()) {
    const double full = searched(now).energy;
    /* What no fix accepts is not judged: rounding of huge energies is huge. */
    if (could_be_accepted(energy) || could_be_accepted(full))
      judge(now, energy, full, changes_.squares(), Against::full);
  }
  return energy;
}

/* Also what is not a number may be: judge() says so. */
bool PairMLIAPLocal::could_be_accepted(double energy) const
{
  const bool lj = strcmp(update->unit_style, "lj") == 0;
  const double never = NEVER * force->boltz * (lj ? HOTTEST_LJ : HOTTEST);
  return !(energy - changes_.settled_energy() > never);
}

/* A step: energy, forces and what else LAMMPS asks for. Where it comes after a Monte Carlo stage
   the atoms are those of the last trial, and the energy tells how well the cache kept up. */
void PairMLIAPLocal::step(const Points &now)
{
  const bool tried = changes_.proposes() || changes_.accepted() > 0;    // since the last step
  const Changes::Answer answer = tried || !forces_ ? compare(now, 0.0) : Changes::Answer::unknown;
  if (!forces_) {
    refuse_readers_of_forces();
    if (!eflag_atom) {
      const double energy = energy_alone(now, answer, false);
      if (std::isnan(energy)) no_number(now, energy);
      eng_vdwl += energy;
      return;
    }
  }
  const bool known = answer == Changes::Answer::settled || answer == Changes::Answer::proposed;
  const bool incremental = known && changes_.cached() && changes_.accepted() > 0;
  const double before = changes_.settled_energy(), squares = changes_.squares();
  const mliap_local_result result = full(now, true, forces_, eflag_atom || by_atoms_);
  const double energy = result.energy;
  if (std::isnan(energy)) no_number(now, energy);
  if (incremental) judge(now, before, energy, squares, Against::full);
  if (verification_is_due())
    judge(now, energy, searched(now).energy, result.squares, Against::search);
  if (eflag_global) eng_vdwl += energy;
  if (eflag_atom)
    for (int k = 0; k < now.n_own; k++) eatom[k] += atom_energy_[k];
  for (std::size_t k = 0; k < forces_of_.size() && forces_; k++) atom->f[0][k] += forces_of_[k];
  for (int c = 0; c < 6 && forces_ && vflag_global; c++) virial[c] += virial_of_[c];
}

/* fix sgcmc asks for an atom and then for each of its neighbours, ghosts too, before and after it
   changes the type of that atom: a hundred calls, which one evaluation each must serve. The cache
   of trials knows nothing of it: the next compute() finds what changed by comparison. */
double PairMLIAPLocal::compute_atomic_energy(int i, NeighList *asked)
{
  if (fix_->in_trial())
    model_.stop(
        fmt::format("fix sgcmc expected to be asked after the step's forces, but another Monte "
                    "Carlo fix calls it in each of its trials of step {}; choose intervals and "
                    "first steps so that both are never due at once",
                    update->ntimestep));
  const int first = atomic_energies_.first();
  if (first >= 0)
    if (const double *energy = atomic_energies_.next(i, species(first))) return *energy;
  const mliap_local::NeighbourList list{asked->inum, asked->ilist, asked->numneigh,
                                        asked->firstneigh, NEIGHMASK};
  const Points now = points();
  if (atomic_energies_.wants_images()) atomic_energies_.set_images(images());
  atomic_energies_.ask(now, list, model_.cutoff, i);
  if (!answer_derived(now, list)) {
    atomic_energies_.unsettle();
    atomic_energies_.ask(now, list, model_.cutoff, i);
  }
  if (const std::vector<int> &atoms = atomic_energies_.whole(); !atoms.empty()) {
    evaluate_whole(now, list, atoms);
    counters_[FULL]++;
    atomic_energies_.answer_whole(atom_energy_.data());
  }
  return *atomic_energies_.next(i, now.species[i]);
}

/* False if the settled sums are no base: see `sound` in bridge.h. */
bool PairMLIAPLocal::answer_derived(const Points &now, const mliap_local::NeighbourList &list)
{
  const std::vector<int> &atoms = atomic_energies_.derived();
  if (atoms.empty()) return true;
  mliap_local_result result{};
  atom_energy_.resize(std::max(atom_energy_.size(), atoms.size()));
  result.atom_energy = atom_energy_.data();
  if (!model_.evaluate(atomic_energies_.change(), result)) failed();
  counters_[COMPILATIONS] = result.compilations;
  if (!result.sound) return false;
  counters_[INCREMENTAL]++;
  atomic_energies_.answer_derived(atom_energy_.data());
  if (verification_is_due()) {
    const std::vector<double> derived(atom_energy_.begin(), atom_energy_.begin() + atoms.size());
    evaluate_whole(now, list, atoms);
    double sum = 0.0, whole = 0.0, squares = 0.0;
    for (std::size_t k = 0; k < derived.size(); k++) {
      sum += derived[k];
      whole += atom_energy_[k];
      squares += derived[k] * derived[k];
    }
    judge(now, sum, whole, squares, Against::full);
  }
  return true;
}

/* Leaves the energies of these atoms in atom_energy_. */
void PairMLIAPLocal::evaluate_whole(const Points &now, const mliap_local::NeighbourList &list,
                                    const std::vector<int> &atoms)
{
  Shares shares(static_cast<int>(atoms.size()), [&](int begin, int end, mliap_local::Rows &rows) {
    mliap_local::find_rows(now, list, model_.cutoff, atoms, begin, end, rows);
  });
  mliap_local_result result{};
  atom_energy_.resize(std::max(atom_energy_.size(), atoms.size()));
  result.atom_energy = atom_energy_.data();
  if (!model_.evaluate(shares.wanted(), result)) failed();
  counters_[COMPILATIONS] = result.compilations;
}

/* Of each atom the own atom that has its ID; -1: there is none. */
std::vector<int> PairMLIAPLocal::owners() const
{
  std::vector<int> owners(atom->nlocal + atom->nghost);
  std::unordered_map<tagint, int> own;
  for (std::size_t k = atom->nlocal; k < owners.size(); k++) own.emplace(atom->tag[k], -1);
  for (int k = 0; k < atom->nlocal; k++) {
    owners[k] = k;
    if (const auto image = own.find(atom->tag[k]); image != own.end()) image->second = k;
  }
  for (std::size_t k = atom->nlocal; k < owners.size(); k++) owners[k] = own[atom->tag[k]];
  return owners;
}

/* The own atom that each atom is, or is an image of. An image lies whole edges of the box away. */
std::vector<int> PairMLIAPLocal::images()
{
  std::vector<int> images = owners();
  for (int k = 0; k < static_cast<int>(images.size()); k++) {
    for (int c = 0; c < 3 && images[k] >= 0; c++) {
      const double edges = (atom->x[k][c] - atom->x[images[k]][c]) / domain->prd[c];
      if (std::fabs(edges - std::round(edges)) > NOISE) images[k] = -1;
    }
  }
  return images;
}

void PairMLIAPLocal::refuse_readers_of_forces()
{
  std::string reader;
  for (const auto &fix : modify->get_fix_list())
    if (fix->time_integrate) reader = std::string("fix ") + fix->id;
  if (update->whichflag == 2) reader = "minimize";
  if (vflag_atom || cvflag_atom) reader = "a stress of atoms";
  if (!reader.empty())
    error->all(FLERR,
               "pair_style mliap_local forces no: {} reads forces; use forces yes, or remove "
               "what reads them",
               reader);
  /* LAMMPS tallies the global virial at every output step, read or not. Let whoever reads it find
     out that it was not tallied. */
  update->vflag_global = -1;
}

/* All atoms, with their neighbours from LAMMPS's list. */
mliap_local_result PairMLIAPLocal::full(const Points &now, bool keep, bool forces, bool atoms)
{
  for (int k = 0; k < 3 * now.n_own; k++)
    if (!std::isfinite(now.x[k]))
      model_.stop(
          fmt::format("Pair style mliap_local: expected finite positions, got {} in atom {}; "
                      "check the input, the time step and overlapping atoms",
                      now.x[k], atom->tag[k / 3]));
  const mliap_local::NeighbourList list = neighbour_list(now);
  mliap_local::list_own(now, list, listed_);
  Shares shares(now.n_own, [&](int begin, int end, mliap_local::Rows &rows) {
    mliap_local::find_rows(now, list, model_.cutoff, listed_, begin, end, rows);
  });
  if (forces && can_halve(now, list))
    shares.halve([&](int begin, int end, mliap_local::Rows &rows) {
      half_list_.find_rows(now, model_.cutoff, begin, end, rows);
    });
  return evaluate(now, shares, keep, forces, atoms);
}

/* Whether it is less work if pairs do for both of their edges. Which end has a pair is settled when
   the list is built. What LAMMPS calls the centroid stress tells the two edges apart. */
bool PairMLIAPLocal::can_halve(const Points &now, const mliap_local::NeighbourList &list)
{
  if (model_.half <= 0.0 || cvflag_atom) return false;
  if (half_list_old_) find_ends(now);
  if (half_list_old_ || !half_list_.is_of(now)) half_list_.make(now, list);
  half_list_old_ = false;
  if (half_list_.room() > model_.half) return false;
  for (int i = 0; i < now.n_own; i++)
    if (now.species[i] >= 0 && listed_[i] < 0) return false;
  return true;
}

/* See Ends in neighbours.h. An image lies whole edges of the box away from its atom. */
void PairMLIAPLocal::find_ends(const Points &now)
{
  std::int64_t edge[3];
  for (int c = 0; c < 3; c++) edge[c] = std::llround(DIRECTION[c] * domain->prd[c]);
  const double *h_inv = domain->h_inv;
  const auto along_edges = [&](const double *d, int c) {
    return c == 0 ? h_inv[0] * d[0] + h_inv[5] * d[1] + h_inv[4] * d[2]
        : c == 1  ? h_inv[1] * d[1] + h_inv[3] * d[2]
                  : h_inv[2] * d[2];
  };
  mliap_local::Ends &ends = half_list_.ends;
  ends.owner = owners();
  ends.depth.resize(now.n_all);
  for (int k = 0; k < now.n_all; k++) {
    const int owner = ends.owner[k];
    if (owner < 0) continue;
    const double *x = now.x + 3 * k, *at = now.x + 3 * owner;
    const double away[3] = {x[0] - at[0], x[1] - at[1], x[2] - at[2]};
    ends.depth[k] = owner == k ? 0 : ends.depth[owner];
    for (int c = 0; c < 3; c++)
      ends.depth[k] += owner == k ? std::llround(along_edges(x, c) * edge[c])
                                  : std::llround(along_edges(away, c)) * edge[c];
  }
}

/* All atoms, with neighbours from a search that has nothing in common with what it verifies. */
mliap_local_result PairMLIAPLocal::searched(const Points &now)
{
  Shares shares(now.n_own, [&](int begin, int end, mliap_local::Rows &rows) {
    mliap_local::search_rows(now, model_.cutoff, begin, end, rows);
  });
  return evaluate(now, shares, false, false, false);
}

mliap_local_result PairMLIAPLocal::evaluate(const Points &now, Shares &shares, bool keep,
                                            bool forces, bool atoms)
{
  mliap_local_result result{};
  if (atoms) {
    atom_energy_.resize(std::max(now.n_own, 1));
    result.atom_energy = atom_energy_.data();
  }
  if (forces) {    // apart, so that an evaluation that fails leaves nothing half added
    forces_of_.assign(std::max<std::size_t>(3 * static_cast<std::size_t>(now.n_all), 1), 0.0);
    std::fill_n(virial_of_, 6, 0.0);
    shares.add_to({forces_of_.data(), vflag_global ? virial_of_ : nullptr,
                   vflag_atom ? vatom : nullptr, cvflag_atom ? cvatom : nullptr});
    shares.show(now);
    forces_of_.resize(3 * static_cast<std::size_t>(now.n_all));
  }
  mliap_local_rows rows = shares.wanted();
  rows.keep = keep;
  if (!model_.evaluate(rows, result)) failed();
  counters_[forces ? FORCES : FULL]++;
  counters_[COMPILATIONS] = result.compilations;
  if (!keep) return result;
  counters_[GRADE] = result.grade;
  changes_.settle(now, result.energy, result.squares);
  if (by_atoms_ && atoms && cache_) atomic_energies_.settle(now, atom_energy_.data());
  return result;
}

void PairMLIAPLocal::no_number(const Points &now, double energy)
{
  const auto [i, j] = mliap_local::closest_pair(now);
  const std::string pair = i < 0
      ? "no two atoms are here"
      : fmt::format("the closest atoms are {} and {}, at distance {:.6g}", atom->tag[i],
                    atom->tag[j],
                    std::sqrt(mliap_local::square_distance(now.x + 3 * i, now.x + 3 * j)));
  model_.stop(
      fmt::format("Pair style mliap_local: expected a number for the energy, but the model gives "
                  "{}; {}: use overlap to keep atoms apart, or a model that is finite there",
                  energy, pair));
}

/* Two energies of one state. Rounding of each atom's energy is a part of that energy, at random: for
   many it adds up like the root of the sum of squares. */
void PairMLIAPLocal::judge(const Points &now, double energy, double reference, double squares,
                           Against against)
{
  const double largest = std::max(std::fabs(energy), std::fabs(reference));
  if (!std::isfinite(largest)) no_number(now, std::isfinite(reference) ? energy : reference);
  const double drift = std::fabs(energy - reference);
  const double tolerance =
      verify_tolerance_ > 0.0 ? verify_tolerance_ : model_.tolerance(squares, largest);
  counters_[DRIFT] = std::max(counters_[DRIFT], drift);
  counters_[TOLERATED] = std::max(counters_[TOLERATED], tolerance);
  if (drift <= tolerance) return;
  if (against == Against::search)
    model_.stop(
        fmt::format("Pair style mliap_local: neighbours from LAMMPS's list give the energy {:.15g} "
                    "and a search over all atoms {:.15g}, a difference of {:.3g} where {:.3g} is "
                    "tolerated: the list is too old; use neigh_modify delay 0 every 1 check yes, "
                    "and a larger skin",
                    energy, reference, drift, tolerance));
  model_.stop(fmt::format(
      "Pair style mliap_local: incremental energy {:.15g} and full energy {:.15g} "
      "differ by {:.3g}, more than the tolerance {:.3g}; use a model in 64bit, cache no, a smaller "
      "refresh, or a larger tolerance with verify N tolerance",
      energy, reference, drift, tolerance));
}

void PairMLIAPLocal::failed()
{
  changes_.forget();    // nobody knows how far Python got
  atomic_energies_.forget();
  model_.failed();
}

double PairMLIAPLocal::memory_usage()
{
  return Pair::memory_usage() + static_cast<double>(forces_of_.capacity()) * sizeof(double) +
      half_list_.bytes();
}
