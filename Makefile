# make demo: install, caption four photographs, and move soft prompts. make test: install and run the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test fuzz lint types check install clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fuse_repro needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(INSTALLED)

# GEMMA=accept-terms: you have read and accept the terms of Gemma 3, and prompts are moved to it.
GEMMA ?=
TERMS := https://ai.google.dev/gemma/terms

demo: $(INSTALLED)
	$(BIN)/fuse-repro experiment=demo
ifeq ($(GEMMA),accept-terms)
	$(BIN)/fuse-repro experiment=demo_transfer model@models.target=gemma3_270m models.target.accept_terms=true
else
	$(BIN)/fuse-repro experiment=demo_transfer
	@echo "To move prompts to Gemma 3 instead: read its terms ($(TERMS)), then make demo GEMMA=accept-terms"
endif

test: $(INSTALLED)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n auto --dist loadfile

# Damaged and hostile files for every reader, for so many minutes.
MINUTES ?= 10

fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(MINUTES)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
