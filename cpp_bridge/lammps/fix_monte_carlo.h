/* What the Monte Carlo fixes of this plugin have in common: a model, a stage of trials, and the check
   that the model is the pair style's. What they try, and in which order they draw random numbers, is
   theirs. */

#ifndef LMP_FIX_MLIAP_LOCAL_MONTE_CARLO_H
#define LMP_FIX_MLIAP_LOCAL_MONTE_CARLO_H

#include "fix.h"

#include "model.h"
#include "random_park.h"
#include "stage.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

class FixMonteCarlo : public Fix {
 public:
  ~FixMonteCarlo() override;
  int setmask() override;
  void init() override;
  void setup(int) override;
  void pre_exchange() override;
  void post_force(int) override;
  void post_run() override;
  double memory_usage() override;

 protected:
  using TrialAtom = mliap_local::TrialAtom;

  /* `stock`: the style of LAMMPS whose arguments these are. */
  FixMonteCarlo(class LAMMPS *, int, char **, const char *stock);

  /* All trials of a step. */
  virtual void trials() = 0;

  /* Reads model, check, verify and refresh; false if arg[k] is none of them. Moves k behind what was
     read. */
  bool keyword(int &k, int narg, char **arg);
  [[noreturn]] void unknown(const char *word, const char *known);
  [[noreturn]] void left_to_stock(const char *word);
  double number(const char *word) const;
  int whole(const char *word) const;
  const std::string stock_, name_;    // with a suffix LAMMPS knows our name only later

  /* Difference of energies, of all processes, if these atoms leave and come; a proposal. 1e40 if one
     that comes is closer to another than the guard against overlaps allows. */
  double difference(const std::vector<TrialAtom> &gone, const std::vector<TrialAtom> &come);
  void verify(double difference, const std::vector<TrialAtom> &gone,
              const std::vector<TrialAtom> &come);
  /* The same of several, each from the present state; none is a proposal. */
  std::vector<double> differences(std::vector<mliap_local::Stage::Trial> &trials);
  /* Evaluates what these trials will need, in one call. */
  void prepare(const std::vector<mliap_local::Stage::Trial> &trials);
  /* The proposal becomes the state of the stage; what becomes of LAMMPS's atoms is the caller's. */
  void accept();

  TrialAtom trial_atom(int i) const;    // own atom i as it is

  /* Own atoms that can be picked, in their order, and how many other processes have. */
  struct Atoms {
    std::vector<int> own;
    std::vector<int> counts;    // of each process
    int all = 0;
  };
  void count(Atoms &) const;
  int pick(const Atoms &, RandomPark &) const;    // which of `own`; -1: of another process
  void write(FILE *, const std::vector<double> &) const;    // what restart() reads
  int species(int type) const { return species_of_type_[type]; }
  bool is_here(const double *x) const;    // is a place of the box in this process's part
  void sum(double *values, int n) const;    // over processes, in place

  Model model_;
  mliap_local::Stage stage_;
  double close_cutoff_ = 0.0;    // pairs closer than this are counted: see close_pairs()
  double close_pairs() const { return close_pairs_; }
  double proposed_close_pairs() const { return proposed_close_pairs_; }

 private:
  void open_model();
  void refuse_other_energies();
  mliap_local::Points points();
  mliap_local::Surroundings surroundings() const;
  void begin();
  void end();
  void check_model();
  void agree_on_rounding();
  [[noreturn]] void failed();
  double answered(const double *sums, const std::vector<TrialAtom> &gone,
                  const std::vector<TrialAtom> &come);
  void refuse_no_number(double difference);
  double full_energy(const std::vector<TrialAtom> &gone, const std::vector<TrialAtom> &come,
                     double &squares);
  void judge(const char *what, double value, double reference, double squares, double &largest);

  std::string file_;    // keyword model; empty: that of pair_style mliap_local
  std::vector<std::string> elements_;    // of each type
  std::string opened_;    // what is open, in words
  std::vector<int> species_of_type_;
  std::vector<int> species_;
  double overlap_ = 0.0, grade_ = 0.0;
  int check_ = 1000, verify_ = 0, refresh_ = 0;    // refresh: 0 if not asked for
  double check_tolerance_ = 0.0, verify_tolerance_ = 0.0;

  double close_pairs_ = 0.0, proposed_close_pairs_ = 0.0;
  bool check_due_ = false;
  double first_difference_ = 0.0;
  bool compared_ = false;
  long stages_ = 0, trials_ = 0, overlaps_ = 0, beyond_ = 0, since_verified_ = 0;
  double largest_drift_ = 0.0, largest_sum_drift_ = 0.0, tolerated_ = 0.0, mismatch_ = 0.0;
};

}    // namespace LAMMPS_NS

#endif
