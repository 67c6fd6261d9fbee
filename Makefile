# `make run` and `make test` do all the set-up on a fresh machine; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NOTEBOOKS := $(wildcard notebooks/0*.ipynb)
# Parameters of the notebooks: make run PARAMETERS="-p NUM_VIDS 4000 -p EPOCHS 20"
PARAMETERS ?=

# Notebooks run in notebooks/, so folders named from here must not be relative; names may hold spaces.
absolute = $(shell $(PYTHON) -c 'import os, sys; print(os.path.abspath(sys.argv[1]))' "$(1)")
ifneq ($(DFDC_DATA),)
override DFDC_DATA := $(call absolute,$(DFDC_DATA))
endif
ifneq ($(DFDC_YUNET),)
override DFDC_YUNET := $(call absolute,$(DFDC_YUNET))
endif
export DFDC_DATA DFDC_YUNET
# Tests, benchmarks and what is committed are always run on the sample.
ON_SAMPLE := env -u DFDC_DATA -u DFDC_YUNET

.DEFAULT_GOAL := help
.PHONY: help install run test lab sample notebooks lint bench clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1|/' | column -t -s '|'

install: $(VENV)/.installed  ## make .venv and install the pinned packages

$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q --progress-bar off -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	touch $@

run: install  ## run the six notebooks top to bottom; results go to data/
	@if [ -z "$$DFDC_DATA" ]; then $(MAKE) --no-print-directory sample; fi
	$(BIN)/python notebooks/run.py --output data/results/notebooks $(PARAMETERS) $(NOTEBOOKS)
	@echo "Done. Open data/results/notebooks/, data/results/ and data/model/."

sample: install  ## draw the embedded sample
	$(BIN)/python -m dfdc_utils sample

test: sample  ## the notebooks against their stored outputs, and all tests, which use the model that these leave
	$(ON_SAMPLE) $(BIN)/python -m pytest notebooks --nbval --nbval-current-env --nbval-cell-timeout 300 \
		--nbval-kernel-startup-timeout 120
	$(ON_SAMPLE) $(BIN)/python -m pytest

lab: install  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir notebooks

notebooks: sample  ## run the notebooks and store their outputs in place (what is committed)
	$(ON_SAMPLE) $(BIN)/python notebooks/run.py --in-place $(NOTEBOOKS)
	mkdir -p notebooks/figures && cp data/results/faces.png data/results/history.png notebooks/figures/

lint: install  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: sample  ## how well and how fast, in one table each
	$(ON_SAMPLE) $(BIN)/python -m pytest tests/bench/bench_*.py -s

clean:  ## remove what was made, but not .venv
	find data -mindepth 1 ! -name README.md -delete
	rm -rf .pytest_cache .mypy_cache .ruff_cache build *.egg-info
