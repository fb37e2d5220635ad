# make all     the default study, from a fresh clone
# make test    the same set-up, then lint and tests; test-drills: kills, full disks, damaged files alone;
#              test-slurm: on a Slurm of its own, as root; test-conda: each job in an environment of its own
#              COVERAGE=1 says which lines of the package no test runs
# make docs    the documentation site, its links checked
# make bench   the speed targets, half an hour; ROWS="int8-* cell" for some of them
# make validate   the statistics' promises against simulated studies, ten minutes;
#              ONLY="gate walk" for the scenarios whose names hold these words
# make gpu-evidence   what one GPU shows, nine minutes, by PYTHON where there is no .venv;
#              EVIDENCE="--steps facts,tests" for options, --help for all of them
# make gpu-kernels    compile every GPU kernel for compute capability 8.0, 9.0 and 10.0, without a GPU
# Variables: PYTHON (the interpreter), CORES (a measuring job has them to itself),
#            PIP_ARGS (options for pip, such as another index).

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || echo 1)
ROWS ?=
EVIDENCE ?=
ONLY ?=
PIP_ARGS ?=

BIN := .venv/bin
READY := .venv/.ready
# With what tests and lint need besides:
DEV := .venv/.ready-dev
BENCH := resources/kernels/kvbench.so resources/weights/gpt2/random-42.safetensors

.PHONY: all quick bench validate gpu-evidence gpu-kernels test docs lint clean test-drills test-slurm test-conda

all: $(READY)
	$(BIN)/python -m kvbench.cli.rounds --cores $(CORES) all

quick: $(READY)
	$(BIN)/snakemake --cores $(CORES) all --configfile config/quick.yaml

# The rows take the workflow's own kernels and weights.
bench: $(READY)
	$(BIN)/snakemake $(BENCH) --cores $(CORES) --quiet
	$(BIN)/python -m perf $(ROWS)

validate: $(READY)
	$(BIN)/python -m perf.validate $(ONLY)

gpu-evidence:
	$(if $(wildcard $(READY)),$(BIN)/python,$(PYTHON)) -m perf.evidence $(EVIDENCE)

gpu-kernels: $(DEV)
	$(BIN)/python -m kvbench.engine.compile_ahead

# COVERAGE=1 says besides which lines of the package no test has run in its own process.
test: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(if $(COVERAGE),--cov=kvbench --cov-report=term:skip-covered)

# The documentation site, in build/site/site; a dead link fails. Published results are pages of it.
docs: $(DEV)
	rm -rf build/site
	mkdir -p build/site
	cp -r docs zensical.toml build/site
	cp -r published build/site/docs/published
	sed -i 's#](\.\./published#](published#g' build/site/docs/*.md
	cd build/site && $(abspath $(BIN))/zensical build --strict

# What goes wrong on real machines, done on purpose; a part of `make test`. As root, full disks too.
test-drills: $(DEV)
	$(BIN)/pytest tests/workflow/test_drills.py

# A real Slurm of one node, from Debian packages, as root.
test-slurm: $(DEV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint requirements.lock --editable '.[dev,slurm]'
	$(BIN)/pytest -m slurm tests/workflow/slurm

# The quick study in environments that py-rattler makes: minutes, and gigabytes of TMPDIR meanwhile.
test-conda: $(DEV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint requirements.lock --editable '.[dev,conda]'
	$(BIN)/pytest -m conda tests/workflow/conda

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	$(BIN)/hadolint Dockerfile

# torch first, at its pin: an open range elsewhere in the tree could pull another build of it. Most of what
# is installed is never imported, so that nothing is compiled before it is.
$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_ARGS) "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_ARGS) --constraint requirements.lock --editable '.[page]'
	touch $@

$(DEV): $(READY)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint requirements.lock --editable '.[dev,page]'
	touch $@

clean:
	rm -rf results logs .snakemake
