/* Finds the Python that this plugin belongs to, or starts it, and opens the bridge to it.

   No LAMMPS, no model, no Python.h: the plugin is loaded in every LAMMPS run, used or not, and a
   library that needed libpython would bring a second interpreter into a process that already is
   Python. Nothing happens before open_bridge() is called. */

#ifndef MLIAP_LOCAL_INTERPRETER_H
#define MLIAP_LOCAL_INTERPRETER_H

extern "C" {
#include "bridge.h"
}

namespace mliap_local {

// the four functions of bridge.h, looked up at run time
struct Bridge {
  decltype(&mliap_local_open) open;
  decltype(&mliap_local_full) full;
  decltype(&mliap_local_update) update;
  decltype(&mliap_local_close) close;
};

/* The bridge into this process's Python, which is started if none runs. The result stays valid as
   long as the plugin is loaded. On failure nullptr, and `error` holds what was expected, what was
   found, and what to do. */
const Bridge *open_bridge(char *error, int error_size);

}    // namespace mliap_local

#endif
