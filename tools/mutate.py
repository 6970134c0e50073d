"""Change the formulas one thing at a time, and list the changes that no test notices.

    python tools/mutate.py [FILE ...] [--sample 20] [--seed 0] [--again]

FILE is a header of native/**/kernels or a module of src/crossent, by its path; all files of TESTS otherwise. Of each, a
sample of the mutants that tools/mutants.py makes is judged by the file's tests, until the first of them fails. For a
kernel one CPU level is compiled, without optimisation, and linked with objects that are built once; a module is
replaced in memory. Each mutant is tried in a forked process, which may crash or never end.

Verdicts are kept in build/mutants/verdicts.csv: a run that is stopped goes on where it was. `--again` judges the
survivors anew, after tests were added. docs/explanation/survivors.md says why those that are left change no result.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.util
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mutants import Mutant, mutants_of_cpp, mutants_of_python

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "build" / "mutants"
# Imported once, before the forks: none of them imports crossent.
WARM = (
    "numpy",
    "scipy.special",
    "scipy.sparse",
    "hypothesis",
    "hypothesis.extra.numpy",
    "ml_dtypes",
    "mpmath",
    "pytest",
)
CPU_SECONDS = 60  # a mutant that takes longer loops for ever
WALL_SECONDS = 600
COLUMNS = ("file", "line", "before", "after", "verdict", "by")
FLAGS = ("-std=c++20", "-O0", "-march=x86-64", "-fopenmp-simd", "-ffp-contract=fast", "-fPIC", "-w")

_LOSS = ("accuracy/test_distributions.py", "accuracy/test_labels.py", "property/test_loss.py")
_LABELS = ("accuracy/test_labels.py", "property/test_loss.py")
_HEAD = ("head/test_head.py", "head/test_sgd.py", "head/test_unbiased.py")
_TRAINING = ("training/test_gradient.py", "training/test_optimizers.py", "training/test_few_classes.py")
_FAMILY = ("family",)
_SIMPLEX = ("simplex",)
TESTS: dict[str, tuple[str, ...]] = {
    **{f"native/kernels/{name}.hpp": _LABELS for name in ("label_scalars", "label_rows", "label_tile")},
    **{f"native/kernels/{name}.hpp": _LOSS for name in ("exp_log", "vectors", "floats", "blocks", "distribution_rows")},
    **{f"native/head/kernels/{name}.hpp": _HEAD for name in ("survey", "conclude", "gradient", "thin")},
    **{f"native/training/kernels/{name}.hpp": _TRAINING for name in ("few_classes", "sparse", "steps", "vectors")},
    "src/crossent/reference.py": ("accuracy/test_oracle.py", "accuracy/test_labels.py", "property/test_loss.py"),
    "src/crossent/targets.py": ("property/test_loss.py", "errors", "parity/test_conventions.py"),
    "src/crossent/loss.py": ("property/test_loss.py", "errors", "parity/test_arrays.py"),
    "src/crossent/conventions.py": ("parity/test_conventions.py",),
    "src/crossent/probabilities.py": ("accuracy/test_probabilities.py",),
    **{f"src/crossent/family/{name}.py": _FAMILY for name in ("distance", "divergence", "prediction", "protocol")},
    **{f"src/crossent/family/{name}.py": _FAMILY for name in ("series", "surprise", "symmetric")},
    **{f"src/crossent/simplex/{name}.py": _SIMPLEX for name in ("certificate", "descent", "metrics", "one_form")},
    **{f"src/crossent/simplex/{name}.py": _SIMPLEX for name in ("pairing", "rows", "second_order")},
    "src/crossent/torch/formulas.py": ("adapters/test_pytorch_accuracy.py", "adapters/test_pytorch_options.py"),
    "src/crossent/torch/log_mean.py": ("adapters/test_pytorch_options.py", "adapters/test_pytorch_accuracy.py"),
    "src/crossent/torch/softmax_maps.py": ("adapters",),
}


class Kernels:
    """Builds the module with another header."""

    def __init__(self) -> None:
        base = PLACE / "base"
        # A place of its own: another run may be at work, or have been killed while a header was changed.
        self.place = tempfile.TemporaryDirectory(dir=PLACE)
        if not (base / "build.ninja").exists():
            python = f"-DPython_EXECUTABLE={sys.executable}"
            options = ["-G", "Ninja", "-DCROSSENT_LEVELS=baseline", "-DCMAKE_BUILD_TYPE=Release", python]
            subprocess.run(["cmake", "-S", ROOT, "-B", base, *options], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["ninja", "-C", base], check=True, stdout=subprocess.DEVNULL)
        self.objects = [*(base / "CMakeFiles" / "_native.dir").rglob("*.o"), base / "libnanobind-static.a"]
        shutil.copytree(ROOT / "native", Path(self.place.name) / "native")

    def load(self, file: str, source: str) -> Callable[[], None] | None:
        """Compile; return what makes the module importable, or None for what is no C++."""
        place = Path(self.place.name)
        header, level, library = place / file, place / "level.o", place / "_native.so"
        kept = header.read_text()
        header.write_text(source)
        compiled = _run(["g++", *FLAGS, "-c", place / "native" / "levels" / "baseline.cpp", "-o", level])
        header.write_text(kept)
        if not compiled or not _run(["g++", "-shared", "-fopenmp", level, *self.objects, "-o", library]):
            return None
        return lambda: _import(importlib.util.spec_from_file_location("crossent._native", library))


def _run(command: list[Any]) -> bool:
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


def _import(spec: Any) -> None:
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


class Replaced:
    """Finds one module with other text."""

    def __init__(self, file: str, source: str) -> None:
        self.name, self.source = file.removeprefix("src/").removesuffix(".py").replace("/", "."), source
        self.path = str(ROOT / file)

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        return importlib.util.spec_from_loader(name, self, origin=self.path) if name == self.name else None

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        module.__file__ = self.path
        exec(compile(self.source, self.path, "exec"), module.__dict__)

    def __call__(self) -> None:
        sys.meta_path.insert(0, self)


class FirstFailure:
    """Remembers the test that failed."""

    name = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.name = self.name or report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.name = self.name or f"{report.nodeid} (import)"


def verdict_of(load: Callable[[], None], tests: tuple[str, ...]) -> tuple[str, str]:
    """Run the tests in a forked process; return "killed" and by what, or "survived"."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setpgrp()
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.write(writing, (_failure(load, tests) or "-").encode())
        os._exit(0)
    os.close(writing)
    deadline = time.monotonic() + WALL_SECONDS
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.02)
    end = os.waitstatus_to_exitcode(status[1])
    with os.fdopen(reading, "rb") as answer:
        by = answer.read().decode() or (f"signal {signal.Signals(-end).name}" if end < 0 else f"exit code {end}")
    return ("survived", "") if by == "-" else ("killed", by)


