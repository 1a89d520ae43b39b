/* fix gcmc for single atoms, without a call of LAMMPS in a trial: the arguments, the random numbers
   and the output of LAMMPS's own fix gcmc, and so its walk. */

#ifndef LMP_FIX_GCMC_MLIAP_LOCAL_H
#define LMP_FIX_GCMC_MLIAP_LOCAL_H

#include "fix_monte_carlo.h"
#include "insertion.h"

#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace LAMMPS_NS {

class FixGCMCMLIAPLocal : public FixMonteCarlo {
 public:
  FixGCMCMLIAPLocal(class LAMMPS *, int, char **);
  void init() override;
  double compute_vector(int) override;
  void write_restart(FILE *) override;
  void restart(char *) override;

 protected:
  void trials() override;

 private:
  enum { MOVES, MOVED, INSERTIONS, INSERTED, DELETIONS, DELETED, ROTATIONS, ROTATED, COUNTS };

  /* A trial as its random numbers make it. */
  struct Drawn {
    int kind = MOVES;    // MOVES, DELETIONS or INSERTIONS
    bool tried = false;    // else there is nothing to try
    bool leaves_box = false;    // across a boundary that is not periodic
    TrialAtom gone{}, come{};
    int home = -1, to = -1;    // processes of the one that goes, and of the one that comes
    imageint image = 0;    // of one that is moved, on its process
    tagint tag = 0;    // of one that is deleted
    double v[3] = {};    // of one that is inserted, on its process
    /* Of one beside which a stranded one goes home: it leaves that process before, comes there before. */
    bool leaves_before = false, comes_before = false;
    bool same(const Drawn &) const;    // in all that an energy depends on
  };
  struct Planned {
    Drawn drawn;
    bool known = false;
    double difference = 0.0;
  };

  void options(int narg, char **arg);
  [[noreturn]] void refuse_null();
  void find_gas();
  bool is_gas(int i) const;
  int pick();
  void exchange(int i, int j);
  void to_end(int i, bool last_is_away);
  void leave(int i);
  tagint largest_tag() const;
  int process_of(const double *x) const;

  Drawn draw();
  void draw_move(Drawn &);
  void draw_deletion(Drawn &);
  void draw_insertion(Drawn &);
  void displaced(int i, double *coord);
  void plan(int left);
  void forget_near(const Drawn &);
  static std::vector<TrialAtom> gone_of(const Drawn &);
  static std::vector<TrialAtom> come_of(const Drawn &);
  double difference_of(const Drawn &);
  void conclude(const Drawn &, const Planned &);
  void move(const Drawn &);
  void remove(const Drawn &);
  void insert(const Drawn &);
  void strand(const Drawn &);
  void bring_home();
  void send(const Drawn &);

  int n_exchanges_, n_moves_, type_;
  double temperature_, mu_, displace_;
  RandomPark same_, own_;    // alike on all processes; of each
  Insertion insertion_;
  double pressure_ = 0.0, fugacity_ = 1.0, hotter_ = 1.0;
  bool by_pressure_ = false;
  std::vector<std::string> groups_;
  std::vector<std::pair<int, std::string>> type_groups_;
  int least_ = -1, most_ = 0;

  double beta_ = 0.0, zz_ = 0.0, sigma_ = 0.0, volume_ = 0.0;
  int new_mask_ = 0;

  double energy_ = 0.0;    // of the present state, less that at the stage's begin
  Atoms gas_;
  tagint last_tag_ = 0;
  /* A gas atom that a refused move had brought to another process. LAMMPS leaves it there until the
     next trial, last of that process's atoms, where it may be picked. */
  struct Stranded {
    int at = -1, home = -1;    // processes
    bool before_last = false;    // another one came after it
    double x[3] = {};
  } stranded_;
  void order(const Stranded &was, bool tried_is_last, Drawn &drawn) const;
  std::vector<double> packed_;    // an atom on its way
  std::deque<Planned> plan_;
  int most_ahead_ = 32, reach_ = 8;    // trials that are planned ahead: at most, and next
  int unplanned_ = 0;    // trials that nobody plans
  double acceptance_ = 1.0;    // as seen lately
  double counted_[COUNTS] = {};
};

}    // namespace LAMMPS_NS

#endif
