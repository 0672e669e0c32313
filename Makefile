# make demo    trains on real tables and shows what comes out
# make test    runs every test
# make check   formatting, lint, types: what CI runs before the tests
# Each makes .venv, installs the pinned dependencies and builds the core first; a second call finds all of that done.

PYTHON ?= python3
BIN := .venv/bin
CORE := CMakeLists.txt $(shell find core -type f)

.PHONY: demo test check format clean

demo: .venv/built
	$(BIN)/python examples/demo.py

test: .venv/built
	$(BIN)/pytest

check: .venv/built
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/built
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build demo

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "pip>=25.1"
	$(BIN)/pip install --quiet --group build --group dev
	touch $@

.venv/built: .venv/installed $(CORE)
	$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@
