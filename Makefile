# `make help` lists the targets. Everything needs only Python >= 3.11, git and make.
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
BIN := .venv/bin

.PHONY: help setup demo check test test-slurm bench docs clean

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
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

test-slurm: setup  ## a study on a real one-node Slurm, a job killed midway; needs root, slurm-wlm and munge
	$(BIN)/python tests/slurm/one_job_killed.py

bench: setup  ## time the kernels against their textbook forms, print Markdown
	$(BIN)/python benchmarks/local_attention.py
	$(BIN)/python benchmarks/label_attention.py
	$(BIN)/python benchmarks/boundaries.py

docs: setup  ## the documentation site, in site/
	$(UV) pip install --quiet --python $(BIN)/python --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:  ## remove what the other targets made
	rm -rf .venv .uv dist site runs
