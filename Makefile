# Everything works from one virtual environment, .venv, made on demand from pyproject.toml.
#
#   PYTHON     interpreter that .venv is made with; 3.11 or newer (found by itself if not given)
#   EXTRAS     extras of this package to install
#   TORCH      requirement for PyTorch. The bound keeps pip on a release whose CPU build it can
#              find: the default wheels of newer ones bring gigabytes of CUDA libraries
#   VAE        a VAE such as DIR/taef2, for the benchmarks that need one (make bench)
#   PIP_ARGS   further arguments for pip, such as an index to look at
#
# On a machine with an NVIDIA GPU:
#   make clean && make demo EXTRAS=gpu,minilm,images,map,pdf,server,mcp,dev TORCH=torch
# Without one, PyTorch's own index has CPU builds for every platform:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#
# The variables count when .venv is made (or made again after pyproject.toml changed).

PYTHON   ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
              $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
              && { echo $$python; break; }; done)
EXTRAS   ?= cpu,minilm,images,map,pdf,server,mcp,langchain,llama-index,haystack,dev
TORCH    ?= torch<2.14
PIP_ARGS ?=

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO  := indexes/demo

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check bench docs clean venv

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## make the environment, .venv

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "semsearch needs Python 3.11 or newer, but found: $$($(or $(PYTHON),python3) --version 2>&1)"; \
	  echo "Install a newer one, or name it: make PYTHON=/path/to/python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV) with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv $(VENV); }
	@echo "installing into $(VENV): .[$(EXTRAS)] $(TORCH) (this takes a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) \
	  --editable ".[$(EXTRAS)]" "$(TORCH)"
	@touch $@

define shown
@echo; echo '$$ semsearch $(1)'; $(BIN)/semsearch $(1)
endef

demo: $(STAMP)  ## index the sample corpus with MiniLM and ask it a few questions
	$(call shown,index data --index $(DEMO))
	$(call shown,search "my puppy ate a brownie" -k 1 --index $(DEMO))
	$(call shown,search "the epidemic that made workers better paid" -k 1 --index $(DEMO))
	$(call shown,search "why do my letters with umlauts look like garbage" -k 1 --index $(DEMO))
	$(call shown,index data/pictures --encoder vae --index $(DEMO)-pictures)
	$(call shown,search --image data/pictures/apple-brighter.jpg -k 3 --index $(DEMO)-pictures)
	$(call shown,latent morph data/pictures/sea.jpg data/pictures/night.jpg -o $(DEMO)-morph.gif)
	@echo
	@echo "No question shares a word of weight with its answer: the search is by meaning."
	@echo "Now try your own. 'source $(BIN)/activate', and then, for example:"
	@echo "  semsearch search \"my bread comes out like a brick\" --index $(DEMO)"
	@echo "  semsearch index ~/notes --index indexes/notes     # a folder of your documents"
	@echo "  semsearch --help"

test: $(STAMP)  ## run the tests, the long campaigns left out
	@$(BIN)/python -m pytest -m "not slow"

check: $(STAMP)  ## everything that must pass before a change is handed in
	@echo "== ruff check";            $(BIN)/ruff check .
	@echo "== ruff format --check";   $(BIN)/ruff format --check .
	@echo "== mypy --strict";         $(BIN)/mypy
	@echo "== lint-imports";          $(BIN)/lint-imports --no-logo
	@echo "== docs are up to date";   $(BIN)/python docs/generate.py --check
	@echo "== make test";             $(MAKE) --no-print-directory test
	@echo "== all checks passed"

bench: $(STAMP)  ## run the benchmarks and write their tables
	@$(BIN)/python benchmarks/small_changes.py
	@$(BIN)/python benchmarks/ingest.py
	@$(BIN)/python benchmarks/embedding.py
	@$(BIN)/python benchmarks/cold_search.py
	@$(BIN)/python benchmarks/search.py
	@$(BIN)/python benchmarks/search.py --documents 1000000
	@$(BIN)/python benchmarks/analogies.py
	@$(BIN)/python benchmarks/peers.py
	@$(BIN)/python benchmarks/words.py
	@$(BIN)/python benchmarks/server_load.py
	@$(BIN)/python benchmarks/image_recall.py
	@test -z "$(VAE)" || $(BIN)/python benchmarks/image_recall.py --vae "$(VAE)"
	@$(BIN)/python benchmarks/duplicates.py
	@test -z "$(VAE)" || $(BIN)/python benchmarks/duplicates.py --vae "$(VAE)"
	@test -z "$(VAE)" || $(BIN)/python benchmarks/embedded_vae.py --beside "$(VAE)"

docs: $(STAMP)  ## write docs/cli.md and docs/api.md from the code
	@$(BIN)/python docs/generate.py

clean:  ## remove .venv, the demo's index and all caches; your own indexes stay
	rm -rf $(VENV) $(DEMO) $(DEMO)-pictures $(DEMO)-morph.gif dist build \
	  .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
