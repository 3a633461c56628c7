# `make help` lists the targets. Everything needs only Python >= 3.11.4, git and make.
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
BIN := .venv/bin

.PHONY: help setup demo check test test-all test-slurm test-kill test-oldest bench docs clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: .venv/.done  ## make .venv with everything pinned in constraints.txt

.venv/.done: pyproject.toml constraints.txt
	@command -v $(UV) >/dev/null || { $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet uv; }
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip install --quiet --python $(BIN)/python --editable . --group dev --constraint constraints.txt
	@touch $@

demo: setup  ## the whole method on rendered rooms in minutes; look at demo/report.html
	$(BIN)/atrc demo

check: setup  ## formatting, lint, types, import layers, spelling
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# One thread a process: threads that wait for each other on busy cores cost more than they bring.
test: setup  ## the test suite, two processes at a time; no network, no GPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not release"

test-all: setup  ## the same with the exhaustive checks before a release
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-slurm: setup  ## a study on a real one-node Slurm, a job killed midway; needs root, slurm-wlm and munge
	$(BIN)/python tests/slurm/one_job_killed.py

test-kill: setup  ## kill -9 at random moments of every command, resume, compare bit for bit
	OMP_NUM_THREADS=1 $(BIN)/python tests/trust/kill.py

test-oldest:  ## the test suite with the oldest versions that pyproject.toml allows, in .venv-oldest
	@command -v $(UV) >/dev/null || { $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet uv; }
	@test -x .venv-oldest/bin/python || $(UV) venv --quiet --python $(PYTHON) .venv-oldest
	$(UV) pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable . --group dev
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest --numprocesses 2 --dist worksteal

bench: setup  ## time what is fast against its textbook form, print Markdown
	$(BIN)/python benchmarks/local_attention.py
	$(BIN)/python benchmarks/local_attention_gpu.py
	$(BIN)/python benchmarks/label_attention.py
	$(BIN)/python benchmarks/network.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/boundaries.py

docs: setup  ## the documentation site, in site/
	$(UV) pip install --quiet --python $(BIN)/python --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:  ## remove what the other targets made; your runs stay
	rm -rf .venv .venv-oldest .uv demo dist site
