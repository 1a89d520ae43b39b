/* The pair style's own fix: it sees where in a step the pair style is asked, and shows counters.
   The pair style makes it; an input file reads its vector as f_mliap_local[1] and so on. */

#ifndef LMP_FIX_MLIAP_LOCAL_H
#define LMP_FIX_MLIAP_LOCAL_H

#include "fix.h"

namespace LAMMPS_NS {

class FixMLIAPLocal : public Fix {
 public:
  FixMLIAPLocal(class LAMMPS *, int, char **);
  ~FixMLIAPLocal() override;

  int setmask() override;
  void init() override;
  void setup_post_neighbor() override;
  void post_integrate() override;
  void post_integrate_respa(int, int) override { post_integrate(); }
  void post_neighbor() override { forces_due(); }
  void min_post_neighbor() override { forces_due(); }
  void post_run() override;
  double compute_vector(int) override;

  /* Is a Monte Carlo fix at work between the exchange of atoms and the step's own list? Then
     nobody reads forces. */
  bool in_trial() const;

  class PairMLIAPLocal *pair = nullptr;    // its owner

 private:
  void forces_due() { integrated_ = -1; }

  bigint begun_ = -1;         // the step that began last
  bigint integrated_ = -1;    // the step whose list has not been built yet
};

}    // namespace LAMMPS_NS

#endif
