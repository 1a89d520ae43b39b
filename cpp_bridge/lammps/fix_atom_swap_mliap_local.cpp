/* What fix_atom_swap_mliap_local.h declares. The order of random numbers is that of LAMMPS's fix
   atom/swap, so that one seed gives one walk. */

#include "fix_atom_swap_mliap_local.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "insertion.h"
#include "region.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cctype>
#include <cmath>

using namespace LAMMPS_NS;

static constexpr char KEYWORDS[] = "ke, region, semi-grand, types, mu, variance";

FixAtomSwapMLIAPLocal::FixAtomSwapMLIAPLocal(LAMMPS *lmp, int narg, char **arg)
    : FixMonteCarlo(lmp, narg, arg, "atom/swap"), same_(1), own_(1)
{
  if (narg < 10) utils::missing_cmd_args(FLERR, "fix atom/swap/mliap_local", error);
  size_vector = 2;
  nevery = whole(arg[3]);
  n_trials_ = whole(arg[4]);
  const int seed = whole(arg[5]);
  const double temperature = number(arg[6]);
  if (nevery <= 0 || n_trials_ < 0 || seed <= 0 || temperature <= 0.0)
    error->all(
        FLERR,
        "Fix atom/swap/mliap_local: expected N > 0, X >= 0, seed > 0 and T > 0, got {} {} {} "
        "{}",
        nevery, n_trials_, seed, temperature);
  beta_ = 1.0 / (force->boltz * temperature);
  same_.reset(seed);
  own_.reset(seed);
  options(narg, arg);
}

void FixAtomSwapMLIAPLocal::options(int narg, char **arg)
{
  for (int k = 7; k < narg;) {
    if (keyword(k, narg, arg)) continue;
    const std::string word = arg[k++];
    if ((std::string(" ") + KEYWORDS + ",").find(" " + word + ",") == std::string::npos)
      unknown(word.c_str(), KEYWORDS);
    if (k >= narg) utils::missing_cmd_args(FLERR, "fix atom/swap/mliap_local " + word, error);
    if (word == "ke") {
      keep_energy_ = utils::logical(FLERR, arg[k++], false, lmp);
    } else if (word == "region") {
      region_id_ = arg[k++];
    } else if (word == "semi-grand") {
      semi_grand_ = utils::logical(FLERR, arg[k++], false, lmp);
    } else if (word == "types") {
      for (; k < narg && !isalpha(arg[k][0]); k++)
        types_.push_back(utils::expand_type_int(FLERR, arg[k], Atom::ATOM, lmp));
    } else if (word == "variance") {
      kappa_ = number(arg[k++]);
      target_.assign(1, 1.0);
      for (; k < narg && !isalpha(arg[k][0]); k++) {
        target_.push_back(number(arg[k]));
        target_[0] -= target_.back();
      }
    } else {
      for (; k < narg && !isalpha(arg[k][0]); k++) mu_.push_back(number(arg[k]));
    }
  }
  if (types_.size() < 2)
    error->all(FLERR, "Fix atom/swap/mliap_local types: expected at least two atom types, got {}",
               types_.size());
  if (semi_grand_ && mu_.size() != types_.size())
    error->all(FLERR,
               "Fix atom/swap/mliap_local mu: expected a chemical potential for each of the "
               "{} types, got {}",
               types_.size(), mu_.size());
  if (!semi_grand_ && (types_.size() != 2 || !mu_.empty()))
    error->all(FLERR,
               "Fix atom/swap/mliap_local: expected two types and no mu, got {} and {}; for "
               "others use semi-grand yes",
               types_.size(), mu_.size());
  if (target_.empty()) return;
  if (!semi_grand_ || target_.size() != types_.size() || kappa_ < 0.0 ||
      std::any_of(target_.begin(), target_.end(), [](double c) { return c < 0.0 || c > 1.0; }))
    error->all(
        FLERR,
        "Fix atom/swap/mliap_local variance: expected semi-grand yes, kappa >= 0 and a "
        "concentration from 0 to 1 for each type but the first, {} of them, with a sum of at "
        "most 1",
        types_.size() - 1);
  size_vector = 2 + static_cast<int>(types_.size());
}

void FixAtomSwapMLIAPLocal::init()
{
  FixMonteCarlo::init();
  for (const int type : types_) {
    if (type <= 0 || type > atom->ntypes)
      error->all(FLERR, "Fix atom/swap/mliap_local types: expected atom types from 1 to {}, got {}",
                 atom->ntypes, type);
    if (species(type) < 0)
      error->all(FLERR,
                 "Fix atom/swap/mliap_local swaps atoms of type {}, which is NULL in its "
                 "model; give the element of that type",
                 type);
  }
  region_ = region_id_.empty() ? nullptr : find_region(lmp, region_id_, name_);
}

/* --- who can be picked ------------------------------------------------------------------------- */

bool FixAtomSwapMLIAPLocal::is_swappable(int i) const
{
  const double *x = atom->x[i];
  return (atom->mask[i] & groupbit) && (!region_ || region_->match(x[0], x[1], x[2]) == 1);
}

/* Those of a type; of any of the types, if that is 0. */
void FixAtomSwapMLIAPLocal::find(Atoms &atoms, int type) const
{
  atoms.own.clear();
  for (int i = 0; i < atom->nlocal; i++) {
    const int own = atom->type[i];
    const bool wanted =
        type > 0 ? own == type : std::find(types_.begin(), types_.end(), own) != types_.end();
    if (wanted && is_swappable(i)) atoms.own.push_back(i);
  }
  count(atoms);
}

