# The commands of this repository. Each target makes what it needs (a virtual environment in .venv) on a machine
# that has nothing but Python 3.11+, make and a package index; a second call reuses it.
#
#   make test ARGS="-k claim -x"     more arguments for pytest
#   make test TESTS=tests/unit       only these paths
#   make demo ARGS="--input DIR"     more arguments for `petiole demo`
#   make test JOBS=0                 one test at a time, in one process (so is TESTS=: for --pdb, -s)
#   make torture ARGS="--minutes 5"  more arguments for the torture harness (--help tells all)
#   make test PYTHON=python3.13      another interpreter (remove .venv first: `make clean`)

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Processes that the whole suite is run by, side by side (0: one after the other). Each has servers and databases of its own.
# One more than two cores have: tests of crashes wait for leases most of their time.
JOBS ?= 3
TESTS ?=
# The fast tests come first, so that a broken floor is seen before the slow ones start. Those that drive a browser have the
# machine to themselves afterwards: it is a crowd of processes of its own.
SUITE := $(wildcard tests/unit tests/contract tests/integration tests/parity tests/crash tests/e2e)
BROWSER := tests/e2e/dashboard

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test torture lint format bench docs-check build clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.ready ## run the main job: count words across two workers, one of them killed in mid-run
	$(BIN)/petiole demo $(ARGS)

test: $(VENV)/.ready-dev ## run the tests, the fast ones first (ARGS=, TESTS=)
	$(if $(strip $(TESTS)),$(BIN)/python -m pytest $(TESTS) $(ARGS),@code=0; run() { echo "$$*"; "$$@" || $(if $(ARGS),[ $$? -eq 5 ] ||) code=1; }; \
	run $(BIN)/python -m pytest $(SUITE) --ignore $(BROWSER) -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS); \
	run $(BIN)/python -m pytest $(BROWSER) $(ARGS); \
	exit $$code)

torture: $(VENV)/.ready-dev ## kill, cut off and confuse workers on each pair of store and broker, die at every crash point, play thousands of graphs beside LangGraph (ARGS=)
	$(BIN)/python -m tests.torture $(ARGS)
	PETIOLE_CRASH_POINTS=all $(BIN)/python -m pytest tests/crash/test_points.py -q
	PETIOLE_PARITY_EXAMPLES=1000 $(BIN)/python -m pytest tests/parity -q

lint: $(VENV)/.ready-dev ## ruff, mypy --strict, import contracts, documentation: all, even if one fails
	@code=0; run() { echo "$$*"; "$$@" || code=1; }; \
	run $(BIN)/ruff check .; \
	run $(BIN)/ruff format --check .; \
	run $(BIN)/mypy; \
	run $(BIN)/lint-imports --no-logo; \
	run $(BIN)/python scripts/check_docs.py; \
	exit $$code

format: $(VENV)/.ready-dev ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs-check: ## links resolve, Python in the documentation compiles, no machine's own paths
	$(PYTHON) scripts/check_docs.py

bench: $(VENV)/.ready-bench ## compare with plain Celery and LangGraph (ARGS=)
	$(BIN)/python -m tests.benchmarks $(ARGS)

build: $(VENV)/.made ## wheel and sdist in dist/
	$(PIP) install --quiet --group build
	$(BIN)/python -m build --outdir dist .

clean: ## remove the environment, caches and builds
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of dependencies: made anew when pyproject.toml changed.
$(VENV)/.made: scripts/make_venv.py
	$(PYTHON) scripts/make_venv.py $(VENV)
	@touch $@

$(VENV)/.ready: $(VENV)/.made pyproject.toml
	$(PIP) install --quiet --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(PIP) install --quiet --group dev
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready-dev
	$(PIP) install --quiet --group bench
	@touch $@
