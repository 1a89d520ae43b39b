/* What fix_mliap_local.h declares: notes where in a step LAMMPS is, and shows counters. */

#include "fix_mliap_local.h"

#include "comm.h"
#include "error.h"
#include "neighbor.h"
#include "pair_mliap_local.h"
#include "update.h"
#include "utils.h"

using namespace LAMMPS_NS;
using namespace FixConst;

FixMLIAPLocal::FixMLIAPLocal(LAMMPS *lmp, int narg, char **arg) : Fix(lmp, narg, arg)
{
  if (narg != 3)
    error->all(FLERR,
               "fix mliap_local takes no arguments, got {}; pair_style mliap_local makes "
               "this fix by itself: remove the line",
               narg - 3);
  vector_flag = 1;
  size_vector = PairMLIAPLocal::N_COUNTERS;
  extvector = 0;
  global_freq = 1;
}

FixMLIAPLocal::~FixMLIAPLocal()
{
  if (pair) pair->fix_is_gone();
}

int FixMLIAPLocal::setmask()
{
  return POST_INTEGRATE | POST_INTEGRATE_RESPA | POST_NEIGHBOR | MIN_POST_NEIGHBOR;
}

void FixMLIAPLocal::init()
{
  begun_ = integrated_ = -1;
  if (!pair)
    error->all(FLERR,
               "fix mliap_local belongs to a pair style mliap_local, which makes it by "
               "itself: remove the line");
}

void FixMLIAPLocal::setup_post_neighbor()
{
  forces_due();
  pair->list_is_old();    // LAMMPS counts builds from 0 again at each setup, and rerun has many
}

/* Monte Carlo fixes work in PRE_EXCHANGE: after this and before POST_NEIGHBOR, with a list that
   they rebuilt in the same step. Others (hmc, sgcmc, write_data) ask elsewhere. Under rRESPA the
   inner levels come here again after the list was built; the outermost is the first of a step. */
void FixMLIAPLocal::post_integrate()
{
  if (begun_ == update->ntimestep) return;
  begun_ = integrated_ = update->ntimestep;
}

bool FixMLIAPLocal::in_trial() const
{
  return integrated_ == update->ntimestep && neighbor->lastcall == update->ntimestep;
}

double FixMLIAPLocal::compute_vector(int which)
{
  double value = pair->counter(which), largest;
  MPI_Allreduce(&value, &largest, 1, MPI_DOUBLE, MPI_MAX, world);
  return largest;
}

void FixMLIAPLocal::post_run()
{
  double value[PairMLIAPLocal::N_COUNTERS];
  for (int which = 0; which < PairMLIAPLocal::N_COUNTERS; which++)
    value[which] = compute_vector(which);
  if (comm->me == 0)
    utils::logmesg(lmp,
                   "{}: {:.0f} full and {:.0f} incremental evaluations, {:.0f} with forces, "
                   "{:.0f} trials answered by the overlap guard, {:.0f} compilations\n"
                   "{}: largest |incremental - full| {:.3g}\n",
                   id, value[0], value[1], value[2], value[5], value[4], id, value[3]);
}
