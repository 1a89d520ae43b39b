/* What LAMMPS calls when it loads this library: registers the styles, if this is the LAMMPS that
   they were compiled for.

   Must not start Python, abort a run or look into the objects of another LAMMPS: this function runs
   in every LAMMPS that has the plugin on its path, whether its input uses the styles or not. The
   members of LAMMPS's classes change between versions, so the check goes through its C interface
   alone, and a LAMMPS that fails it gets a warning and no style. A LAMMPS with other sizes of
   integers (SMALLBIG, BIGBIG) does not get here: its functions have other names to the linker. */

#include "fix_atom_swap_mliap_local.h"
#include "fix_gcmc_mliap_local.h"
#include "fix_mliap_local.h"
#include "fix_widom_mliap_local.h"
#include "pair_mliap_local.h"

#include "library.h"

#include <cstdio>
#include <string>

#ifndef MLIAP_LOCAL_LAMMPS_VERSION
#error "expected -DMLIAP_LOCAL_LAMMPS_VERSION=\"day Mon year\", got none: build with CMake"
#endif

using namespace LAMMPS_NS;

namespace {

/* LAMMPS's own lammpsplugin.h, which an installed LAMMPS does not bring. Its layout is part of the
   plugin interface and has not changed since 2021. */
struct lammpsplugin_t {
  const char *version;
  const char *style;
  const char *name;
  const char *info;
  const char *author;
  union {
    void *(*v1)(void *);
    void *(*v2)(void *, int, char **);
  } creator;
  void *handle;
};
using Register = void (*)(lammpsplugin_t *, void *);

// "22 Jul 2025" -> 20250722, as lammps_version() has it; 0 if it is no date
int version_number(const std::string &date)
{
  static const std::string months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
  char name[4] = "";
  int day = 0, year = 0;
  if (sscanf(date.c_str(), "%d %3s %d", &day, name, &year) != 3) return 0;
  const auto place = months.find(name);
  return (place == std::string::npos) ? 0 : year * 10000 + (int(place) / 4 + 1) * 100 + day;
}

void *create_pair(void *lmp)
{
  return new PairMLIAPLocal(static_cast<LAMMPS *>(lmp));
}

template <class Style> void *create_fix(void *lmp, int narg, char **arg)
{
  return new Style(static_cast<LAMMPS *>(lmp), narg, arg);
}

}    // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle,
                                                                         void *regfunc)
{
  const int expected = version_number(MLIAP_LOCAL_LAMMPS_VERSION);
  const int got = lammps_version(lmp);
  if (got != expected) {
    const std::string text = "mliap_local was compiled for another LAMMPS and is left out: "
                             "expected version " +
        std::to_string(expected) + " (" MLIAP_LOCAL_LAMMPS_VERSION "), got version " +
        std::to_string(got) +
        ". Run `pip install --force-reinstall --no-cache-dir` for mliap-local "
        "in the environment of this LAMMPS, or build the plugin for it with "
        "cmake -DLAMMPS_SOURCE_DIR=/path/to/lammps/src";
    lammps_error(lmp, LMP_ERROR_WARNING, text.c_str());
    return;
  }

  const auto register_style = reinterpret_cast<Register>(regfunc);
  lammpsplugin_t plugin{};
  plugin.version = MLIAP_LOCAL_LAMMPS_VERSION;
  plugin.name = "mliap_local";
  plugin.author = "mliap_local developers";
  plugin.handle = handle;

  plugin.style = "pair";
  plugin.info = "mliap_local pair style, local energies from JAX";
  plugin.creator.v1 = create_pair;
  register_style(&plugin, lmp);

  plugin.style = "fix";
  plugin.info = "mliap_local fix style, sees what happens between energies";
  plugin.creator.v2 = create_fix<FixMLIAPLocal>;
  register_style(&plugin, lmp);

  plugin.info = "Monte Carlo whose trials never ask LAMMPS, by the arguments of its own fix";
  plugin.name = "gcmc/mliap_local";
  plugin.creator.v2 = create_fix<FixGCMCMLIAPLocal>;
  register_style(&plugin, lmp);
  plugin.name = "atom/swap/mliap_local";
  plugin.creator.v2 = create_fix<FixAtomSwapMLIAPLocal>;
  register_style(&plugin, lmp);
  plugin.name = "widom/mliap_local";
  plugin.creator.v2 = create_fix<FixWidomMLIAPLocal>;
  register_style(&plugin, lmp);
}
