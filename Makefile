# Two commands matter: `make demo` and `make test`. Python 3.11+ and make are all they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

NO_KAFKA := not integration and not statistical and not chaos
UNIT     := $(BIN)/python -m pytest -n auto --dist worksteal --doctest-modules adaptive_stream tests

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types imports quick unit schemas integration statistical bench chaos clean

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "adaptive_stream needs Python 3.11 or newer; set PYTHON=/path/to/one" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[worker,embedded]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[worker,embedded,test]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo ## set up and watch a year of flights on a real Kafka; ARGS="--seed 2 --kill-worker"
	@$(BIN)/adaptive-stream demo $(ARGS)

test: lint types imports schemas unit integration ## set up and pass every test, those on a real Kafka included

check: lint types imports schemas quick ## what needs no Kafka and no patience, in about a minute on two cores

lint: $(VENV)/.test
	$(BIN)/ruff format --check adaptive_stream tests benchmarks
	$(BIN)/ruff check adaptive_stream tests benchmarks

types: $(VENV)/.test
	$(BIN)/mypy

imports: $(VENV)/.test
	$(BIN)/lint-imports

schemas: $(VENV)/.test
	$(BIN)/adaptive-stream schemas check

quick: $(VENV)/.test
	$(UNIT) -m '$(NO_KAFKA) and not slow'

unit: $(VENV)/.test
	$(UNIT) -m '$(NO_KAFKA)'

integration: $(VENV)/.test ## the tests on a real Kafka
	$(BIN)/python -m pytest -m integration tests/integration

statistical: $(VENV)/.test ## coverage, false alarms and delays, with intervals; figures in tests/statistical/results.json
	$(BIN)/python -m pytest -n auto --dist worksteal -m statistical tests/statistical

$(VENV)/.peer: | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/peer
	$(VENV)/peer/bin/python -m pip install --quiet --disable-pip-version-check quixstreams==3.28.1 river==0.26.1
	@touch $@

bench: $(VENV)/.test $(VENV)/.peer ## measure, beside others, in one run; ONLY="speed models processes latency commit restore takeover"
	ADAPTIVE_STREAM_BENCH_PEER=$(VENV)/peer/bin/python $(BIN)/python -m benchmarks $(ONLY)

chaos: $(VENV)/.test ## kill -9, SIGSTOP, broker loss against a ledger; two schedules at a time
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m chaos tests/chaos

clean: ## remove the environment and what the tools left
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
