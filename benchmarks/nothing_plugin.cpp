/* pair_style nothing CUTOFF: asks for the same occasional list as mliap_local and computes nothing.
   What a trial costs with it is what LAMMPS itself costs. For benchmarks only. */

#include "atom.h"
#include "memory.h"
#include "neighbor.h"
#include "pair.h"
#include "utils.h"

using namespace LAMMPS_NS;

namespace {

class PairNothing : public Pair {
 public:
  PairNothing(LAMMPS *lmp) : Pair(lmp)
  {
    single_enable = 0;    // fix gcmc then asks for the energy of the whole system
    no_virial_fdotr_compute = 1;
  }
  ~PairNothing() override
  {
    if (!allocated) return;
    memory->destroy(setflag);
    memory->destroy(cutsq);
  }
  void settings(int, char **arg) override { cutoff = utils::numeric(FLERR, arg[0], false, lmp); }
  void coeff(int, char **) override
  {
    const int n = atom->ntypes + 1;
    memory->create(setflag, n, n, "pair:setflag");
    memory->create(cutsq, n, n, "pair:cutsq");
    for (int i = 1; i < n; i++)
      for (int j = i; j < n; j++) setflag[i][j] = 1;
    allocated = 1;
  }
  void init_style() override
  {
    neighbor->add_request(this, NeighConst::REQ_FULL | NeighConst::REQ_OCCASIONAL);
  }
  double init_one(int, int) override { return cutoff; }
  void compute(int eflag, int vflag) override { ev_init(eflag, vflag); }

 private:
  double cutoff = 0.0;
};

struct lammpsplugin_t {
  const char *version, *style, *name, *info, *author;
  union {
    void *(*v1)(void *);
    void *(*v2)(void *, int, char **);
  } creator;
  void *handle;
};

}    // namespace

extern "C" void lammpsplugin_init(void *lmp, void *handle, void *regfunc)
{
  lammpsplugin_t plugin{};
  plugin.version = VERSION;
  plugin.style = "pair";
  plugin.name = "nothing";
  plugin.info = "computes nothing";
  plugin.author = "mliap_local developers";
  plugin.creator.v1 = [](void *p) -> void * { return new PairNothing(static_cast<LAMMPS *>(p)); };
  plugin.handle = handle;
  reinterpret_cast<void (*)(lammpsplugin_t *, void *)>(regfunc)(&plugin, lmp);
}
