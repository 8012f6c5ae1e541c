# `make demo` shows the whole thing working and `make test` runs the tests, each from a bare clone.
# `make help` lists the rest.

PYTHON ?=
VENV ?= .venv
# Worker processes of the tests.
JOBS ?= 2
DEMO_ARGS ?= --overwrite
PYTEST_ARGS ?=
SPHINX_ARGS ?=
# `make requirements UPGRADE=--upgrade` moves every pin to the newest release.
UPGRADE ?=

BIN := $(VENV)/bin
# Written last: without it the environment counts as unfinished and is made anew.
STAMP := $(VENV)/.installed
CODE := python tests benchmarks tools doc .ci

.PHONY: help demo test test-numbers install lint format types doc scons requirements clean

help:
	@echo "make demo          simulate two coadds, run the pipeline on them, write a report (DEMO_ARGS=...)"
	@echo "make test          run the tests (PYTEST_ARGS=..., JOBS=$(JOBS))"
	@echo "make test-numbers  run the tests that compare numbers as other processors would round"
	@echo "make install       only make the virtual environment in $(VENV) (PYTHON=... chooses the interpreter)"
	@echo "make lint types    check style with ruff, annotations with mypy; make format rewrites"
	@echo "make doc           build the user guide into doc/_build/html"
	@echo "make scons         build and test as the Rubin stack does"
	@echo "make requirements  resolve requirements.txt from pyproject.toml (UPGRADE=--upgrade)"
	@echo "make clean         remove everything that was built, $(VENV) included"

demo: $(STAMP)
	$(BIN)/blendid demo $(DEMO_ARGS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=worksteal $(PYTEST_ARGS)

# OpenBLAS and numba choose code by the processor; here they take that of others, where this one can run it.
test-numbers: $(STAMP)
	@status=0; \
	has() { grep -qsw -- "$$1" /proc/cpuinfo; }; \
	numbers() { echo "Numbers with $$1"; env "$$@" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m numbers \
	    --numprocesses=$(JOBS) --dist=worksteal $(PYTEST_ARGS) || status=$$?; }; \
	blas() { if env "$$1" OMP_NUM_THREADS=1 $(BIN)/python .ci/openblas-works.py > /dev/null 2>&1; then numbers "$$1"; \
	    else echo "NumPy crashes here with $$1, without anything of this package: left out"; fi; }; \
	if has avx2; then blas OPENBLAS_CORETYPE=Haswell; fi; \
	if has avx512f; then blas OPENBLAS_CORETYPE=SkylakeX; fi; \
	numbers NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=$(CURDIR)/build/numba-generic; \
	exit $$status

install: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@if [ ! -e $(STAMP) ]; then \
	    python=$$(sh .ci/find-python "$(PYTHON)") || exit 1; \
	    echo "Making $(VENV) with $$python"; \
	    "$$python" -m venv --clear $(VENV) || exit 1; \
	fi
	@rm -f $(STAMP)
	@echo "Installing the packages of requirements.txt into $(VENV); this takes some minutes"
	@$(BIN)/python -m pip install -qq --no-deps --requirement requirements.txt
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check
	@# Compile the loops now, so that the first run is as fast as the next.
	@$(BIN)/blendid compile || echo "Note: the first run will be slower." >&2
	@touch $(STAMP)

lint: $(STAMP)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

format: $(STAMP)
	$(BIN)/ruff check --fix --exit-zero --quiet $(CODE)
	$(BIN)/ruff format $(CODE)

types: $(STAMP)
	$(BIN)/mypy

# -E: the generated parts of pages change with the code, which Sphinx does not watch.
doc: $(STAMP)
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html -d doc/_build/doctrees $(SPHINX_ARGS) doc doc/_build/html
	@echo "doc/_build/html/index.html"

# The virtual environment comes first on PATH because sconsUtils runs `pytest` and `ruff` by name.
scons: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" PYTHONPATH="$(CURDIR)/python" $(BIN)/scons

requirements: $(STAMP)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --all-extras \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make requirements" \
	    $(UPGRADE) --output-file requirements.txt pyproject.toml

clean:
	rm -rf $(VENV) build dist blendid-demo submit runinfo doc/_build .mypy_cache .ruff_cache .pytest_cache
	rm -rf .hypothesis .sconsign.dblite .sconf_temp tests/.tests config.log ups/__pycache__
	rm -rf python/*.egg-info python/*.dist-info python/lsst/meas/blendid/version.py
	find python tests benchmarks tools doc -name __pycache__ -prune -exec rm -rf {} +
