/* pair_style mliap_local: LAMMPS words only. Parses, asks for a list, hands atoms to the bridge,
   adds what comes back. What changed between two calls is found in changes.h. */

#ifndef LMP_PAIR_MLIAP_LOCAL_H
#define LMP_PAIR_MLIAP_LOCAL_H

#include "pair.h"

#include "atomic_energies.h"
#include "changes.h"
#include "model.h"
#include "neighbours.h"
#include "shares.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

class PairMLIAPLocal : public Pair {
 public:
  enum {
    FULL,
    INCREMENTAL,
    FORCES,
    DRIFT,
    COMPILATIONS,
    OVERLAPS,
    TOLERATED,
    GRADE,
    BEYOND,
    N_COUNTERS
  };

  static constexpr int REFRESH =
      2000;    // accepted trials until sums start anew: benchmarks/drift.py

  PairMLIAPLocal(class LAMMPS *);
  ~PairMLIAPLocal() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;
  double compute_atomic_energy(int, class NeighList *) override;
  double memory_usage() override;

  void list_is_old() { list_built_ = -1; }
  void build_list();
  void fix_is_gone() { fix_ = nullptr; }
  double counter(int which) const { return counters_[which]; }

  // what Monte Carlo fixes of this plugin ask
  const std::string &model_file() const { return model_file_; }
  std::vector<std::string> elements_of_types() const;
  const std::string &device() const { return device_; }
  bool relative() const { return relative_; }
  double overlap() const { return overlap_; }
  double grade() const { return grade_; }
  int verify() const { return verify_; }
  double verify_tolerance() const { return verify_tolerance_; }    // 0: by rounding
  int refresh() const { return refresh_; }
  int openings() const { return openings_; }    // a number that changes when a model is opened

 private:
  void allocate();
  void open_model(const char *file);
  void close_model();
  void make_fix();
  void check_masses();
  void check_sgcmc();
  void check_exclusions();
  int hidden() const;
  int species(int) const;
  mliap_local::Points points();
  void build_anew(class NeighList *);
  mliap_local::NeighbourList neighbour_list(const mliap_local::Points &);

  double trial_energy(const mliap_local::Points &);
  double energy_alone(const mliap_local::Points &, mliap_local::Changes::Answer, bool refuse);
  double verified(const mliap_local::Points &, double energy);
  void refuse_readers_of_forces();
  mliap_local_result full(const mliap_local::Points &, bool keep, bool forces, bool atoms);
  mliap_local_result searched(const mliap_local::Points &);
  mliap_local_result evaluate(const mliap_local::Points &, mliap_local::Shares &, bool keep,
                              bool forces, bool atoms);
  void step(const mliap_local::Points &);
  bool verification_is_due();
  bool could_be_accepted(double energy) const;
  enum class Against { full, search };
  [[noreturn]] void no_number(const mliap_local::Points &, double energy);
  void judge(const mliap_local::Points &, double energy, double reference, double squares, Against);
  bool answer_derived(const mliap_local::Points &, const mliap_local::NeighbourList &);
  void evaluate_whole(const mliap_local::Points &, const mliap_local::NeighbourList &,
                      const std::vector<int> &atoms);
  std::vector<int> owners() const;
  std::vector<int> images();
  bool can_halve(const mliap_local::Points &, const mliap_local::NeighbourList &);
  void find_ends(const mliap_local::Points &);
  mliap_local::Changes::Answer compare(const mliap_local::Points &, double overlap);
  [[noreturn]] void failed();

  // keywords of pair_style
  bool cache_, forces_, relative_;
  int verify_, refresh_;
  double verify_tolerance_, asked_overlap_, grade_;
  std::string device_;

  Model model_;
  std::string model_file_;
  int openings_ = 0;
  double overlap_ = 0.0;    // of the model, or as asked
  bool masses_checked_ = false;

  class FixMLIAPLocal *fix_ = nullptr;
  std::string fix_id_;

  mliap_local::Changes changes_;
  mliap_local::AtomicEnergies atomic_energies_;
  std::vector<int> species_;
  std::vector<int> listed_;    // own atoms that the list has
  std::vector<int> listed_species_;    // when the list was built
  mliap_local::HalfList half_list_;
  bool half_list_old_ = true;    // LAMMPS's list was built since
  std::vector<double> atom_energy_, forces_of_;    // of the last evaluation
  double virial_of_[6] = {};
  bigint last_trial_ = -1;    // fix_->moves() at the last trial
  bigint list_built_ = -1;    // neighbor->ncalls when the occasional list was built
  bool by_atoms_ = false;    // fix sgcmc asks for energies of atoms
  bool checked_ = false;    // what only the first call of a run can see
  long since_verified_ = 0;
  double counters_[N_COUNTERS] = {};
};

}    // namespace LAMMPS_NS

#endif
