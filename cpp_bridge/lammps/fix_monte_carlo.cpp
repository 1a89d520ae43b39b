/* What fix_monte_carlo.h declares: LAMMPS's atoms to a stage, and the model beside the pair style. */

#include "fix_monte_carlo.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "group.h"
#include "modify.h"
#include "neighbor.h"
#include "pair.h"
#include "pair_mliap_local.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

using namespace LAMMPS_NS;
using namespace FixConst;
using mliap_local::Points;
using mliap_local::Stage;

/* An atom on top of another is one in any model, whatever it makes of no distance at all: this part
   of the cutoff. */
static constexpr double COINCIDENT = 1.0e-6;
/* Two programs that evaluate one model agree to this part of the energy. */
static constexpr double SAME_MODEL = 1.0e-9;
static constexpr char SUFFIX[] = "/mliap_local";

FixMonteCarlo::FixMonteCarlo(LAMMPS *lmp, int narg, char **arg, const char *stock)
    : Fix(lmp, narg, arg), stock_(stock), name_(stock_ + SUFFIX), model_(lmp),
      stage_({[this](const mliap_local_rows &rows, mliap_local_result &result) {
                return model_.evaluate(rows, result);
              },
              [this](const mliap_local_change &change, mliap_local_result &result) {
                return model_.evaluate(change, result);
              }})
{
  dynamic_group_allow = 1;
  vector_flag = 1;
  global_freq = 1;
  extvector = 0;
  restart_global = 1;
  time_depend = 1;
  force_reneighbor = 1;
  next_reneighbor = update->ntimestep + 1;
}

FixMonteCarlo::~FixMonteCarlo() = default;

int FixMonteCarlo::setmask()
{
  return PRE_EXCHANGE | POST_FORCE | POST_RUN;
}

/* --- arguments --------------------------------------------------------------------------------- */

double FixMonteCarlo::number(const char *word) const
{
  return utils::numeric(FLERR, word, false, lmp);
}

int FixMonteCarlo::whole(const char *word) const
{
  return utils::inumeric(FLERR, word, false, lmp);
}

void FixMonteCarlo::unknown(const char *word, const char *known)
{
  error->all(FLERR, "Unknown fix {} keyword {}; known are {}, model, check, verify, refresh, grade",
             name_, word, known);
}

void FixMonteCarlo::left_to_stock(const char *word)
{
  error->all(FLERR, "Fix {} is for single atoms and has no keyword {}; use fix {} with suffix off",
             name_, word, stock_);
}

bool FixMonteCarlo::keyword(int &k, int narg, char **arg)
{
  const std::string word = arg[k];
  if (word != "model" && word != "check" && word != "verify" && word != "refresh" &&
      word != "grade")
    return false;
  if (k + 1 >= narg) utils::missing_cmd_args(FLERR, "fix " + name_ + " " + word, error);
  if (word == "model") {
    if (k + 2 + atom->ntypes > narg)
      error->all(FLERR,
                 "Fix {} model: expected a file and {} elements (or NULL), one for each atom type, "
                 "got {} words",
                 name_, atom->ntypes, narg - k - 1);
    file_ = arg[k + 1];
    elements_.assign(arg + k + 2, arg + k + 2 + atom->ntypes);
    k += 2 + atom->ntypes;
    return true;
  }
  if (word == "grade") {
    grade_ = number(arg[k + 1]);
    if (!(grade_ > 0.0))
      error->all(FLERR, "Fix {} grade: expected a number > 0, got {}", name_, arg[k + 1]);
    k += 2;
    return true;
  }
  const int value = whole(arg[k + 1]);
  k += 2;
  if (word == "refresh") {
    refresh_ = value;
    if (value < 1)
      error->all(FLERR, "Fix {} refresh: expected a number of accepted trials >= 1, got {}", name_,
                 value);
    return true;
  }
  (word == "check" ? check_ : verify_) = value;
  if (value < 0)
    error->all(FLERR, "Fix {} {}: expected N >= 0 (0: never), got {}", name_, word, value);
  if (k < narg && utils::is_double(arg[k])) {
    const double tolerance = number(arg[k++]);
    if (tolerance <= 0.0)
      error->all(FLERR, "Fix {} {}: expected a tolerance > 0, got {}", name_, word, arg[k - 1]);
    (word == "check" ? check_tolerance_ : verify_tolerance_) = tolerance;
  }
  return true;
}

