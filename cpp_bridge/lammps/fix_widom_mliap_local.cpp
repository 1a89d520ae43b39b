/* What fix_widom_mliap_local.h declares. The order of random numbers is that of LAMMPS's fix widom. */

#include "fix_widom_mliap_local.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>

using namespace LAMMPS_NS;

static constexpr char KEYWORDS[] = "region, full_energy";
/* Insertions evaluated in one call: more gain nothing, and fewer leave few sizes to compile for. */
static constexpr int TOGETHER = 32;

FixWidomMLIAPLocal::FixWidomMLIAPLocal(LAMMPS *lmp, int narg, char **arg)
    : FixMonteCarlo(lmp, narg, arg, "widom"), same_(1), insertion_(lmp, name_)
{
  if (narg < 8) utils::missing_cmd_args(FLERR, "fix widom/mliap_local", error);
  size_vector = 3;
  nevery = whole(arg[3]);
  n_insertions_ = whole(arg[4]);
  type_ = utils::expand_type_int(FLERR, arg[5], Atom::ATOM, lmp);
  const int seed = whole(arg[6]);
  temperature_ = number(arg[7]);
  if (nevery <= 0 || n_insertions_ < 0 || seed <= 0 || temperature_ <= 0.0)
    error->all(FLERR,
               "Fix widom/mliap_local: expected N > 0, M >= 0, seed > 0 and T > 0, got {} {} {} {}",
               nevery, n_insertions_, seed, temperature_);
  same_.reset(seed);
  for (int k = 8; k < narg;) {
    if (keyword(k, narg, arg)) continue;
    const std::string word = arg[k++];
    for (const char *other : {"mol", "charge", "intra_energy"})
      if (word == other) left_to_stock(other);
    if (word == "full_energy") continue;
    if (word != "region") unknown(word.c_str(), KEYWORDS);
    if (k >= narg) utils::missing_cmd_args(FLERR, "fix widom/mliap_local region", error);
    insertion_.use_region(arg[k++], same_);
  }
}

void FixWidomMLIAPLocal::init()
{
  FixMonteCarlo::init();
  if (type_ <= 0 || type_ > atom->ntypes || species(type_) < 0)
    error->all(FLERR,
               "Fix widom/mliap_local: expected an atom type from 1 to {} that has an element in "
               "its model, got {}",
               atom->ntypes, type_);
  insertion_.init();
  beta_ = 1.0 / (force->boltz * temperature_);
  mean_ = 0.0;
  volume_ = insertion_.volume();
}

void FixWidomMLIAPLocal::trials()
{
  mean_ = 0.0;
  volume_ = insertion_.volume();
  std::vector<mliap_local::Stage::Trial> together;
  int done = 0;
  const auto evaluate = [&]() {
    for (const double energy : differences(together))
      mean_ += (exp(-beta_ * energy) - mean_) / ++done;
    together.clear();
  };
  for (int k = 0; k < n_insertions_; k++) {
    TrialAtom atom_there{{0.0, 0.0, 0.0}, species(type_), -1};
    if (!insertion_.draw(same_, atom_there.x)) break;
    if (is_here(atom_there.x)) atom_there.own = atom->nlocal;
    together.push_back({{}, {atom_there}});
    if (static_cast<int>(together.size()) == TOGETHER) evaluate();
  }
  if (!together.empty()) evaluate();
}

double FixWidomMLIAPLocal::compute_vector(int n)
{
  if (n == 0) return mean_ > 0.0 ? -log(mean_) / beta_ : 0.0;
  return n == 1 ? mean_ : volume_;
}

void FixWidomMLIAPLocal::write_restart(FILE *file)
{
  write(file, {static_cast<double>(same_.state()), static_cast<double>(next_reneighbor)});
}

/* LAMMPS's fix widom reads the step from behind what it has written; we read what is there. */
void FixWidomMLIAPLocal::restart(char *buffer)
{
  const auto *list = reinterpret_cast<const double *>(buffer);
  same_.reset(static_cast<int>(list[0]));
  next_reneighbor = static_cast<bigint>(list[1]);
}
