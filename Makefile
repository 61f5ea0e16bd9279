# The first command after a clone may be any of these: each builds the .venv it needs.
# Needs Python 3.11 or newer, git and make. Another Python: make PYTHON=python3.12 test

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
JOBS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --progress-bar off

# A virtual environment knows its own path: one copied or moved here, or whose Python is gone, is built anew.
VENV_WORKS := $(shell grep -qsF ' $(CURDIR)/.venv' .venv/pyvenv.cfg && $(BIN)/python -c \
	'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo yes)

.PHONY: help demo docs test lint types mypy basedpyright contracts pytest test-sandbox soak soak-crash soak-spend soak-providers soak-policy bench clean always

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.core  ## watch a run go from red to verified, on a recording: no key, no cost
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh specs/demo/run.sh

test: lint types contracts pytest  ## everything that must hold before a change lands

lint: .venv/.dev  ## style and format (repair: .venv/bin/ruff check --fix . && .venv/bin/ruff format .)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: mypy basedpyright  ## both type checkers, strict

mypy: .venv/.dev
	$(BIN)/mypy

basedpyright: .venv/.dev
	$(BIN)/basedpyright --pythonpath $(BIN)/python

contracts: .venv/.dev  ## who may import whom
	$(BIN)/lint-imports

pytest: .venv/.dev  ## the tests alone (some of them: make pytest PYTEST_ARGS=tests/unit)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

test-sandbox: .venv/.dev  ## ways out of the sandbox, as root and as an ordinary user; installs bubblewrap, skips nothing
	@command -v bwrap >/dev/null || { apt-get update -q && apt-get install -qy bubblewrap; } || dnf install -qy bubblewrap
	RUNNER_TEST_SANDBOX=must $(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests/sandbox tests/contract/test_walls_bubblewrap.py $(PYTEST_ARGS)
	$(BIN)/python -m tests.sandbox.evidence

docs: .venv/.core  ## make anew what is generated: reference, man page, completion, the demo's picture
	$(BIN)/python docs/commands.py
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/picture.py

soak: soak-crash soak-spend soak-providers soak-policy  ## the long proofs, one after the other (each at most an hour)

soak-crash: .venv/.dev  ## kill -9 at every event boundary and at random moments
	$(BIN)/python -m tests.soak.crash

soak-spend: .venv/.dev  ## many processes, one budget, a provider that misbehaves
	$(BIN)/python -m tests.soak.spend

soak-providers: .venv/.dev  ## ten thousand random sequences of everything a provider does, on every adapter
	$(BIN)/python -m tests.soak.providers

soak-policy: .venv/.dev  ## fifty thousand random shell texts, beside what bash runs in bubblewrap
	$(BIN)/python -m tests.soak.policy

bench: .venv/.dev .venv-bench/.peers  ## runner beside bare loops and mini-swe-agent (in short: make bench BENCH_ARGS=--quick)
	$(BIN)/python -m bench $(BENCH_ARGS)

clean:  ## remove what the commands above made, .venv included
	rm -rf .venv .venv-bench build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# The two soaks want the machine to themselves, also under make -j.
ifneq (,$(filter soak,$(MAKECMDGOALS)))
.NOTPARALLEL:
endif

ifneq ($(VENV_WORKS),yes)
.venv/.core: always
endif
.venv/.core: pyproject.toml
	@test -n "$(PYTHON)" || { echo 'runner needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11 ...' >&2; exit 1; }
	@test "$(VENV_WORKS)" = yes || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@echo 'installing runner into .venv ...'
	@$(PIP) --editable '.[demo]'
	@touch $@

# After .core, never beside it: two pips in one environment break it.
.venv/.dev: .venv/.core
	@echo 'installing the tools of the tests into .venv ...'
	@$(PIP) --editable '.[demo,dev,litellm,cel,signing]'
	@touch $@

# An environment of its own: what the peer pins must not decide what runner is measured with.
.venv-bench/.peers: bench/peers.txt .venv/.core
	@echo 'installing mini-swe-agent into .venv-bench ...'
	@test -x .venv-bench/bin/python || $(BIN)/python -m venv .venv-bench
	@.venv-bench/bin/python -m pip --disable-pip-version-check --no-input install --quiet --progress-bar off -r $< \
		&& touch $@ || echo 'that did not work: its rows of the table stay empty' >&2
