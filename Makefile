# `make run` and `make test` do all the set-up on a fresh machine; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NOTEBOOKS := $(wildcard notebooks/0[1-9]*.ipynb)
# Parameters of the notebooks: make run PARAMETERS="-p NUM_VIDS 4000 -p EPOCHS 20"
PARAMETERS ?=

# How many notebooks run at the same time where they can. One, if there is a GPU, since TensorFlow takes all of its
# memory, and on large data, where each notebook may fill this machine's.
JOBS ?= $(if $(DFDC_DATA)$(wildcard /dev/nvidiactl),1,3)

# Notebooks run in notebooks/, so folders named from here must not be relative; names may hold spaces.
absolute = $(shell $(PYTHON) -c 'import os, sys; print(os.path.abspath(sys.argv[1]))' "$(1)")
ifneq ($(DFDC_DATA),)
override DFDC_DATA := $(call absolute,$(DFDC_DATA))
endif
ifneq ($(DFDC_YUNET),)
override DFDC_YUNET := $(call absolute,$(DFDC_YUNET))
endif
export DFDC_DATA DFDC_YUNET
# Benchmarks are run on the sample, with the face detector that everybody has. The tests also run
# on the sample; those of YuNet and of real clips run where DFDC_YUNET and DFDC_CLIPS name these.
ON_SAMPLE := env -u DFDC_DATA -u DFDC_YUNET
# Two tests run at a time. With TensorFlow's default, one thread per core in each, they would wait for each other.
TESTS := TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help run lab test check lint coverage sample notebooks docs bench install clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1|/' | column -t -s '|'

run: install  ## run the seven notebooks from top to bottom; results go to data/sample/, or data/<name of DFDC_DATA>/
	@folder="$$($(BIN)/python -c 'from dfdc_utils.sample import *; print(data_folder(find_data()))')" && \
	$(BIN)/python notebooks/run.py --jobs $(JOBS) --output "$$folder/results/notebooks" $(PARAMETERS) $(NOTEBOOKS) && \
	echo "Done. Open $$folder/results/notebooks/, $$folder/results/ and $$folder/model/."

# Uploads of more than 10 MB need the larger message size: without it Jupyter drops the connection without a word. The
# settings in .jupyter leave out the question whether one wants Jupyter's news.
lab: install  ## open the notebooks in JupyterLab
	JUPYTER_CONFIG_PATH=.jupyter $(BIN)/jupyter lab --notebook-dir . \
		--LabApp.default_url=/lab/tree/notebooks/00_start.ipynb \
		--ServerApp.tornado_settings='{"websocket_max_message_size": 1073741824}'

test: sample  ## the notebooks against their stored outputs, and all tests
	$(TESTS) notebooks tests --nbval --nbval-current-env --nbval-cell-timeout 900 --nbval-kernel-startup-timeout 300

check: lint  ## lint and the quick tests: an answer in some minutes
	$(TESTS) -m "not slow and not browser and not multiworker"

lint: install  ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

coverage: sample  ## which lines the tests run
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report --skip-covered

sample: install  ## draw the embedded sample
	$(BIN)/dfdc sample

notebooks: sample  ## run the notebooks and store their outputs in place (what is committed)
	env -u DFDC_DATA $(BIN)/python notebooks/run.py --in-place --jobs $(JOBS) $(NOTEBOOKS)  # notebook 02 also shows YuNet, where it is
	mkdir -p notebooks/figures && cp data/sample/results/faces.png notebooks/figures/

docs: install  ## build the documentation site from the stored notebooks and the docstrings, in build/docs/
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-build-isolation -e '.[docs]'
	$(BIN)/sphinx-build -q -W --keep-going -b html -c docs . build/docs
	@echo "Done. Open build/docs/index.html."

bench: sample  ## how well and how fast, in one table each
	$(ON_SAMPLE) $(BIN)/python -m pytest tests/bench/bench_*.py -s

install: $(VENV)/.installed  ## make .venv and install the pinned packages

$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	awk '{ print > ("$(VENV)/part" NR % 4 ".txt") }' requirements.txt  # pip alone would keep one core busy for a minute
	ls $(VENV)/part?.txt | xargs -P 2 -n 1 $(BIN)/python -m pip install --disable-pip-version-check -q \
		--progress-bar off --no-compile --no-deps -r
	$(BIN)/python -m pip check
	-$(BIN)/python -m compileall -qq -j 0 -x '/(tests?|pip|mypy)/' $(VENV)/lib  # pip would do all, with one process
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	touch $@

clean:  ## remove what was made, but not .venv
	find data -mindepth 1 ! -name README.md -delete
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage build *.egg-info