/* --- before a run ------------------------------------------------------------------------------ */

void FixMonteCarlo::init()
{
  if (!atom->mass) error->all(FLERR, "Fix {} requires a mass for each atom type", name_);
  if (!atom->tag_enable)
    error->all(FLERR, "Fix {} requires atom IDs, got none; use atom_modify id yes", name_);
  if (domain->dimension == 2)
    error->all(FLERR, "Fix {} works in three dimensions only; use dimension 3", name_);
  if (utils::strmatch(update->integrate_style, "^respa") ||
      utils::strmatch(update->integrate_style, "^verlet/split"))
    error->all(FLERR, "Fix {} needs forces of a whole step: expected run_style verlet, got {}",
               name_, update->integrate_style);
  if (comm->mode != Comm::SINGLE)
    error->all(FLERR, "Fix {} needs all atoms near a process: use comm_modify mode single", name_);
  if (neighbor->includegroup)
    error->all(FLERR,
               "Fix {} needs all atoms, but neigh_modify include {} hides some; use "
               "neigh_modify include all",
               name_, group->names[neighbor->includegroup]);
  if (atom->firstgroup >= 0)
    error->all(FLERR, "Fix {} cannot keep atoms of atom_modify first {} first; remove it", name_,
               atom->firstgroupname);
  refuse_other_energies();
  open_model();
  compared_ = false;
  trials_ = overlaps_ = beyond_ = 0;
  largest_drift_ = largest_sum_drift_ = tolerated_ = mismatch_ = 0.0;
}

/* What a trial changes besides the model's energy. */
void FixMonteCarlo::refuse_other_energies()
{
  std::string other, remedy = "use fix " + stock_;
  if (!force->pair) {
    other = "no pair style";
    remedy = "define one";
  }
  if (force->kspace) other = "kspace_style " + std::string(force->kspace_style);
  if (force->bond || force->angle || force->dihedral || force->improper)
    other = "bonds, angles, dihedrals or impropers";
  if (force->pair && force->pair->tail_flag) {
    other = "pair_modify tail yes";
    remedy = "use pair_modify tail no";
  }
  for (const auto &fix : modify->get_fix_list())
    if (fix->energy_global_flag && fix->thermo_energy) {
      other = std::string("fix ") + fix->id + " with fix_modify energy yes";
      remedy = std::string("use fix_modify ") + fix->id + " energy no, or fix " + stock_;
    }
  if (!other.empty())
    error->all(FLERR,
               "Fix {} knows the energy of its model and no other: expected none that a trial "
               "changes, got {}; {}",
               name_, other, remedy);
}

