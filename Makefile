# Two commands do everything on a fresh machine: `make demo` and `make test`.
VENV ?= .venv
PYTHON ?= python3
WORKERS ?= 2
BIN = $(VENV)/bin

.PHONY: demo test lint format clean

# Sets up, then searches on the embedded digits for five minutes; again: goes on with the study.
demo: $(VENV)/.base
	$(BIN)/mfsearch run --budget 20M..150M --latency 100ms --data digits --time 5m --workers $(WORKERS) --study demo
	@echo; echo "mfsearch is in $(BIN): . $(BIN)/activate makes the commands above work as they stand"

# A test file stays in one of the processes, so that its fixtures are made once.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.base: pyproject.toml constraints.txt
	@echo "installing torch and the other packages in $(VENV): some 2 GB, a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
