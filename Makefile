# Every target sets up what it needs in .venv and is quick the second time: pip runs only when setup.py has changed.
#
#   make test PYTHON=python3.12                         another interpreter (remove .venv first)
#   make test PYTEST_ARGS="-k conv2d -x"                options for pytest
#   make test WORKERS=0                                 one test at a time, in this process (for a debugger)
#   make demo DEMO_ARGS="--epochs 2"                    options for the command
#   make bench BENCH_ARGS="--only 'frozen/*/b8'"        likewise

PYTHON ?= python3
PEER_PYTHON ?= python3.11
PYTEST_ARGS ?=
WORKERS ?= 2
DEMO_ARGS ?=
BENCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PEER_VENV := .venv-tf-slim

# Two files of tests at a time: most of a run is Python or a compiler, which keep one core busy.
PYTEST := $(BIN)/python -m pytest -rs -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-slow lint format bench docs notebooks peers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.ready-demo ## check every gradient, then train a small ResNet on real pictures (a few minutes)
	$(BIN)/tinyresnet demo $(DEMO_ARGS)

test: $(VENV)/.ready-test ## run the tests, except the slow ones
	$(PYTEST) -m "not slow" $(PYTEST_ARGS) tests

test-slow: $(VENV)/.ready-test ## run what `make test` leaves out: slow tests, then the suite on the strict device
	$(PYTEST) -m slow $(PYTEST_ARGS) tests
	$(PYTEST) --backend strict -m "not slow and not host_only" $(PYTEST_ARGS) tests

lint: $(VENV)/.ready-dev ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict tinyresnet kernels

format: $(VENV)/.ready-dev ## put the code into the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready-bench ## measure speed and memory beside PyTorch, ONNX Runtime and OpenVINO (an hour or two)
	$(BIN)/tinyresnet bench $(BENCH_ARGS)

docs: $(VENV)/.ready-docs ## draw the figures of docs/ anew, check its links and its code
	$(BIN)/python docs/build.py

notebooks: $(VENV)/.ready-notebooks ## run every notebook and write it as a page into site/notebooks (some minutes)
	$(BIN)/python notebooks/build.py
	$(BIN)/python notebooks/build.py html site/notebooks

peers: $(PEER_VENV)/.ready ## record the fixtures from TF-Slim again (an environment of its own, Python 3.11)
	$(PEER_VENV)/bin/python tests/peers/tf_slim/record.py

clean: ## remove everything that was made, the environments too
	rm -rf $(VENV) $(PEER_VENV) build dist site runs *.egg-info
	rm -rf .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp an extra. The demo takes the light ones, so that a first run does not wait for PyTorch.
$(VENV)/.ready-demo: EXTRAS := train,plot
$(VENV)/.ready-test: EXTRAS := test
$(VENV)/.ready-bench: EXTRAS := bench
$(VENV)/.ready-dev: EXTRAS := dev
$(VENV)/.ready-docs: EXTRAS := docs
$(VENV)/.ready-notebooks: EXTRAS := notebooks

$(VENV)/.ready-%: setup.py | $(VENV)/.made
	$(BIN)/python -m pip install --disable-pip-version-check -q -e ".[$(EXTRAS)]"
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit("tinyresnet needs Python 3.11 or newer, this is " + sys.version.split()[0] \
	    + "; try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) || { echo "No environment made. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

$(PEER_VENV)/.ready: tests/peers/tf_slim/requirements.txt
	$(PEER_PYTHON) -m venv $(PEER_VENV)
	$(PEER_VENV)/bin/python -m pip install --disable-pip-version-check -q -r $<
	@touch $@