void FixMonteCarlo::open_model()
{
  const PairMLIAPLocal *pair =    // whose model and keywords are used
      file_.empty() ? dynamic_cast<PairMLIAPLocal *>(force->pair) : nullptr;
  std::string file = file_, device = "cpu";
  std::vector<std::string> types = elements_;
  bool relative = false;
  double grade = grade_;
  int refresh = refresh_ > 0 ? refresh_ : PairMLIAPLocal::REFRESH;
  if (file.empty()) {
    if (!pair)
      error->all(FLERR,
                 "Fix {} beside pair_style {} needs a model of the same energies: use the keyword "
                 "model FILE element1 element2 ... (mliap-local convert makes the file), or "
                 "pair_style mliap_local",
                 name_, force->pair_style);
    file = pair->model_file();
    types = pair->elements_of_types();
    device = pair->device();
    relative = pair->relative();
    if (grade == 0.0) grade = pair->grade();
    if (refresh_ == 0) refresh = pair->refresh();
    if (pair->verify() > 0) {
      verify_ = pair->verify();
      verify_tolerance_ = pair->verify_tolerance();
    }
  }
  std::vector<std::string> distinct;
  species_of_type_.assign(atom->ntypes + 1, -1);
  for (int type = 1; type <= atom->ntypes; type++) {
    const std::string &element = types[type - 1];
    if (element == "NULL") continue;
    const auto found = std::find(distinct.begin(), distinct.end(), element);
    species_of_type_[type] = static_cast<int>(found - distinct.begin());
    if (found == distinct.end()) distinct.push_back(element);
  }
  if (distinct.empty())
    error->all(FLERR, "Fix {} model: expected an element for some atom type, got NULL for all",
               name_);
  std::string wanted = file + "\n" + device + (relative ? "\nrelative" : "\n");
  wanted += grade > 0.0 ? "\ngraded" : "\n";
  for (const std::string &element : types) wanted += " " + element;
  if (pair) wanted += " " + std::to_string(pair->openings());
  if (wanted != opened_) {
    opened_.clear();
    model_.open(file.c_str(), distinct, device, relative, grade > 0.0);
    opened_ = wanted;
  }
  overlap_ = pair ? pair->overlap() : model_.overlap;
  overlap_ = std::max(overlap_, COINCIDENT * model_.cutoff);
  stage_.set_cutoff(model_.cutoff);
  stage_.set_grade(grade);
  stage_.set_refresh(refresh);
  stage_.forget();
}

/* Forces have been evaluated: is the model the pair style's? */
void FixMonteCarlo::setup(int)
{
  if (comm->get_comm_cutoff() < model_.cutoff)
    error->all(FLERR,
               "Fix {}: expected ghosts at least as far as the model's cutoff, {:.8g}, got {:.8g}; "
               "use comm_modify cutoff {:.8g}",
               name_, model_.cutoff, comm->get_comm_cutoff(), model_.cutoff);
  if (check_ > 0) check_model();
  if (next_reneighbor <= update->ntimestep) next_reneighbor = update->ntimestep + 1;
}

void FixMonteCarlo::post_force(int)
{
  if (!check_due_) return;
  check_due_ = false;
  check_model();
}

/* The model's energy of all atoms, and the pair style's as it was just evaluated. */
void FixMonteCarlo::check_model()
{
  if (update->eflag_global != update->ntimestep) return;    // nobody evaluated an energy
  stage_.begin(points(), surroundings());
  double sums[3] = {0.0, 0.0, force->pair->eng_vdwl + force->pair->eng_coul};
  if (!stage_.evaluate_all(sums[0], sums[1])) model_.failed();
  stage_.forget();
  sum(sums, 3);
  const double largest = std::max(std::fabs(sums[0]), std::fabs(sums[2]));
  agree_on_rounding();
  const double tolerance = check_tolerance_ > 0.0
      ? check_tolerance_
      : model_.rounding * std::sqrt(sums[1]) + SAME_MODEL * largest;
  const double off = sums[0] - sums[2];
  if (!compared_) first_difference_ = off;
  compared_ = true;
  mismatch_ = std::max(mismatch_, std::fabs(off));
  if (std::fabs(off) <= tolerance && std::fabs(off - first_difference_) <= tolerance) return;
  error->all(
      FLERR,
      "Fix {}: expected the model's energy to be that of pair_style {}, {:.15g}, got {:.15g}, "
      "a difference of {:.3g} where {:.3g} is tolerated; give the model of the same "
      "potential with its elements in the order of the types{}",
      name_, force->pair_style, sums[2], sums[0], off, tolerance,
      file_.empty() ? "" : ", or a larger tolerance with check N tolerance");
}

