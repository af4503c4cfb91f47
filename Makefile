# Everything runs in .venv, made from requirements/dev.txt by the first target that needs it.
# A bare clone needs python3 (3.11 or newer, with venv) and make.

PYTHON ?= python3
BIN := .venv/bin
WORKER := .venv-worker
INSTALLED := .venv/.installed
LANDED := protos/landed.binpb
PROTOSET := src/pixvox/v1/pixvox.binpb

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo run test test-worker worker-openapi check fmt proto protoset land-contract bench lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  %-14s %s\n", $$1, $$2 }'

demo: $(INSTALLED) ## start the service, make a picture, edit it, speak, stop
	@$(BIN)/python scripts/demo.py

run: $(INSTALLED) ## serve on 127.0.0.1, gRPC on 50051 and HTTP on 8080
	@$(BIN)/pixvox serve $(ARGS)

test: $(INSTALLED) ## run the tests; ARGS="-k name" goes to pytest
	@$(BIN)/pytest $(ARGS)

test-worker: $(WORKER)/.installed ## run the tests of the GPU worker, in its own environment with torch
	@$(WORKER)/bin/mypy --strict --python-version 3.11 src/pixvox_worker
	@$(WORKER)/bin/pytest -c tests/worker/pytest.ini $(or $(ARGS),tests/worker)

worker-openapi: $(WORKER)/.installed ## write the OpenAPI document of the worker to docs
	@PYTHONPATH=src $(WORKER)/bin/python -m pixvox_worker.openapi > docs/worker-openapi.json

check: $(INSTALLED) ## everything that must hold before a commit, tests apart
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@report=$$($(BIN)/lint-imports --no-logo) || { echo "$$report"; exit 1; }
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code
	@test -f $(LANDED) || { echo "$(LANDED) is missing: run make land-contract once"; exit 1; }
	@$(BIN)/buf breaking --against $(LANDED)
	@$(BIN)/python scripts/generate.py --check
	@echo "check: format, lint, types, layers, contract and generated code hold"

fmt: $(INSTALLED) ## repair what check can repair
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/buf format --write

proto: $(INSTALLED) ## generate src/pixvox/v1 from protos
	@$(BIN)/python scripts/generate.py

protoset: $(INSTALLED) ## write the descriptor set for callers whose server has reflection off
	@$(BIN)/python scripts/generate.py --protoset $(PROTOSET)
	@echo $(PROTOSET)

land-contract: $(INSTALLED) ## make the contract as it is now the one that must not break
	@$(BIN)/buf lint
	@test ! -f $(LANDED) || $(BIN)/buf breaking --against $(LANDED)
	@$(BIN)/buf build --exclude-source-info --output $(LANDED)
	@echo "$(LANDED) holds the contract"

bench: $(INSTALLED) ## measure the figures that the README quotes
	@$(BIN)/python -m benchmarks $(ARGS)

# The output of an earlier run is what pip-compile keeps to, unless UPGRADE is set.
PIP_COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --no-build-isolation --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe

lock: $(INSTALLED) ## pin what pyproject.toml asks for; UPGRADE=1 takes newer versions
	@$(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --all-extras --output-file requirements/dev.txt pyproject.toml
	@$(PIP_COMPILE) --constraint requirements/dev.txt --extra server --output-file requirements/server.txt pyproject.toml
	@$(PIP_COMPILE) --constraint requirements/dev.txt --build-deps-for wheel --only-build-deps \
		--output-file requirements/build.txt pyproject.toml
	@! grep -n "://" requirements/*.txt

clean: ## remove caches and built files; .venv stays
	@rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name .venv -prune -o -name node_modules -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements/dev.txt pyproject.toml
	@echo "installing requirements/dev.txt into .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(WORKER)/.installed: requirements/worker-dev.in requirements/worker.in
	@echo "installing requirements/worker-dev.in into $(WORKER)"
	@test -x $(WORKER)/bin/python || $(PYTHON) -m venv $(WORKER)
	@$(WORKER)/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements/worker-dev.in
	@touch $@
