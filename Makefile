# The commands of CONTRIBUTING. A bare Python 3.11 or later is enough to start from.

PYTHON ?= python3
# A version of torch to try, as in `make setup TORCH=2.9.0`; without it, the newest that pip finds.
TORCH ?=
VENV ?= .venv$(if $(TORCH),-torch-$(TORCH))
BIN = $(VENV)/bin
# By files, for what their tests share; in their own order, whose last are short.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: setup test lint types suite slow docs

setup:  ## make a fresh virtual environment with convscope and all it is developed with
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile -e '.[dev]' $(if $(TORCH),torch==$(TORCH))

test: lint types suite  ## everything that must hold before a change goes in

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types:
	$(BIN)/mypy

suite:
	$(PYTEST)

slow:  ## what takes minutes: real data, killed processes, all figures and pages
	$(PYTEST) -m slow

docs:  ## the pages, the notebook with its pictures and the reference, in build/docs
	OMP_NUM_THREADS=1 $(BIN)/python docs/build.py build/docs
