# make demo   tunes a matmul on this machine, prints the table, writes the log
# make test   runs all tests; those of the report page need Chromium (apt-get install chromium), else they are skipped
# make test-gpu   runs the tests that need a GPU
# make lint   ruff and mypy
# make docs   writes the API reference to build/docs, to be read with any browser
# make notebooks  makes tutorials/*.ipynb of their sources
# make peers  installs torch into .venv-peers, for the benchmarks that compare with it (TORCH names another build)
#
# PYTHON is the interpreter that makes the environments; they are made once, and again when setup.py changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers
TORCH ?= torch==2.13.0
PIP := -m pip --disable-pip-version-check install --quiet

.PHONY: demo test test-gpu lint docs notebooks peers clean

demo: $(STAMP)
	$(BIN)/python -m benchmarks.demo

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-gpu: $(STAMP)
	$(BIN)/python -m pytest -m gpu tests/gpu

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m tests.tools.api_reference build/docs

notebooks: $(STAMP)
	$(BIN)/python -m tests.tools.notebooks

peers: $(PEERS)/.installed

$(STAMP): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable '.[dev]'
	touch $@

$(PEERS)/.installed: Makefile
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python $(PIP) numpy $(TORCH)
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
