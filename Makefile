# make demo    trains on real tables and shows what comes out
# make test    runs every test
# make sanitize runs the engine's tests on a core built with AddressSanitizer and UndefinedBehaviorSanitizer, and the
#               core without Python under these and ThreadSanitizer
# make check   formatting, lint, types: what CI runs before the tests
# Each makes .venv, installs the pinned dependencies and builds the core first; a second call finds all of that done.

PYTHON ?= python3
BIN := .venv/bin
CORE := CMakeLists.txt $(shell find core -type f)

.PHONY: demo test check sanitize format clean

demo: .venv/built
	$(BIN)/python examples/demo.py

test: .venv/built
	$(BIN)/pytest

check: .venv/built
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The sanitized core lies beside a copy of the package; -S keeps the installed one out of sight.
SANITIZED := build/sanitized
CONFIGURE := $(BIN)/cmake -S . -G Ninja -DSCHUSS_DRIVER=ON -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python \
	-DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja
sanitize: .venv/built
	$(CONFIGURE) -B $(SANITIZED)/thread -DSCHUSS_SANITIZE=thread
	$(BIN)/cmake --build $(SANITIZED)/thread --target driver
	timeout 600 $(SANITIZED)/thread/driver
	$(CONFIGURE) -B $(SANITIZED)/address -DSCHUSS_SANITIZE=address,undefined \
		-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$(CURDIR)/$(SANITIZED)/schuss
	$(BIN)/cmake --build $(SANITIZED)/address
	ASAN_OPTIONS=detect_leaks=0 timeout 600 $(SANITIZED)/address/driver
	cp -r src/schuss/. $(SANITIZED)/schuss
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		PYTHONPATH=$(SANITIZED):$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))") \
		$(BIN)/python -S -m pytest -p no:cacheprovider tests/engine

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
