# Every target sets up what it needs: a virtual environment, the build, the data it runs on.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard native/*.?pp native/*/*.?pp)
# torch is pinned in the extra "test": pip finds that CPU build; an unpinned torch would bring gigabytes of CUDA.
BUILD_TOOLS := "scikit-build-core>=0.11" "nanobind>=2.9" ninja

.DEFAULT_GOAL := help
.PHONY: help install demo test fuzz lint format bench races accuracy docs figures clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(BIN)/python pyproject.toml CMakeLists.txt $(NATIVE)
	$(BIN)/python -m pip install --quiet $(BUILD_TOOLS)
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[dev]"
	@touch $@

install: $(VENV)/.installed ## set up .venv with crossent and everything its tests need

demo: install ## train a network on real images, open its report, explain one prediction
	$(BIN)/python -m crossent demo --out demo

test: install ## run every test
	$(BIN)/python -m pytest

RUNS ?= 1000000
TARGET ?= all
fuzz: install ## try a million altered inputs (RUNS=) on each reader (TARGET=) of files and requests
	cd tests && ../$(BIN)/python -W ignore -m hardening.fuzz $(TARGET) --runs $(RUNS)

lint: install ## ruff, mypy and clang-format, as the commit hooks run them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(NATIVE)

format: install ## rewrite the sources the way lint wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(NATIVE)

bench: install ## time the loss beside its peers, and an epoch beside its matrix products
	$(BIN)/python benchmarks/loss_speed.py
	$(BIN)/python benchmarks/torch_speed.py
	$(BIN)/python benchmarks/training_speed.py

races: install ## race training against its peers on six real data sets, an hour or two; fetches the packages they are in
	$(BIN)/python benchmarks/training_tasks.py --threads 1 2
	$(BIN)/python benchmarks/objective.py --threads 1 2
	$(BIN)/python benchmarks/tables.py
	$(BIN)/python benchmarks/busy_machine.py
	$(BIN)/python benchmarks/epoch_floors.py

accuracy: install ## worst error in ulp of crossent and its peers, against 60 digits
	$(BIN)/python benchmarks/accuracy.py

docs: install ## build the documentation into docs/_build/html; `make test` runs its examples
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[dev,docs]"
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

figures: install ## draw the pictures of the README and the documentation
	$(BIN)/python docs/figures/confident_rows.py
	$(BIN)/python docs/figures/explore.py
	$(BIN)/python docs/figures/who_pays.py
	$(BIN)/python examples/softmax_collapse.py --steps 3000 --picture docs/figures/softmax_collapse.svg

clean: ## delete what was built
	rm -rf $(VENV) build demo docs/_build docs/_generated
