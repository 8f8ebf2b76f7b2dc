# Everything runs in .venv, made on first use with the exact versions of constraints.txt.
# Needs Python 3.11 or newer with pip and venv. Choose another interpreter with PYTHON=…, another environment with VENV=…

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
DEMO_MINUTES ?= 4
export OMP_NUM_THREADS ?= $(shell nproc)
unexport PYTHONDONTWRITEBYTECODE  # or every process compiles the package and the tests again

.PHONY: demo test slow lint docs bench clean
.DELETE_ON_ERROR:

# Not compiled beforehand: that takes as long as all else of the installation, and what is used compiles when first used.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev,docs,dicom,mrd,pacs,cluster,completion,tracking]'
	touch $@

demo: $(VENV)/.installed  ## train on the built-in cohort, sample, reconstruct, evaluate, audit
	$(BIN)/ambient-mri train --data brain_demo --preset tiny --minutes $(DEMO_MINUTES) --seed 0 --out $(DEMO)/train
	$(BIN)/ambient-mri sample $(DEMO)/train/bundle -n 16 --out $(DEMO)/samples
	$(BIN)/ambient-mri data simulate brain_demo --coils 4 --acceleration 4 --noise 0.02 --limit 2 --out $(DEMO)/scans
	$(BIN)/ambient-mri reconstruct $(DEMO)/train/bundle $(DEMO)/scans/*.h5 --out $(DEMO)/reconstructions
	$(BIN)/ambient-mri evaluate $(DEMO)/train/bundle --data brain_demo --split test --acceleration 2,4,8 --limit 24 --tuning-slices 8 \
	    --json $(DEMO)/evaluation.json --html $(DEMO)/evaluation.html
	$(BIN)/ambient-mri audit $(DEMO)/train/bundle --data brain_demo --level quick --out $(DEMO)/audit
	@echo; echo 'Pictures and pages:'
	@find $(DEMO) -name '*.png' -o -name '*.html' | sort | sed 's|^|  |'

# A process a core, each with one thread, and the tests of a file in one process: they share what they train.
# Files in the order of their names, by which the longest of them is the first, and not by how many tests they have.
PROCESSES ?= $(shell nproc)
MARKS ?= not slow

test: $(VENV)/.installed  ## everything but the trainings of minutes; with MARKS= those too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder -m '$(MARKS)'

slow:  ## trainings of minutes, processes that are killed: one process more than cores, since many wait
	$(MAKE) test MARKS=slow PROCESSES=$$(( $$(nproc) + 1 ))

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

bench: $(VENV)/.installed  ## ratios to sigpy, deepinv, mrpro, bartorch and BART: benchmarks/results.md, results.json, results.png
	$(BIN)/python benchmarks/table.py

clean:
	rm -rf $(VENV) $(DEMO) site build dist