/* An own atom, or -1 where another process has it. */
int FixAtomSwapMLIAPLocal::pick(const Atoms &atoms)
{
  const int which = FixMonteCarlo::pick(atoms, same_);
  return which < 0 ? -1 : atoms.own[which];
}

/* --- trials ------------------------------------------------------------------------------------ */

void FixAtomSwapMLIAPLocal::trials()
{
  if (semi_grand_) {
    find(any_, 0);
    number_.assign(types_.size(), 0.0);
    for (const int i : any_.own) number_[which(atom->type[i])]++;
    sum(number_.data(), static_cast<int>(number_.size()));
    for (int k = 0; k < n_trials_; k++) change();
  } else {
    find(first_, types_[0]);
    find(second_, types_[1]);
    for (int k = 0; k < n_trials_; k++) swap();
  }
  tried_ += n_trials_;
}

void FixAtomSwapMLIAPLocal::retype(int i, int type)
{
  if (keep_energy_) {
    const double scale = sqrt(atom->mass[atom->type[i]] / atom->mass[type]);
    for (int c = 0; c < 3; c++) atom->v[i][c] *= scale;
  }
  atom->type[i] = type;
}

/* An atom of the first type and one of the second exchange their types. */
void FixAtomSwapMLIAPLocal::swap()
{
  if (first_.all == 0 || second_.all == 0) return;
  const int i = pick(first_), j = pick(second_);
  double told[6] = {};
  if (i >= 0) std::copy_n(atom->x[i], 3, told);
  if (j >= 0) std::copy_n(atom->x[j], 3, told + 3);
  sum(told, 6);
  const int a = species(types_[0]), b = species(types_[1]);
  const TrialAtom from[2] = {{{told[0], told[1], told[2]}, a, i},
                             {{told[3], told[4], told[5]}, b, j}};
  const TrialAtom to[2] = {{{told[0], told[1], told[2]}, b, i},
                           {{told[3], told[4], told[5]}, a, j}};
  const double energy = difference({from[0], from[1]}, {to[0], to[1]});
  if (same_.uniform() >= exp(-beta_ * energy)) return;
  accept();
  swapped_++;
  const auto goes = [&](int k, Atoms &list, Atoms &other, int type) {
    if (k < 0) return;
    retype(k, type);
    list.own.erase(std::lower_bound(list.own.begin(), list.own.end(), k));
    other.own.insert(std::lower_bound(other.own.begin(), other.own.end(), k), k);
  };
  goes(i, first_, second_, types_[1]);
  goes(j, second_, first_, types_[0]);
  if (comm->nprocs > 1) {
    count(first_);
    count(second_);
  }
}

int FixAtomSwapMLIAPLocal::which(int type) const
{
  return static_cast<int>(std::find(types_.begin(), types_.end(), type) - types_.begin());
}

/* What the logarithm of the weight gains if an atom of one type becomes one of another. Sadigh et
   al., PRB 85, 184203 (2012), with the kappa of fix sgcmc. */
double FixAtomSwapMLIAPLocal::constraint(int from, int to) const
{
  if (target_.empty()) return 0.0;
  const auto excess = [&](int k) { return number_[k] - target_[k] * any_.all; };
  return -kappa_ / any_.all * (2.0 + 2.0 * (excess(to) - excess(from)));
}

/* One atom becomes of another type, at the difference of their chemical potentials. */
void FixAtomSwapMLIAPLocal::change()
{
  if (any_.all == 0) return;
  const int i = pick(any_);
  double told[8] = {}, weight = 0.0;    // its logarithm, without the energy
  int type = 0;
  if (i >= 0) {
    const int now = which(atom->type[i]);
    int next = now;
    while (next == now)
      next = static_cast<int>(static_cast<double>(types_.size()) * own_.uniform());
    type = types_[next];
    weight = beta_ * (mu_[next] - mu_[now]) + constraint(now, next);
    std::copy_n(atom->x[i], 3, told);
    told[3] = species(atom->type[i]);
    told[4] = species(type);
    told[5] = now;
    told[6] = next;
  }
  sum(told, 7);
  const double energy = difference({{{told[0], told[1], told[2]}, static_cast<int>(told[3]), i}},
                                   {{{told[0], told[1], told[2]}, static_cast<int>(told[4]), i}});
  double accepted = i >= 0 && own_.uniform() < exp(weight - beta_ * energy) ? 1.0 : 0.0;
  sum(&accepted, 1);
  if (accepted == 0.0) return;
  accept();
  swapped_++;
  number_[static_cast<int>(told[5])]--;
  number_[static_cast<int>(told[6])]++;
  if (i >= 0) retype(i, type);
}

/* --- what others ask --------------------------------------------------------------------------- */

double FixAtomSwapMLIAPLocal::compute_vector(int n)
{
  if (n < 2) return n == 0 ? tried_ : swapped_;
  return number_.empty() || any_.all == 0 ? 0.0 : number_[n - 2] / any_.all;
}

void FixAtomSwapMLIAPLocal::write_restart(FILE *file)
{
  write(file,
        {static_cast<double>(same_.state()), static_cast<double>(own_.state()),
         ubuf(next_reneighbor).d, tried_, swapped_, ubuf(update->ntimestep).d});
}

void FixAtomSwapMLIAPLocal::restart(char *buffer)
{
  const auto *list = reinterpret_cast<const double *>(buffer);
  same_.reset(static_cast<int>(list[0]));
  own_.reset(static_cast<int>(list[1]));
  next_reneighbor = (bigint) ubuf(list[2]).i;
  tried_ = list[3];
  swapped_ = list[4];
  if ((bigint) ubuf(list[5]).i != update->ntimestep)
    error->all(FLERR, "Must not reset timestep when restarting fix atom/swap/mliap_local");
}
