# make setup | demo | test | lint | docs | soak | bench | gpu; each builds .venv first if it is missing or
# stale. make lowest | newest: the core with the lowest and the newest versions of what it needs, in
# environments of their own.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test lint docs soak lowest newest bench gpu clean

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

# Two workers, each with the tests of whole files: fixtures of a module are made once.
test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

soak: $(READY)
	RSS_SOAK=1 RSS_TALLY=soak.json $(BIN)/python -m pytest --timeout 7200 tests/system/test_faults.py \
		tests/system/test_fuzz.py tests/system/test_hostile_checkpoints.py tests/system/test_hostile_files.py \
		tests/system/test_hostile_lists.py tests/system/test_hostile_runs.py tests/system/test_long_runs.py
	cat soak.json

# What a change of the dependencies may break.
CORE := tests/rss_env/test_action_maps.py tests/rss_env/test_rewards.py tests/rss_env/test_vector_env.py \
	tests/rss_env/datasets/test_base.py tests/rss_env/kernels/test_score_maps.py tests/agents/losses \
	tests/agents/kernels/test_pairwise_difference.py tests/agents/networks/test_checkpoint.py \
	tests/agents/networks/test_evaluation.py tests/agents/algorithms/test_rss.py \
	tests/agents/algorithms/test_supervised.py tests/agents/training/test_resume.py \
	tests/agents/training/test_states.py tests/agents/test_train.py tests/agents/test_evaluate.py \
	tests/agents/test_predict.py
TOOLS := pytest pytest-timeout hypothesis psutil scipy

lowest:
	$(PYTHON) -m venv .venv-lowest
	$(PYTHON) tests/support/lowest_versions.py > .venv-lowest/constraints.txt
	grep '^torch' constraints.txt >> .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --quiet -e . $(TOOLS) -c .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pytest -k "not sb3" $(CORE)

newest:
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet -e . $(TOOLS)
	.venv-newest/bin/python -m pytest -k "not sb3" $(CORE)

bench: $(READY)
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.env_throughput

# On one GPU, in at most 8 minutes; GPU="--device cpu --quick" tries it without one.
gpu: $(READY)
	PYTHON=$(BIN)/python benchmarks/gpu/run.sh $(GPU)

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest runs site *.egg-info
