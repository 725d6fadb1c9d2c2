# Pilotlight. `make demo` and `make test` do all of their own set-up; `make help` lists the rest.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test check bench clean

help:
	@echo "make demo     serve, deploy the example functions and call them (ONCE=1: then stop; PROVIDER=docker: in containers)"
	@echo "make test     all tests    make check   lint, types, layers    make bench   the numbers"
	@echo "make clean    remove what these commands made"

$(STAMP): pyproject.toml
	@bash deploy/setup-venv $(VENV)
	@touch $@

demo: $(STAMP)
	@$(PY) functions/demo.py $(if $(ONCE),--once) $(if $(PROVIDER),--provider $(PROVIDER))

test: $(STAMP)
	$(PY) -m pytest tests/unit -n 2 -q
	$(PY) -m pytest tests/contract tests/integration tests/e2e -n 4 --dist loadscope --no-loadscope-reorder -q --durations=25

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	@test ! -e platform/__init__.py || { echo "platform/__init__.py shadows the standard library's module; remove it"; exit 1; }

bench: $(STAMP)
	$(PY) tests/bench/router.py
	$(PY) tests/bench/coldstart.py
	$(PY) tests/bench/cli.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .pilotlight
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