/* --- a stage ----------------------------------------------------------------------------------- */

Points FixMonteCarlo::points()
{
  const int n_all = atom->nlocal + atom->nghost;
  species_.resize(n_all);
  mliap_local::find_species(atom->type, atom->mask, 0, species_of_type_.data(), n_all,
                            species_.data());
  return {atom->nlocal, n_all, n_all ? atom->x[0] : nullptr, species_.data()};
}

mliap_local::Surroundings FixMonteCarlo::surroundings() const
{
  mliap_local::Surroundings around;
  const double edge[3][3] = {{domain->xprd, 0.0, 0.0},
                             {domain->xy, domain->yprd, 0.0},
                             {domain->xz, domain->yz, domain->zprd}};
  std::copy(&edge[0][0], &edge[0][0] + 9, &around.edge[0][0]);
  if (domain->triclinic)
    domain->bbox(domain->sublo_lamda, domain->subhi_lamda, around.low, around.high);
  for (int c = 0; c < 3; c++) {
    around.periodic[c] = domain->periodicity[c];
    if (!domain->triclinic) {
      around.low[c] = domain->sublo[c];
      around.high[c] = domain->subhi[c];
    }
    for (int i = 0; !around.periodic[c] && i < atom->nlocal; i++) {    // shrink-wrapped later
      around.low[c] = std::min(around.low[c], atom->x[i][c]);
      around.high[c] = std::max(around.high[c], atom->x[i][c]);
    }
  }
  return around;
}

/* Atoms to where they belong, as the stock fix does. Ghosts once, and not again until the step's. */
void FixMonteCarlo::begin()
{
  if (domain->triclinic) domain->x2lamda(atom->nlocal);
  domain->pbc();
  comm->exchange();
  if (domain->triclinic) domain->lamda2x(atom->nlocal);
  atom->nghost = 0;
  const mliap_local::Surroundings around = surroundings();
  double other = stage_.holds(points(), around) ? 0.0 : 1.0;
  sum(&other, 1);
  if (other > 0.0) {
    if (domain->triclinic) domain->x2lamda(atom->nlocal);
    if (domain->box_change_domain) comm->setup();    // fix balance may have cut the box anew
    comm->borders();
    if (domain->triclinic) domain->lamda2x(atom->nlocal + atom->nghost);
    stage_.begin(points(), around);
    if (atom->map_style != Atom::MAP_NONE) atom->map_clear();
    atom->nghost = 0;
  }
  if (close_cutoff_ > 0.0) {
    close_pairs_ = stage_.close_pairs(close_cutoff_);
    sum(&close_pairs_, 1);
  }
}

/* Verlet exchanges atoms and makes ghosts and the map anew. */
void FixMonteCarlo::end()
{
  if (atom->map_style != Atom::MAP_NONE) atom->map_init();
  stages_++;
  check_due_ = check_ > 0 && stages_ % check_ == 0;
  if (check_ > 0 && (stages_ + 1) % check_ == 0)
    modify->addstep_compute_all(update->ntimestep + nevery);
}

void FixMonteCarlo::pre_exchange()
{
  if (next_reneighbor != update->ntimestep) return;
  begin();
  trials();
  end();
  next_reneighbor = update->ntimestep + nevery;
}

FixMonteCarlo::TrialAtom FixMonteCarlo::trial_atom(int i) const
{
  const double *x = atom->x[i];
  return {{x[0], x[1], x[2]}, species(atom->type[i]), i};
}

void FixMonteCarlo::count(Atoms &atoms) const
{
  atoms.counts.assign(comm->nprocs, 0);
  const int here = static_cast<int>(atoms.own.size());
  if (comm->nprocs == 1)
    atoms.counts[0] = here;
  else
    MPI_Allgather(&here, 1, MPI_INT, atoms.counts.data(), 1, MPI_INT, world);
  atoms.all = std::accumulate(atoms.counts.begin(), atoms.counts.end(), 0);
}

