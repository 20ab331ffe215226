# Every command of the project. `make help` lists them.

PYTHON ?= python3
PORT ?= 8080
BIN := .venv/bin
# The one tool that must be newer than what Debian ships: dependency groups came with pip 25.1.
PIP_VERSION := 26.3
INSTALLED := .venv/.installed
SOURCES := gateway backends policies plugins tests deploy

.DEFAULT_GOAL := help
.PHONY: help install serve test check format lint types imports test-engines test-lab engine-vllm engine-sglang engine-ktransformers engine-llama-cpp engine-torch-reference weights lab lab-stop bench bench-peers bench-growth bench-hang prove-ledger prove-quotas prove-statistics prove-prefix prove-compare prove-resilience simulate soak clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 26

install: $(INSTALLED) ## make .venv with the moegate command in it

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "moegate needs Python 3.11 or newer; name one with PYTHON="; exit 1; }
	@echo "== making .venv and installing moegate (a minute or two)"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip==$(PIP_VERSION)"
	$(BIN)/python -m pip install --progress-bar on --disable-pip-version-check -c constraints.txt --group test --group lint -e .
	@touch $@

serve: install engine-torch-reference ## start the demo on 127.0.0.1:8080 (PORT= for another port)
	@$(BIN)/python deploy/demo/serve.py --port $(PORT)

test: install ## run every test that needs no GPU and no engine but ours
	$(BIN)/python -m pytest

check: install format-check lint types imports test ## all that must hold before a commit

format: install ## write all code in the one format
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix-only --quiet $(SOURCES)

.PHONY: format-check
format-check: install
	$(BIN)/ruff format --check $(SOURCES)

lint: install ## ruff
	$(BIN)/ruff check $(SOURCES)

types: install ## mypy, strict
	$(BIN)/mypy

imports: install ## the import rules
	$(BIN)/lint-imports

engine-vllm: ## install vLLM's CPU build into its own environment
	@$(PYTHON) deploy/lab/engines/install.py vllm

engine-sglang: ## install SGLang for the CPU into its own environment
	@$(PYTHON) deploy/lab/engines/install.py sglang

engine-ktransformers: ## install KTransformers (sglang-kt, kt-kernel) into its own environment
	@$(PYTHON) deploy/lab/engines/install.py ktransformers

engine-llama-cpp: ## build llama.cpp's server into its own environment (about 15 minutes, once)
	@$(PYTHON) deploy/lab/engines/install.py llama-cpp

weights: ## make the weights that KTransformers and llama.cpp want out of k2-tiny
	@$(PYTHON) deploy/lab/prepare_weights.py

lab: install ## install every engine, start all that fit and the gateway before them (PORT= for another port)
	@$(BIN)/python deploy/lab/lab.py start --port $(PORT) --python $(PYTHON)

lab-stop: install ## stop what `make lab` started
	@$(BIN)/python deploy/lab/lab.py stop

engine-torch-reference: ## install the embedded engine's environment
	@$(PYTHON) deploy/lab/engines/install.py torch-reference

test-engines: install engine-torch-reference engine-vllm ## the gateway before vLLM and the reference engine
	$(BIN)/python -m pytest $(addprefix tests/engines/,through_gateway torch_reference prefix attribution resilience experiments compare/test_prove.py)

test-lab: install ## the conformance cases, `engines verify`, `compare` and the recipes, on every engine that is installed
	$(BIN)/python -m pytest tests/engines/conformance tests/engines/verify tests/engines/compare tests/engines/recipes

bench: install ## what a call and a chunk cost, beside a direct run and the peers that are installed
	$(BIN)/python -m tests.performance.bench $(ARGS)

bench-peers: install ## install the peers that `make bench` compares with
	$(BIN)/python -m tests.performance.install_peers $(ARGS)

bench-growth: install ## what a call and a chunk cost with more streams, connections, replicas, keys and longer prompts
	$(BIN)/python -m tests.performance.growth $(ARGS)

bench-hang: install ## how long clients wait while one of two engines hangs, beside the peers
	$(BIN)/python -m tests.performance.hang $(ARGS)

prove-ledger: install ## a million calls through the ledger, on SQLite and on PostgreSQL: sizes, speeds, queries
	$(BIN)/python -m tests.performance.ledger $(ARGS)

prove-quotas: install ## four gateways, one Valkey, 200 clients: budgets, ledger and engines agree, whatever dies; fair shares
	$(BIN)/python -m tests.performance.quotas $(ARGS)

prove-statistics: install ## the statistics of backend comparison, 10,000 simulated experiments each: false alarms and power (4 minutes)
	$(BIN)/python -m tests.performance.statistics $(ARGS)

simulate: install ## routing rules on a simulated fleet of unequal engines: a table, and a plot with ARGS="--out FOLDER"
	$(BIN)/python -m tests.simulator $(ARGS)

prove-prefix: install engine-vllm ## what prefix-aware routing finds in the caches of two real vLLMs, beside other rules: a table
	$(BIN)/python -m tests.engines.prefix $(ARGS)

prove-compare: install engine-vllm engine-torch-reference ## what `moegate compare` says of real engines that are alike, quantised, sabotaged: tables
	$(BIN)/python -m tests.engines.compare.prove $(ARGS)

prove-resilience: install ## engines die, hang, refuse and talk nonsense, networks fail, thousands of clients stay: nobody sees a wrong success (ARGS="--engines real" for vLLM and llama.cpp)
	$(BIN)/python -m tests.resilience $(ARGS)

soak: install ## hold 32 streams for a minute and look for leaks (ARGS= for more)
	$(BIN)/python -m tests.performance.soak $(ARGS)

clean: ## remove .venv and caches; engines and their environments stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
