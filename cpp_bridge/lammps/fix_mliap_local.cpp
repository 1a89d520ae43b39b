/* What fix_mliap_local.h declares: notes where in a step LAMMPS is, and shows counters. */

#include "fix_mliap_local.h"

#include "comm.h"
#include "error.h"
#include "neighbor.h"
#include "pair_mliap_local.h"
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
  return POST_INTEGRATE | POST_INTEGRATE_RESPA | POST_NEIGHBOR | MIN_POST_NEIGHBOR | PRE_FORCE |
      PRE_FORCE_RESPA;
}

void FixMLIAPLocal::init()
{
  moved_ = false;
  calls_before_move_ = -1;
  if (!pair)
    error->all(FLERR,
               "fix mliap_local belongs to a pair style mliap_local, which makes it by "
               "itself: remove the line");
}

void FixMLIAPLocal::setup_post_neighbor()
{
  moved_ = false;
  pair->list_is_old();    // LAMMPS counts builds from 0 again at each setup, and rerun has many
}

/* Monte Carlo fixes work in PRE_EXCHANGE: after this and before POST_NEIGHBOR, and rebuild LAMMPS's
   lists before they ask for an energy. Others (hmc, sgcmc, write_data) ask elsewhere. What tells is
   the order of events, never a time step: several runs may begin at the same one. */
void FixMLIAPLocal::post_integrate()
{
  moved_ = true;
  moves_++;
  calls_before_move_ = neighbor->ncalls;
}

bool FixMLIAPLocal::in_trial() const
{
  return moved_ && neighbor->ncalls != calls_before_move_;
}

/* The step's list. Built now and not at the next force call, because rRESPA moves atoms before. */
void FixMLIAPLocal::post_neighbor()
{
  moved_ = false;
  pair->build_list();
}

/* A step without a new list: what builds one after its forces (hmc) is not in a trial. */
void FixMLIAPLocal::pre_force(int)
{
  if (neighbor->ncalls == calls_before_move_) moved_ = false;
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
                   "{}: largest |incremental - full| {:.3g}, up to {:.3g} would have passed\n",
                   id, value[0], value[1], value[2], value[5], value[4], id, value[3], value[6]);
  if (comm->me == 0 && pair->grade() > 0.0)
    utils::logmesg(lmp,
                   "{}: {:.0f} trials refused for a grade above {:.6g}; the last step's largest "
                   "grade is {:.4g}\n",
                   id, value[8], pair->grade(), value[7]);
}
