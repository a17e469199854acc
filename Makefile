# Everything runs from an environment of its own in .venv; the first command makes it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = .venv/bin

.PHONY: demo test test-fast faults check format docs

demo: .venv/product  ## the whole chain on embedded data, in minutes
	$(BIN)/going-deeper run experiments/demo.py

test: .venv/installed  ## every test, four at a time on two cores: those on SLURM mostly wait
	$(BIN)/pytest --numprocesses 4 --no-loadscope-reorder --durations 20 --durations-min 10

test-fast: .venv/installed  ## a minute: no test that is slow or starts processes
	$(BIN)/pytest --numprocesses 2 -m "not slow and not processes"

faults: .venv/installed  ## the whole campaign of faults and abuse, under 30 minutes; `make test` has a part
	FAULTS=whole $(BIN)/pytest --numprocesses 2 tests/faults

check: .venv/installed  ## style, mistakes, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/installed  ## the documentation as a site in site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.venv/product: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev,docs]'
	touch .venv/product $@
