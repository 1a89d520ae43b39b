/* fix widom for single atoms, without a call of LAMMPS in an insertion: the arguments, the random
   numbers and the output of LAMMPS's own fix widom. All insertions of a step are evaluated together. */

#ifndef LMP_FIX_WIDOM_MLIAP_LOCAL_H
#define LMP_FIX_WIDOM_MLIAP_LOCAL_H

#include "fix_monte_carlo.h"
#include "insertion.h"

namespace LAMMPS_NS {

class FixWidomMLIAPLocal : public FixMonteCarlo {
 public:
  FixWidomMLIAPLocal(class LAMMPS *, int, char **);
  void init() override;
  double compute_vector(int) override;
  void write_restart(FILE *) override;
  void restart(char *) override;

 protected:
  void trials() override;

 private:
  int n_insertions_, type_;
  double temperature_, beta_ = 0.0;
  RandomPark same_;
  Insertion insertion_;
  double volume_ = 0.0, mean_ = 0.0;    // mean Boltzmann factor of the last step
};

}    // namespace LAMMPS_NS

#endif
