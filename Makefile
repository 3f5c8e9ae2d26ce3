# make setup | demo | test | lint | docs | bench; each builds .venv first if it is missing or stale.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test lint docs bench clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	touch $@

demo: $(READY)
	$(BIN)/python -m benchmarks.demo --out runs/demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

test: lint
	$(BIN)/python -m pytest

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

soak: $(READY)
	RSS_SOAK=1 RSS_TALLY=soak.json $(BIN)/python -m pytest --timeout 7200 tests/test_faults.py \
		tests/test_fuzz.py tests/test_hostile_checkpoints.py tests/test_hostile_files.py \
		tests/test_hostile_lists.py tests/test_hostile_runs.py tests/test_long_runs.py
	cat soak.json

bench: $(READY)
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.env_throughput

clean:
	rm -rf $(VENV) runs site *.egg-info