int FixMonteCarlo::pick(const Atoms &atoms, RandomPark &random) const
{
  int which = static_cast<int>(atoms.all * random.uniform());
  for (int process = 0; process < comm->me; process++) which -= atoms.counts[process];
  return which >= 0 && which < atoms.counts[comm->me] ? which : -1;
}

bool FixMonteCarlo::is_here(const double *x) const
{
  if (comm->nprocs == 1) return true;
  double place[3] = {x[0], x[1], x[2]};
  const double *low = domain->sublo, *high = domain->subhi;
  if (domain->triclinic) {
    domain->x2lamda(place, place);
    low = domain->sublo_lamda;
    high = domain->subhi_lamda;
  }
  for (int c = 0; c < 3; c++)
    if (place[c] < low[c] || place[c] >= high[c]) return false;
  return true;
}

void FixMonteCarlo::sum(double *values, int n) const
{
  if (comm->nprocs > 1) MPI_Allreduce(MPI_IN_PLACE, values, n, MPI_DOUBLE, MPI_SUM, world);
}

double FixMonteCarlo::difference(const std::vector<TrialAtom> &gone,
                                 const std::vector<TrialAtom> &come)
{
  trials_++;
  const Stage::Answer answer = stage_.propose(gone, come, overlap_);
  if (answer == Stage::Answer::failed) failed();
  double sums[4] = {stage_.difference(), answer == Stage::Answer::overlap ? 1.0 : 0.0,
                    answer == Stage::Answer::beyond ? 1.0 : 0.0, 0.0};
  if (close_cutoff_ > 0.0) sums[3] = stage_.close_pairs_difference(close_cutoff_);
  sum(sums, 4);
  proposed_close_pairs_ = close_pairs_ + sums[3];
  return answered(sums, gone, come);
}

/* What the fixes are told of a trial, from sums over processes: the difference, and how many
   processes saw an overlap, and a grade beyond the one allowed. */
double FixMonteCarlo::answered(const double *sums, const std::vector<TrialAtom> &gone,
                               const std::vector<TrialAtom> &come)
{
  const bool overlap = sums[1] > 0.0, beyond = !overlap && sums[2] > 0.0;
  overlaps_ += overlap;
  beyond_ += beyond;
  if (overlap || beyond) return Model::OVERLAP_ENERGY;
  refuse_no_number(sums[0]);
  verify(sums[0], gone, come);
  return sums[0];
}

/* An infinite energy is one that nothing accepts. */
void FixMonteCarlo::refuse_no_number(double difference)
{
  if (std::isnan(difference) || difference == -HUGE_VAL)
    model_.stop(fmt::format("Fix {}: expected a number for the energy of a trial, but the model "
                            "gives {}; use overlap to keep atoms apart, or a model that is finite "
                            "there",
                            name_, difference));
}

/* Every N-th difference against two full evaluations, and the sum of those accepted since rows
   started anew against one of the same rows. */
void FixMonteCarlo::verify(double difference, const std::vector<TrialAtom> &gone,
                           const std::vector<TrialAtom> &come)
{
  if (verify_ == 0 || ++since_verified_ < verify_) return;
  since_verified_ = 0;
  double squares = 0.0;
  const double before = full_energy({}, {}, squares);
  const double after = full_energy(gone, come, squares);
  /* Who overlaps so much that nothing accepts it is beyond what rounding is measured against. */
  if (after - before <= 1000.0 * force->boltz * 1.0e4)
    judge("difference of a trial", difference, after - before, squares, largest_drift_);
  double sums[4] = {stage_.known_energy(), 0.0, 0.0, stage_.squares()};
  if (!stage_.evaluate_known(sums[1], sums[2])) failed();
  sum(sums, 4);
  judge("sum of all differences", sums[0], sums[1], sums[2] + sums[3], largest_sum_drift_);
}

