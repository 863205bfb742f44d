# make demo: install, caption four photographs, find a prompt for two models, and move soft prompts. make test: install and run the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test fuzz gpu-bundle lint types check install clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fuse_repro needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(INSTALLED)

# GEMMA=accept-terms: you have read and accept the terms of Gemma 3, and it is the other model.
GEMMA ?=
TERMS := https://ai.google.dev/gemma/terms

demo: $(INSTALLED)
	$(BIN)/fuse-repro experiment=demo
ifeq ($(GEMMA),accept-terms)
	$(BIN)/fuse-repro experiment=demo_answers model@models.other=gemma3_270m models.other.accept_terms=true
	$(BIN)/fuse-repro experiment=demo_transfer model@models.target=gemma3_270m models.target.accept_terms=true
else
	$(BIN)/fuse-repro experiment=demo_answers
	$(BIN)/fuse-repro experiment=demo_transfer
	@echo "To have Gemma 3 as the other model: read its terms ($(TERMS)), then make demo GEMMA=accept-terms"
endif

# Two processes more than there are cores: some tests wait for Slurm and for servers most of their time. Files in their own order,
# since the longest tests stand alone in theirs, which would come last.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 2)')

# What was compiled is kept, also where images of containers say otherwise: hundreds of processes begin.
test: $(INSTALLED)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Damaged and hostile files for every reader, for so many minutes.
MINUTES ?= 10

fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(MINUTES)

# What benchmarks/gpu_check.sh needs on a bare machine with a GPU and no network: small wheels, and two tokenizers.
BUNDLE := benchmarks/gpu_bundle
BUNDLED := hydra-core omegaconf antlr4-python3-runtime transformers rich pytest-xdist execnet

gpu-bundle: $(INSTALLED)
	mkdir -p $(BUNDLE)
	$(BIN)/python -m pip wheel --disable-pip-version-check -q --no-deps -c constraints.txt -w $(BUNDLE) $(BUNDLED)
	PYTHONPATH=benchmarks $(BIN)/python -c 'import paper_models; paper_models.bundle_tokenizers()'
	du -sh $(BUNDLE)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
