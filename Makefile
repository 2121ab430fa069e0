# `make help` says what there is. Every target sets up what it needs; what is there already is neither built nor fetched again.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup packages demo test test-unit coverage test-long check up down train lock clean

export PYTHON ?= python3
BIN := .venv/bin
DATA ?= ../shared/data
THREADS ?= 1

help: ## Show this.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: packages .venv/installed ## Install everything: Debian packages, Python environment, Kafka and the FHIR server.
	@$(BIN)/radstream services build

packages:
	@deploy/system-packages.sh

# uv reads no configuration of pip's; where pip is told to find its packages elsewhere, pip itself does the work.
.venv/installed: requirements.lock pyproject.toml | packages
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the Python packages of requirements.lock"
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@UV_HTTP_TIMEOUT=300 VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock \
	  || $(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

demo: setup ## Run the main job once on real services and a real radiograph; results in var/demo.
	@$(BIN)/radstream demo

test: check ## Run all checks and all tests; an absent service is a failure.
	REQUIRE_SERVICES=1 $(BIN)/pytest -m "not long" --durations=25

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-unit: setup ## Run the fast tests alone.
	$(BIN)/pytest tests/unit

coverage: setup ## Run all tests and tell which lines they never reach; half as long again.
	REQUIRE_SERVICES=1 $(BIN)/pytest -m "not long" --cov --cov-branch --cov-report=term

test-long: setup ## Run soak, chaos and fuzzing; hours.
	REQUIRE_SERVICES=1 $(BIN)/pytest -m long --timeout=0

up: setup ## Start services and engine, and leave them running.
	@$(BIN)/radstream services up
	@$(BIN)/radstream up --detach

down: setup ## Stop the engine and the services; data stays.
	@$(BIN)/radstream down
	@$(BIN)/radstream services down

train: setup ## Train the detector anew into var/training (DATA=folder); killed and started again, it goes on. See docs/model-card.md.
	$(BIN)/python -m models.training.train --data $(DATA) --threads $(THREADS) --out var/training/chest-nodule.safetensors
	$(BIN)/python -m models.training.package --data $(DATA) --threads $(THREADS) --weights var/training/chest-nodule.safetensors \
	  --out var/training/chest-nodule/2

lock: .venv/installed ## Write requirements.lock from pyproject.toml: exact versions, hashes, no index address.
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock

clean: ## Stop the services and delete their data, the environment and everything built.
	-@test ! -x $(BIN)/radstream || $(BIN)/radstream services reset --yes
	rm -rf .venv var dist deploy/*/target benchmarks/peers/*/target .coverage* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
