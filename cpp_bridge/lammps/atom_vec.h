/* The few functions of LAMMPS's AtomVec that Monte Carlo needs. An installed LAMMPS does not bring
   its header; its library has these functions, under names that a declaration alone gives. */

#ifndef LMP_MLIAP_LOCAL_ATOM_VEC_H
#define LMP_MLIAP_LOCAL_ATOM_VEC_H

namespace LAMMPS_NS {

class AtomVec {
 public:
  void create_atom(int type, double *x);    // behind the last own one
  void copy(int from, int to, int delflag);
  int pack_exchange(int i, double *buffer);    // values written
  int unpack_exchange(double *buffer);         // behind the last own one; values read
};

}    // namespace LAMMPS_NS

#endif