std::vector<double> FixMonteCarlo::differences(std::vector<Stage::Trial> &trials)
{
  trials_ += static_cast<long>(trials.size());
  if (!stage_.propose_each(trials, overlap_)) failed();
  std::vector<double> sums;
  for (const Stage::Trial &trial : trials) {
    sums.push_back(trial.answer == Stage::Answer::overlap ? 0.0 : trial.difference);
    sums.push_back(trial.answer == Stage::Answer::overlap ? 1.0 : 0.0);
    sums.push_back(trial.answer == Stage::Answer::beyond ? 1.0 : 0.0);
  }
  sum(sums.data(), static_cast<int>(sums.size()));
  std::vector<double> energies;
  for (std::size_t t = 0; t < trials.size(); t++)
    energies.push_back(answered(&sums[3 * t], trials[t].gone, trials[t].come));
  return energies;
}

void FixMonteCarlo::prepare(const std::vector<Stage::Trial> &trials)
{
  if (!stage_.prepare(trials)) failed();
}

void FixMonteCarlo::failed()
{
  stage_.forget();
  if (stage_.failure().empty()) model_.failed();
  model_.stop("Fix " + name_ + ": " + stage_.failure());
}

void FixMonteCarlo::accept()
{
  stage_.accept();
  close_pairs_ = proposed_close_pairs_;
}

/* --- verification ------------------------------------------------------------------------------ */

/* All atoms of all processes and all their images, and who is near whom by looking at all pairs: slow,
   and shares neither cells nor ghosts nor sums with what it judges. */
double FixMonteCarlo::full_energy(const std::vector<TrialAtom> &gone,
                                  const std::vector<TrialAtom> &come, double &squares)
{
  constexpr int VALUES = 4;
  std::vector<double> own;
  const auto add = [&](const double *x, int kind) {
    if (kind >= 0) own.insert(own.end(), {x[0], x[1], x[2], static_cast<double>(kind)});
  };
  for (int i = 0; i < atom->nlocal; i++)
    if (std::none_of(gone.begin(), gone.end(), [i](const TrialAtom &a) { return a.own == i; }))
      add(atom->x[i], species(atom->type[i]));
  for (const TrialAtom &atom : come)
    if (atom.own >= 0) add(atom.x, atom.species);

  std::vector<int> sizes(comm->nprocs), begins(comm->nprocs, 0);
  const int size = static_cast<int>(own.size());
  MPI_Allgather(&size, 1, MPI_INT, sizes.data(), 1, MPI_INT, world);
  for (int p = 1; p < comm->nprocs; p++) begins[p] = begins[p - 1] + sizes[p - 1];
  std::vector<double> all(begins.back() + sizes.back());
  MPI_Allgatherv(own.data(), size, MPI_DOUBLE, all.data(), sizes.data(), begins.data(), MPI_DOUBLE,
                 world);

  std::vector<double> x;
  std::vector<int> kinds;
  const int n_own = size / VALUES;
  for (int k = 0; k < n_own; k++) {
    x.insert(x.end(), &own[VALUES * k], &own[VALUES * k] + 3);
    kinds.push_back(static_cast<int>(own[VALUES * k + 3]));
  }
  const mliap_local::Surroundings around = surroundings();
  int reach[3];
  for (int c = 0; c < 3; c++) {
    const double shortest =
        domain->prd[c] * (domain->triclinic ? 0.5 : 1.0);    // tilted at most so
    reach[c] = around.periodic[c] ? static_cast<int>(std::ceil(model_.cutoff / shortest)) + 1 : 0;
  }
  for (std::size_t k = 0; k < all.size(); k += VALUES)
    for (int a = -reach[0]; a <= reach[0]; a++)
      for (int b = -reach[1]; b <= reach[1]; b++)
        for (int c = -reach[2]; c <= reach[2]; c++) {
          const int from = begins[comm->me];
          const bool mine = static_cast<int>(k) >= from && static_cast<int>(k) < from + size;
          if (mine && a == 0 && b == 0 && c == 0) continue;
          double image[3];
          bool near = true;
          for (int d = 0; d < 3; d++) {
            image[d] =
                all[k + d] + a * around.edge[0][d] + b * around.edge[1][d] + c * around.edge[2][d];
            near = near && image[d] > around.low[d] - model_.cutoff &&
                image[d] < around.high[d] + model_.cutoff;
          }
          if (!near) continue;
          x.insert(x.end(), image, image + 3);
          kinds.push_back(static_cast<int>(all[k + 3]));
        }
  const mliap_local::Points all_points{n_own, static_cast<int>(kinds.size()), x.data(),
                                       kinds.data()};
  mliap_local::Shares shares(n_own, [&](int begin, int end, mliap_local::Rows &rows) {
    mliap_local::search_rows(all_points, model_.cutoff, begin, end, rows);
  });
  mliap_local_result result{};
  if (!model_.evaluate(shares.wanted(), result)) model_.failed();
  double sums[2] = {result.energy, result.squares};
  sum(sums, 2);
  squares += sums[1];
  return sums[0];
}

