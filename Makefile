# Everything runs in .venv, made from requirements/dev.txt by the first target that needs it.
# A bare clone needs python3 (3.11 or newer, with venv) and make.

PYTHON ?= python3
BIN := .venv/bin
WORKER := .venv-worker
SPEAKER := .venv-worker-speech
INSTALLED := .venv/.installed
LANDED := protos/landed.binpb
PROTOSET := src/pixvox/v1/pixvox.binpb

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo run test test-worker test-worker-speech test-through-service gpu-check worker-openapi check fmt proto protoset land-contract bench lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  %-19s %s\n", $$1, $$2 }'

demo: $(INSTALLED) ## start the service, make a picture, edit it, speak, stop
	@$(BIN)/python scripts/demo.py

run: $(INSTALLED) ## serve on 127.0.0.1, gRPC on 50051 and HTTP on 8080
	@$(BIN)/pixvox serve $(ARGS)

test: $(INSTALLED) ## run the tests; ARGS="-k name" goes to pytest
	@$(BIN)/pytest $(ARGS)

test-worker: $(WORKER)/.installed ## run the tests of the GPU worker with tiny models, alone and through the service
	@$(WORKER)/bin/mypy --strict --python-version 3.11 src/pixvox_worker
	@$(WORKER)/bin/pytest -c tests/worker/pytest.ini $(or $(ARGS),tests/worker)
	@$(if $(ARGS),,$(MAKE) test-worker-speech)
	@$(if $(ARGS),,$(MAKE) test-through-service)

gpu-check: ## build, time and verify the GPU worker on a CUDA machine; ARGS="--model ID", "--device cpu"
	@$(PYTHON) scripts/gpu_check.py $(ARGS)

test-worker-speech: $(SPEAKER)/.installed ## run the tests of the worker that speaks, in an environment of its own
	@$(SPEAKER)/bin/pytest -c tests/worker_speech/pytest.ini $(or $(ARGS),tests/worker_speech)

test-through-service: $(INSTALLED) $(WORKER)/.installed $(SPEAKER)/.installed ## run gRPC calls that real workers serve
	@PIXVOX_TEST_TORCH=1 $(BIN)/pytest $(or $(ARGS),tests/with_torch)

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
# Torch stays out of the locks of the workers: which build of it fits is the image's to know. The torch that this finds has to
# be one for the processor, since others ask for packages of NVIDIA.
WORKER_COMPILE = $(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --no-allow-unsafe --unsafe-package torch

lock: $(INSTALLED) ## pin what pyproject.toml asks for; UPGRADE=1 takes newer versions
	@$(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --all-extras --output-file requirements/dev.txt pyproject.toml
	@$(PIP_COMPILE) --constraint requirements/dev.txt --extra server --output-file requirements/server.txt pyproject.toml
	@$(PIP_COMPILE) --constraint requirements/dev.txt --build-deps-for wheel --only-build-deps \
		--output-file requirements/build.txt pyproject.toml
	@$(WORKER_COMPILE) --output-file requirements/worker.txt requirements/worker.in
	@$(WORKER_COMPILE) --output-file requirements/worker-speech.txt requirements/worker-speech.in
	@BIN=$(BIN) scripts/lock_alone.sh requirements/worker-speech-no-deps.in requirements/worker-speech-no-deps.txt
	@! grep -nE "://|^(nvidia|triton)" requirements/*.txt

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

$(SPEAKER)/.installed: requirements/worker-speech-dev.in requirements/worker-speech.in requirements/worker-speech-no-deps.in
	@echo "installing requirements/worker-speech-dev.in into $(SPEAKER)"
	@test -x $(SPEAKER)/bin/python || $(PYTHON) -m venv $(SPEAKER)
	@$(SPEAKER)/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements/worker-speech-dev.in
	@$(SPEAKER)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--requirement requirements/worker-speech-no-deps.in
	@touch $@
