/* fix atom/swap without a call of LAMMPS in a trial: the arguments, the random numbers and the output
   of LAMMPS's own fix atom/swap, and so its walk. */

#ifndef LMP_FIX_ATOM_SWAP_MLIAP_LOCAL_H
#define LMP_FIX_ATOM_SWAP_MLIAP_LOCAL_H

#include "fix_monte_carlo.h"

namespace LAMMPS_NS {

class FixAtomSwapMLIAPLocal : public FixMonteCarlo {
 public:
  FixAtomSwapMLIAPLocal(class LAMMPS *, int, char **);
  void init() override;
  double compute_vector(int) override;
  void write_restart(FILE *) override;
  void restart(char *) override;

 protected:
  void trials() override;

 private:
  void options(int narg, char **arg);
  bool is_swappable(int i) const;
  void find(Atoms &atoms, int type) const;
  int pick(const Atoms &atoms);
  void swap();
  void change();
  void retype(int i, int type);
  int which(int type) const;
  double constraint(int from, int to) const;

  int n_trials_;
  double beta_;
  RandomPark same_, own_;    // alike on all processes; of each
  bool keep_energy_ = true, semi_grand_ = false;
  std::string region_id_;
  class Region *region_ = nullptr;
  std::vector<int> types_;
  std::vector<double> mu_;    // of each of these types
  /* Variance-constrained: the weight has a factor exp(-(kappa / N) sum (N_i - c_i N)^2). */
  double kappa_ = 0.0;
  std::vector<double> target_;    // c_i
  std::vector<double> number_;    // N_i now, of all processes
  Atoms first_, second_, any_;
  double tried_ = 0.0, swapped_ = 0.0;
};

}    // namespace LAMMPS_NS

#endif
