/* A model that is open for LAMMPS: by its file, for these elements, or one error on all processes. */

#ifndef LMP_MLIAP_LOCAL_MODEL_H
#define LMP_MLIAP_LOCAL_MODEL_H

#include "pointers.h"

#include "interpreter.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

class Model : protected Pointers {
 public:
  explicit Model(class LAMMPS *);
  ~Model() { close(); }
  Model(const Model &) = delete;
  Model &operator=(const Model &) = delete;

  void open(const char *file, const std::vector<std::string> &elements, const std::string &device,
            bool relative, bool graded);
  void close();

  /* The energy of a trial with overlapping atoms: its Boltzmann factor is zero at any temperature.
     Below 1e50, also summed over ranks: fixes gcmc and charge/regulation draw no random number for
     trials above that, and would walk otherwise than with a model that itself refuses overlaps. */
  static constexpr double OVERLAP_ENERGY = 1.0e40;
  /* How far two evaluations may differ that added up atoms' energies with this sum of squares. */
  double tolerance(double squares, double largest) const;

  double cutoff = 0.0, overlap = 0.0, rounding = 0.0;
  bool differentiable = false;
  double half = 0.0;
  std::vector<double> isolated_energy, mass;    // of each element

  /* As in bridge.h; 0: failed(). */
  int evaluate(const mliap_local_rows &, mliap_local_result &);
  int evaluate(const mliap_local_change &, mliap_local_result &);

  /* Ends the run with what the last evaluate() said, its traceback in the log. */
  [[noreturn]] void failed();
  /* An error of this process alone, which ends all. */
  [[noreturn]] void stop(const std::string &text);

 private:
  const mliap_local::Bridge *bridge_ = nullptr;
  int instance_ = -1;
  bool told_ = false;    // that it rounds much
  std::vector<char> text_;
};

}    // namespace LAMMPS_NS

#endif