/* Each process has seen its own atoms, but all must judge alike. */
void FixMonteCarlo::agree_on_rounding()
{
  double largest = model_.rounding;
  MPI_Allreduce(&model_.rounding, &largest, 1, MPI_DOUBLE, MPI_MAX, world);
  model_.rounding = largest;
}

void FixMonteCarlo::judge(const char *what, double value, double reference, double squares,
                          double &largest)
{
  agree_on_rounding();
  const double tolerance = verify_tolerance_ > 0.0
      ? verify_tolerance_
      : model_.tolerance(squares,
                         std::max({std::fabs(value), std::fabs(reference), std::sqrt(squares)}));
  const double drift = std::fabs(value - reference);
  largest = std::max(largest, drift);
  tolerated_ = std::max(tolerated_, tolerance);
  if (drift <= tolerance) return;
  error->all(
      FLERR,
      "Fix {}: the {} is {:.15g} by increments and {:.15g} by full evaluations, {:.3g} apart "
      "where {:.3g} is tolerated; use a model in 64bit, a smaller refresh, or a larger "
      "tolerance with verify N tolerance",
      name_, what, value, reference, drift, tolerance);
}

void FixMonteCarlo::post_run()
{
  if (comm->me != 0) return;
  utils::logmesg(lmp,
                 "fix {} {}: {} trials, {} answered by the overlap guard, {} updates, {} rows "
                 "evaluated wholly, {} compilations\n",
                 id, name_, trials_, overlaps_, stage_.updates(), stage_.filled(),
                 stage_.compilations());
  if (beyond_ > 0)
    utils::logmesg(lmp, "fix {} {}: {} trials refused for their grade\n", id, name_, beyond_);
  if (check_ > 0)
    utils::logmesg(lmp, "fix {} {}: largest |model - pair style| {:.3g}\n", id, name_, mismatch_);
  if (verify_ > 0)
    utils::logmesg(lmp,
                   "fix {} {}: largest |difference - full| {:.3g}, of their sum {:.3g}, up to "
                   "{:.3g} would have passed\n",
                   id, name_, largest_drift_, largest_sum_drift_, tolerated_);
}

/* As LAMMPS's fixes write it: the one goes on where the other ended. */
void FixMonteCarlo::write(FILE *file, const std::vector<double> &values) const
{
  if (comm->me != 0) return;
  const int size = static_cast<int>(values.size() * sizeof(double));
  fwrite(&size, sizeof(int), 1, file);
  fwrite(values.data(), 1, size, file);
}

double FixMonteCarlo::memory_usage()
{
  return stage_.memory();
}
