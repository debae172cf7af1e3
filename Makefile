# Everything a person or CI runs. Needs Python 3.11 to 3.13, make and git; all else comes from requirements.lock, by hash.
# Works with the make that macOS ships (3.81): no .ONESHELL, no grouped targets.

PYTHON ?=
DATA ?=
SOURCE ?=
OUT ?=
WORKERS ?=
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq
# What reaches the runtime's lines. Left out: two tests that repeat what others reach, and take minutes in plain Python.
COVERING := tests/unit/runtime tests/contract tests/property/test_core_runs.py tests/property/test_inference.py \
	--deselect tests/unit/runtime/inference/test_features.py::test_stated_windows_are_no_longer_than_needed \
	--deselect tests/unit/runtime/adapters/test_snapshots.py::test_from_any_snapshot_equals_from_the_genesis
CODE := runtime workbench pipelines reports tests tools notebooks
# Stamps carry the digest of what they stand for: another lock or project file is another stamp, and a failed install leaves none.
LOCKED := .venv/.locked-$(shell git hash-object requirements.lock)
INSTALLED := .venv/.installed-$(shell git hash-object pyproject.toml)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-all alone check format lint types imports spelling deps docs bench bench-all coverage mutate lock clean fix

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## Create .venv from the hashed lock (runs by itself before every other target)

$(LOCKED):
	@test -x $(BIN)/python || { python=$$(sh tools/find_python.sh "$(PYTHON)") && echo "creating .venv with $$python" && "$$python" -m venv .venv; }
	@echo "installing the locked packages (hashes checked; one to two minutes the first time)"
	@$(PIP) --require-hashes --no-deps --only-binary :all: --no-compile -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true # only speeds up the first start; some packages ship Python 2 templates
	@rm -f .venv/.locked-* && touch $@

$(INSTALLED): $(LOCKED)
	@$(PIP) --no-deps --no-build-isolation --no-index -e .
	@$(BIN)/python -m tools.warm || true # the first run would compile by itself; a broken checkout must still install
	@rm -f .venv/.installed-* && touch $@

demo: install ## Run the main job; DATA=DIR for real files, SOURCE=kraken, OUT=DIR, WORKERS=N
	@$(BIN)/ballast demo $(if $(DATA),--data "$(DATA)") $(if $(SOURCE),--source "$(SOURCE)") $(if $(OUT),--out "$(OUT)") $(if $(WORKERS),--workers "$(WORKERS)") $(ARGS)

test: install ## Run the tests (ARGS for pytest)
	$(BIN)/python -m pytest $(ARGS)

test-all: install ## Run every test, the slow proofs included
	$(BIN)/python -m pytest -m "" $(ARGS)

coverage: install ## Lines and branches of the runtime that its tests reach with the JIT off; fails under 100 %
	@rm -f .coverage .coverage.*
	NUMBA_DISABLE_JIT=1 CI=1 $(BIN)/python -m pytest $(COVERING) --cov=runtime --cov-branch --cov-report=term --cov-fail-under=100 $(ARGS)

mutate: install ## Plant a thousand small defects in the arithmetic, the books and the risk engine; at least 90 % must be noticed
	nice -n 10 $(BIN)/python -m tools.mutate $(ARGS)

alone: install ## Install the runtime extra alone, from the lock, and trade some virtual hours with it
	$(BIN)/python -m pytest -m "" tests/simulation/test_runtime_alone.py $(ARGS)

check: format lint types imports spelling deps docs test ## Run what CI runs

format: install
	$(BIN)/ruff format --check $(wildcard $(CODE))

lint: install
	$(BIN)/ruff check $(wildcard $(CODE))

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

spelling: install
	$(BIN)/codespell

deps: install
	$(BIN)/deptry .

fix: install ## Format and apply the safe lint fixes
	$(BIN)/ruff format $(wildcard $(CODE))
	$(BIN)/ruff check --fix $(wildcard $(CODE))

docs: install ## Check the documentation: links, commands, generated pages (ARGS=--write regenerates them)
	$(BIN)/python -m tools.docs $(ARGS)

bench: install ## Measure our figures against their targets, and other frameworks on one year of bars
	$(BIN)/python -m tools.bench $(ARGS)

bench-all: install ## The same on five years, growth, memory and a profile; writes docs/reference/performance.md
	$(BIN)/python -m tools.bench --all $(ARGS)

lock: install ## Resolve requirements.lock again (the one target that asks an index; no address enters the file)
	$(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --all-extras --no-emit-index-url --no-header --python-version 3.11 -o requirements.lock

clean: ## Remove environments and caches; keeps ./out (datasets, studies and runs are evidence)
	rm -rf .venv .venv-bench build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@test ! -d out || echo "kept ./out: remove it by hand if you do not need its runs"