def _failure(load: Callable[[], None], tests: tuple[str, ...]) -> str:
    import pytest

    first = FirstFailure()
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow", "--rootdir", str(ROOT)]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    try:
        load()
        code = pytest.main([*options, *(str(ROOT / "tests" / test) for test in tests)], plugins=[first])
    except BaseException as error:
        return f"{type(error).__name__} at import"
    return first.name or ("" if code == 0 else f"exit code {code}")


class Verdicts:
    """What was found, in a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, {}
        if path.exists():
            with path.open(newline="") as file:
                self.rows = {self.key(row["file"], row): row for row in csv.DictReader(file)}

    @staticmethod
    def key(file: str, found: Any) -> tuple[str, str, str]:
        get = found.get if isinstance(found, dict) else vars(found).get
        return file, get("before"), get("after")

    def add(self, file: str, mutant: Mutant, verdict: str, by: str) -> None:
        row = {"file": file, "line": mutant.line, "before": mutant.before, "after": mutant.after}
        self.rows[self.key(file, mutant)] = row | {"verdict": verdict, "by": by}
        with self.path.with_suffix(".new").open("w", newline="") as out:
            table = csv.DictWriter(out, COLUMNS)
            table.writeheader()
            table.writerows(self.rows.values())
        self.path.with_suffix(".new").replace(self.path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", choices=[*TESTS, []], metavar="FILE", help="all of TESTS by default")
    parser.add_argument("--sample", type=int, default=20, help="mutants of each file, drawn at random; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="judge only the survivors of earlier runs, anew")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no mutant after so long")
    options = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    verdicts, end = Verdicts(PLACE / "verdicts.csv"), time.monotonic() + options.seconds
    files = options.files or list(TESTS)
    for name in WARM + (("torch",) if any("/torch/" in file for file in files) else ()):
        importlib.import_module(name)
    kernels = Kernels() if any(file.startswith("native") for file in files) else None
    for file in files:
        source = (ROOT / file).read_text()
        unchanged = Mutant(0, "unchanged", " ".join(TESTS[file]), source)
        every = list((mutants_of_cpp if file.startswith("native") else mutants_of_python)(source))
        chosen = random.Random(options.seed).sample(every, min(options.sample or len(every), len(every)))
        for mutant in (unchanged, *sorted(every if options.again else chosen, key=lambda mutant: mutant.line)):
            known = verdicts.rows.get(verdicts.key(file, mutant))
            if time.monotonic() > end or (known is None if options.again else known is not None):
                continue
            if options.again and known["verdict"] != "survived":
                continue
            load = kernels.load(file, mutant.source) if file.startswith("native") else Replaced(file, mutant.source)
            verdict, by = ("no code", "") if load is None else verdict_of(load, TESTS[file])
            verdicts.add(file, mutant, verdict, by)
            if mutant is unchanged and verdict != "survived":
                raise SystemExit(f"{file}: its tests fail without a change: {by}")
            if mutant is not unchanged and verdict == "survived":
                print(f"{file}:{mutant.line}\n    {mutant.before}\n    {mutant.after}", flush=True)
        mine = [row for row in verdicts.rows.values() if row["file"] == file and row["before"] != "unchanged"]
        counts = Counter(row["verdict"] for row in mine)
        print(
            f"{file}: {len(every)} mutants;", ", ".join(f"{n} {what}" for what, n in sorted(counts.items())), flush=True
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
