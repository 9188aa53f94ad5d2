.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv install demo test test-fast fuzz nemo-parity bench lint docs clean

# The first Python of the supported range that can make a virtual environment.
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import ensurepip, sys; sys.exit(not (3, 11, 4) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
endif

# The tested ends of the range: .ci/constraints-tf2.17.txt and .ci/constraints-tf2.21.txt, side by side in their own folders.
# TensorFlow 2.17 ends before Python 3.13.
ifndef CONSTRAINTS
CONSTRAINTS := .ci/constraints-tf2.$(shell $(or $(PYTHON),false) -c 'import sys; print(21 if sys.version_info >= (3, 13) else 17)' 2>/dev/null || echo 17).txt
endif
VENV ?= .venv-$(patsubst constraints-%.txt,%,$(notdir $(CONSTRAINTS)))

STAMP := $(VENV)/.installed
NEMO_CONSTRAINTS := .ci/constraints-nemo.txt
NEMO_VENV := .venv-nemo
NEMO_STAMP := $(NEMO_VENV)/.installed
BIN := $(VENV)/bin
DEMO := build/demo
TYPED := $(wildcard train.py export.py) jasper_tf docs/generate_configuration.py

export TF_CPP_MIN_LOG_LEVEL ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NO_MKDOCS_2_WARNING := 1

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@echo
	@echo '  CONSTRAINTS=.ci/constraints-tf2.21.txt chooses the other tested set of versions'

venv: $(STAMP) ## create the environment and install everything

install: venv ## the same

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(or $(PYTHON),false) -c 'import ensurepip, sys; sys.exit(not (3, 11, 4) <= sys.version_info < (3, 14))' 2>/dev/null || { \
		echo 'error: needs Python 3.11.4, 3.12 or 3.13 with the module venv (PYTHON=/path/to/python3.11 names one);' \
			'Python 3.14 waits for TensorFlow 2.22, which is not released yet' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	@$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[lm]' || \
		echo 'note: without kenlm, which needs a C++ compiler: language models in the binary format of KenLM are not read'
	@$(BIN)/python -m pip install --quiet --only-binary :all: --constraint $(CONSTRAINTS) 'apache-beam>=2.77' 2>/dev/null || \
		echo 'note: without Apache Beam, which does not install beside this TensorFlow: --runner of data jobs is not tested'
	@touch $@

demo: $(STAMP) ## synthesize speech, train, evaluate on unseen voices, export, transcribe
	$(BIN)/python -m jasper_tf make-demo-corpus --output $(DEMO) --overwrite
	$(BIN)/python train.py configs/demo.yaml
	$(BIN)/python -m jasper_tf evaluate --model runs/demo --manifest $(DEMO)/test.jsonl --output $(DEMO)/heard.jsonl --overwrite
	$(BIN)/python export.py runs/demo --output serving/demo
	$(BIN)/python -m jasper_tf transcribe --model serving/demo $(DEMO)/wav/test/00003.wav
	@echo 'five of the test utterances, of voices unheard in training:'
	@$(BIN)/python -c 'import json; heard = [*map(json.loads, open("$(DEMO)/heard.jsonl"))]; \
		[print("  said:  " + u["text"] + "\n  heard: " + u["pred_text"]) for u in heard[:: len(heard) // 5][:5]]'

test: $(STAMP) ## run every test that needs no GPU
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m 'not gpu and not nemo'

test-fast: $(STAMP) ## run the quick tests of every part, between two edits: under 100 s on 2 cores
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --quiet -m 'not slow and not medium and not gpu and not nemo'

SECONDS ?= 600
fuzz: $(STAMP) ## read damaged files of every kind for SECONDS=600; one that fails is kept in build/fuzz
	FUZZ_SECONDS=$(SECONDS) FUZZ_RANDOM=1 $(BIN)/python -m pytest -s tests/fuzz

nemo-parity: $(STAMP) $(NEMO_STAMP) ## run the comparison with NVIDIA NeMo itself (installs it: 2 GB)
	NEMO_PYTHON=$(CURDIR)/$(NEMO_VENV)/bin/python $(BIN)/python -m pytest -m nemo -s tests/interop/nemo/test_parity.py

bench: $(STAMP) ## measure beside NeMo and PyTorch, write docs/benchmarks.md (ONLY=step,ctc QUICK=1 CHECK=1)
	$(BIN)/python -m tests.benchmarks.suite $(if $(ONLY),--only $(ONLY)) $(if $(CHECK),--check) $(if $(QUICK),--quick)

# torch comes first and alone, so that a CPU build found by PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL satisfies NeMo.
$(NEMO_STAMP): $(NEMO_CONSTRAINTS)
	$(PYTHON) -m venv $(NEMO_VENV)
	$(NEMO_VENV)/bin/python -m pip install --quiet --constraint $(NEMO_CONSTRAINTS) torch
	$(NEMO_VENV)/bin/python -m pip install --quiet --constraint $(NEMO_CONSTRAINTS) 'nemo_toolkit[asr]'
	@touch $@

lint: $(STAMP) ## check with ruff and mypy, the direction of imports, and that the pages build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports --no-cache
	$(BIN)/mkdocs build --strict --quiet

docs: $(STAMP) ## write the configuration reference, and build the pages of docs/ into build/docs
	$(BIN)/python docs/generate_configuration.py
	$(BIN)/mkdocs build --strict --quiet

clean: ## remove environments, caches and what the demo made
	rm -rf .venv-* build serving/demo runs/demo .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find jasper_tf tests -name __pycache__ -type d -prune -exec rm -rf {} +
