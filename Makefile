# Every target sets up what it needs: a virtual environment, the build, the data it runs on.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard native/*.?pp native/*/*.?pp)
# torch is pinned in the extra "test": pip finds that CPU build; an unpinned torch would bring gigabytes of CUDA.
BUILD_TOOLS := "scikit-build-core>=0.11" "nanobind>=2.9" "cmake>=3.26" ninja

.DEFAULT_GOAL := help
.PHONY: help install demo test fuzz sanitize lint format bench races accuracy parity docs linkcheck wheel figures clean

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

# Files of tests are shared out to a process per core, four at most. Threads of PyTorch's that wait leave it to others.
test: install ## run every test
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

sanitize: install ## run the kernels' tests under sanitizers of memory, arithmetic and threads; part of `make test`
	$(BIN)/python -m pytest tests/hardening/test_sanitizers.py

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
	$(BIN)/python benchmarks/head_speed.py
	$(BIN)/python benchmarks/training_speed.py

races: install ## race training against its peers on six real data sets, an hour or two; fetches the packages they are in
	$(BIN)/python benchmarks/training_tasks.py --threads 1 2
	$(BIN)/python benchmarks/objective.py --threads 1 2
	$(BIN)/python benchmarks/command_line.py
	$(BIN)/python benchmarks/busy_machine.py
	$(BIN)/python benchmarks/epoch_floors.py
	$(BIN)/python benchmarks/learning_rates.py

accuracy: install ## worst error in ulp of crossent and its peers, against 60 digits
	$(BIN)/python benchmarks/accuracy.py

parity: install ## run the tests of PyTorch, scikit-learn, ONNX, optax and Keras on crossent
	$(BIN)/python tests/parity/suites/suites.py

docs: install ## build the documentation into docs/_build/html; `make test` runs its examples
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[dev,docs]"
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

linkcheck: install ## check the links of the documentation; those that lead outside are listed, not followed
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[dev,docs]"
	$(BIN)/python -m sphinx -b linkcheck docs docs/_build/linkcheck

wheel: install ## build the sdist and the wheel into dist/, and use each in an empty environment, every extra alone
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[dev,release]"
	$(BIN)/python tools/check_wheel.py

figures: install ## draw the pictures of the README and the documentation
	$(BIN)/python docs/figures/confident_rows.py
	$(BIN)/python docs/figures/explore.py
	$(BIN)/python docs/figures/who_pays.py
	$(BIN)/python examples/softmax_collapse.py --steps 3000 --picture docs/figures/softmax_collapse.svg

clean: ## delete what was built
	rm -rf $(VENV) build dist demo docs/_build docs/_generated
