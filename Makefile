# Every target makes the environment first when it is missing or older than its pins.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-full test test-fast test-wheel check lint type fmt docs docs-check wheel clean metrics ci-area

help:  ## list the targets
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

.venv/.ready: pyproject.toml constraints.txt scripts/setup.sh
	@PYTHON=$(PYTHON) scripts/setup.sh .venv

setup: .venv/.ready  ## make .venv with everything pinned, and nothing else

demo: .venv/.ready  ## the whole chain on the embedded model: runs/demo/report.html
	@outside=$$($(BIN)/python scripts/outside_texts.py) && set -x && $(BIN)/adatta run recipes/demo.yaml $$outside $(OPTIONS)

demo-full: .venv/.ready  ## the same with all its data: runs/demo-full/report.html
	@outside=$$($(BIN)/python scripts/outside_texts.py) && set -x && $(BIN)/adatta run recipes/demo-full.yaml $$outside $(OPTIONS)

test: .venv/.ready  ## all tests but tests/areas (under 5 minutes)
	$(BIN)/pytest tests --ignore=tests/areas

test-fast: .venv/.ready  ## the tests that need no torch (under a minute)
	$(BIN)/pytest tests --ignore=tests/areas --ignore=tests/e2e -m "not torch"

test-wheel: wheel  ## install the wheel in a clean environment outside the checkout and use it
	scripts/test_wheel.sh

test-%: .venv/.ready  ## a long suite: tests/areas/<area>
	$(BIN)/pytest tests/areas/$*

bench-%: .venv/.ready  ## a benchmark: bench/bench_<area>.py -> bench/results/<area>.json (ARGS="..." for its options)
	$(BIN)/python bench/bench_$*.py $(ARGS)

check: lint type test-fast docs-check  ## what must hold before a commit

lint: .venv/.ready
	$(BIN)/ruff check src tests bench scripts examples && $(BIN)/ruff format --check src tests bench scripts examples

type: .venv/.ready
	$(BIN)/mypy

fmt: .venv/.ready  ## format the code
	$(BIN)/ruff check --fix src tests bench scripts examples && $(BIN)/ruff format src tests bench scripts examples

docs: .venv/.ready  ## generate docs/map.md, docs/cli.md, docs/recipe.md from the code
	$(BIN)/python scripts/make_docs.py

docs-check: .venv/.ready
	$(BIN)/python scripts/make_docs.py --check

wheel: .venv/.ready  ## build dist/*.whl
	rm -rf dist && $(BIN)/python -m build --wheel --outdir dist . > /dev/null

metrics: .venv/.ready  ## size of the code: lines, files, functions
	$(BIN)/python scripts/metrics.py

clean:  ## remove what was built (not runs/)
	rm -rf dist build .mypy_cache .ruff_cache .venv-wheel
