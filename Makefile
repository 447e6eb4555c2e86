PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# The GPU set where a GPU answers, the CPU set elsewhere.
SET    := $(if $(shell nvidia-smi -L 2>/dev/null),gpu,cpu)

.PHONY: serve test test-slow check bench clean

serve: $(VENV)/.serve
	$(BIN)/foretoken serve --demo

test: $(VENV)/.dev
	$(BIN)/pytest -m "not slow and not peers and not alone" -n auto --maxprocesses 4 --dist loadfile
	$(BIN)/pytest -m "not slow and not peers and alone"

test-slow: $(VENV)/.dev
	$(BIN)/pytest -m "slow" --timeout 7200

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/.serve: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[$(SET)]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[$(SET),dev]'
	@touch $@ $(VENV)/.serve

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
