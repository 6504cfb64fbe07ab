# Everything is set up on first use into .venv: a fresh machine needs Python 3.11 or newer, make and git.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PYTEST_ARGS ?=
DEMO_ARGS   ?=
BENCH_ARGS  ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench test-kafka lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## Create .venv from requirements.lock (each other target does it when needed)

# One stamp: set up once, and again only when the lock or the project file changes. The installed packages are exactly
# those of the lock, checked by hash; the project itself is linked, not copied.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Graft needs Python 3.11 or newer; \
	%s is %d.%d. Name another one: make PYTHON=python3.12" % (sys.executable, v[0], v[1]))'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	echo "$(PYTHON) has no venv module. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (once, about a minute) ..." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## See Graft at work on an embedded broker, with ground truth
	@$(BIN)/graft demo $(DEMO_ARGS)

test: $(READY) ## Run all tests that need nothing but Python
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(READY) ## Lint, types, and all tests of `make test`
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(READY) ## Measure throughput, latency and memory beside their baselines
	@$(BIN)/graft bench $(BENCH_ARGS)

test-kafka: $(READY) ## Run the tests against a real Apache Kafka (needs Java 17 and Maven)
	@$(BIN)/python -m pytest -m real_broker tests/real_broker $(PYTEST_ARGS)

COMPILE = env -u PIP_FIND_LINKS -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL CUSTOM_COMPILE_COMMAND='make lock' \
	$(BIN)/pip-compile --quiet --allow-unsafe --strip-extras --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

lock: $(READY) ## Write requirements.lock (all) and requirements-run.lock (to run only) anew from pyproject.toml
	@$(COMPILE) --upgrade --extra dev --extra parquet --extra river --output-file requirements.lock pyproject.toml
	@$(COMPILE) --constraint requirements.lock --output-file requirements-run.lock pyproject.toml

clean: ## Remove .venv and everything that tools left behind
	rm -rf $(VENV) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
