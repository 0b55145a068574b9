# Two commands do everything on a machine that has Python 3.11 and make:
#   make demo     a guided example on real data
#   make test     the tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench clean

$(VENV)/installed: pyproject.toml hatch_build.py grammar/sql.lark
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "FerrisDB needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict ferrisdb
	$(BIN)/lint-imports

bench: $(VENV)/installed
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) dist build
