SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	--custom-compile-command 'make requirements' pyproject.toml

NODE := tests/system/http/node
DATADOG := tests/system/monitoring/datadog
PEERS := benchmarks/peers
PEER_SETS := main arq saq

.PHONY: help install node datadog peers up test test-cluster soak screenshots check bench requirements

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  %-14s %s\n' "$$name" "$$text"; done

install: .venv/dev.stamp ## Create .venv and install everything, hash-checked (nothing to do when up to date)

node: $(NODE)/node_modules/.package-lock.json ## Install the npm packages that some tests need, as their lock says

datadog: .datadog-venv/installed.stamp ## Install the Datadog Agent's checks, which a test runs, in an environment of their own

peers: $(PEER_SETS:%=$(PEERS)/.venv-%/installed.stamp) $(PEERS)/node_modules/.package-lock.json ## Install what the benchmarks compare with, each in an environment of its own

up: .venv/runtime.stamp ## Start it all: Valkey, the API and one worker; Ctrl-C stops them in order
	@exec $(BIN)/python manage.py up

test: .venv/dev.stamp ## Run the tests, against real servers on private sockets
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

test-cluster: .venv/dev.stamp ## Run the tests of the queue once more, on six nodes of a cluster
	$(BIN)/python -m pytest tests/queueing --store cluster --numprocesses auto --maxprocesses 4

soak: .venv/dev.stamp ## Run the system tests in their long form, one after the other, with their figures (about 2 hours)
	SOAK=1 $(BIN)/python -m pytest --capture no tests/system

screenshots: .venv/dev.stamp ## Take the pictures of docs/screenshots anew
	SCREENSHOTS=$(CURDIR)/docs/screenshots $(BIN)/python -m pytest tests/system/dashboard/test_screenshots.py

check: .venv/dev.stamp ## Run the linters, the type checker, the import contracts and Django's own checks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py check --settings settings.test --fail-level WARNING
	$(BIN)/python manage.py makemigrations --settings settings.test --check --dry-run

bench: .venv/dev.stamp peers ## Run the benchmarks (about an hour); results in benchmarks/results.md
	$(BIN)/python -m benchmarks

requirements: .venv/dev.stamp ## Compile requirements*.txt anew from pyproject.toml
	$(COMPILE) --output-file requirements.txt
	$(COMPILE) --extra tracing --constraint requirements.txt --output-file requirements-tracing.txt
	$(COMPILE) --extra tracing --group dev --constraint requirements.txt --output-file requirements-dev.txt
	$(COMPILE:pyproject.toml=$(DATADOG)/requirements.in) --output-file $(DATADOG)/requirements.txt
	for set in $(PEER_SETS); do $(COMPILE:pyproject.toml=$(PEERS)/requirements-$$set.in) \
		--output-file $(PEERS)/requirements-$$set.txt || exit 1; done

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "python3 >= 3.11 is needed, and none was found on PATH" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "$(PYTHON) cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }

.venv/runtime.stamp: requirements.txt | .venv/bin/python
	$(PIP) install --require-hashes --requirement requirements.txt
	@touch $@

.venv/dev.stamp: requirements-dev.txt | .venv/bin/python
	$(PIP) install --require-hashes --requirement requirements-dev.txt
	@touch .venv/runtime.stamp $@

.datadog-venv/installed.stamp: $(DATADOG)/requirements.txt | .venv/bin/python
	@.venv/bin/python -m venv --clear .datadog-venv
	.datadog-venv/bin/python -m pip --disable-pip-version-check --no-input --quiet install --require-hashes --requirement $<
	@touch $@

$(PEERS)/.venv-%/installed.stamp: $(PEERS)/requirements-%.txt | .venv/bin/python
	@.venv/bin/python -m venv --clear $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check --no-input --quiet install --require-hashes --requirement $<
	@touch $@

%/node_modules/.package-lock.json: %/package-lock.json
	npm ci --prefix $* --no-progress --loglevel=error
	@touch $@
