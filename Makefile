# Two commands: `make demo` and `make test`. Both install into .venv what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint docs bench clean

$(STAMP): pyproject.toml constraints.txt hilnas/__init__.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/hilnas demo

test: lint
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m docs.generate --check

docs: $(STAMP)
	$(BIN)/python -m docs.generate

bench: $(STAMP)
	$(BIN)/python -m benchmarks.onnx_build
	$(BIN)/python -m benchmarks.static_costs
	$(BIN)/python -m benchmarks.predict_speed
	$(BIN)/python -m benchmarks.recipe
	$(BIN)/python -m benchmarks.parity
	$(BIN)/python -m benchmarks.duty_cycle
	$(BIN)/python -m benchmarks.four_boards
	$(BIN)/python -m benchmarks.faults

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
