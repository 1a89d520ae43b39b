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
  void post_neighbor() override;
  void min_post_neighbor() override { post_neighbor(); }
  void pre_force(int) override;
  void pre_force_respa(int, int, int) override { pre_force(0); }
  void post_run() override;
  double compute_vector(int) override;

  /* Is a Monte Carlo fix at work between the exchange of atoms and the step's own list? Then
     nobody reads forces. */
  bool in_trial() const;

  /* How often atoms have been moved, and LAMMPS's count of list builds when they were last. */
  bigint moves() const { return moves_; }
  bigint calls_before_move() const { return calls_before_move_; }

  class PairMLIAPLocal *pair = nullptr;    // its owner

 private:
  bigint moves_ = 0, calls_before_move_ = -1;
  bool moved_ = false;    // and the step's own list and forces are still to come
};

}    // namespace LAMMPS_NS

#endif
