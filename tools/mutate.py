"""Change the formulas one thing at a time, and list the changes that no test notices.

    python tools/mutate.py [FILE ...] [--sample 20] [--seed 0] [--again]

FILE is a header of native/**/kernels or a module of src/crossent, by its path; all files of TESTS otherwise. Of each, a
sample of the mutants that tools/mutants.py makes is judged by the file's tests, until the first of them fails.

The tests are collected once for a file; each mutant is tried in a fork of that process, which may crash or never end.
For a kernel one CPU level is compiled, without optimisation, and its table of functions is written over the loaded one.
For a function of a module its code is replaced. What a module does when it is imported is judged from an import on.
The tests that killed mutants of the file before go first, then the quickest; of a module, only those that call the
changed function.

Verdicts are kept in build/mutants/, a file for each: a run that is stopped goes on where it was. `--again` judges the
survivors anew, after tests were added. docs/explanation/survivors.md says why those that are left change no result.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import gc
import importlib
import importlib.util
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
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
COLUMNS = ("line", "before", "after", "verdict", "by")
FLAGS = ("-std=c++20", "-O0", "-march=x86-64", "-fopenmp-simd", "-ffp-contract=fast", "-fPIC", "-w", "-shared")
LOADER = """
#include <dlfcn.h>
#include <cstring>
#include "job.hpp"
namespace crossent { KernelTable table_baseline; }
extern "C" __attribute__((visibility("default"))) int use_kernels(const char* path) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  void* const table = library ? dlsym(library, "_ZN8crossent14table_baselineE") : nullptr;
  if (table) std::memcpy(&crossent::table_baseline, table, sizeof(crossent::KernelTable));
  return table != nullptr;
}
"""

_LOSS = ("accuracy/test_distributions.py", "accuracy/test_labels.py", "property/test_loss.py")
_LABELS = ("accuracy/test_labels.py", "property/test_loss.py")
_OPTIONS = (
    "property/test_loss.py",
    "gradients/test_options.py",
    "parity/test_pytorch.py",
    "parity/test_conventions.py",
)
_HEAD = ("head/test_head.py", "head/test_sgd.py", "head/test_unbiased.py")
_TRAINING = ("training/test_gradient.py", "training/test_optimizers.py", "training/test_few_classes.py")
_FAMILY = ("family",)
_SIMPLEX = ("simplex", "explain/test_differential.py", "explain/test_boundary.py", "explain/test_other_losses.py")
TESTS: dict[str, tuple[str, ...]] = {
    **{f"native/kernels/{name}.hpp": _LABELS for name in ("label_scalars", "label_rows", "label_tile")},
    **{f"native/kernels/{name}.hpp": _LOSS for name in ("exp_log", "vectors", "floats", "blocks", "distribution_rows")},
    **{f"native/head/kernels/{name}.hpp": _HEAD for name in ("survey", "conclude", "gradient", "thin")},
    **{f"native/training/kernels/{name}.hpp": _TRAINING for name in ("few_classes", "sparse", "steps", "vectors")},
    "src/crossent/reference.py": ("accuracy/test_reference.py", "accuracy/test_labels.py", *_OPTIONS),
    "src/crossent/targets.py": ("property", "errors", "gradients/test_options.py", "parity/test_conventions.py"),
    "src/crossent/loss.py": ("property/test_loss.py", "errors", "parity/test_arrays.py"),
    "src/crossent/conventions.py": ("parity/test_conventions.py",),
    "src/crossent/probabilities.py": ("accuracy/test_probabilities.py",),
    **{f"src/crossent/family/{name}.py": _FAMILY for name in ("distance", "divergence", "prediction", "protocol")},
    **{f"src/crossent/family/{name}.py": _FAMILY for name in ("series", "surprise", "symmetric")},
    **{f"src/crossent/simplex/{name}.py": _SIMPLEX for name in ("certificate", "descent", "metrics", "payment")},
    **{f"src/crossent/simplex/{name}.py": _SIMPLEX for name in ("one_form", "pairing", "rows", "second_order")},
    "src/crossent/torch/formulas.py": ("adapters/test_pytorch_accuracy.py", "adapters/test_pytorch_options.py"),
    "src/crossent/torch/log_mean.py": ("adapters/test_pytorch_options.py", "adapters/test_pytorch_accuracy.py"),
    "src/crossent/torch/softmax_maps.py": ("adapters",),
}


class Kernels:
    """Builds one level of the kernels with another header, and a module that takes it while it runs."""

    def __init__(self) -> None:
        base = PLACE / "base"
        if not (base / "build.ninja").exists():
            python = f"-DPython_EXECUTABLE={sys.executable}"
            options = ["-G", "Ninja", "-DCROSSENT_LEVELS=baseline", "-DCMAKE_BUILD_TYPE=Release", python]
            subprocess.run(["cmake", "-S", ROOT, "-B", base, *options], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["ninja", "-C", base], check=True, stdout=subprocess.DEVNULL)
        # A place of its own: another run may be at work, or have been killed while a header was changed.
        self.own = tempfile.TemporaryDirectory(dir=PLACE)
        self.place = Path(self.own.name)
        shutil.copytree(ROOT / "native", self.place / "native")
        (self.place / "loader.cpp").write_text(LOADER)
        objects = [path for path in base.rglob("*.o") if path.parent.name != "levels"]
        loader = ["g++", *FLAGS, f"-I{ROOT / 'native'}", self.place / "loader.cpp", *objects]
        self.module = self.place / "_native.so"
        subprocess.run([*loader, "-fopenmp", base / "libnanobind-static.a", "-o", self.module], check=True)

    def load(self) -> None:
        """Import the module, with kernels that nothing has changed yet."""
        spec: Any = importlib.util.spec_from_file_location("crossent._native", self.module)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        use = ctypes.CDLL(str(self.module)).use_kernels
        library, compiling = self.compile("", "")
        assert compiling.wait() == 0
        assert use(bytes(library))
        self.use = use
        sys.modules["crossent._native"] = module

    def compile(self, file: str, source: str) -> tuple[Path, subprocess.Popen[bytes]]:
        """Begin to compile the kernels with another text of one header."""
        place = Path(tempfile.mkdtemp(dir=self.place))
        shutil.copytree(self.place / "native", place / "native")
        if file:
            (place / file).write_text(source)
        level, library = place / "native" / "levels" / "baseline.cpp", place / "level.so"
        return library, subprocess.Popen(["g++", *FLAGS, level, "-o", library], stderr=subprocess.DEVNULL)


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


def changed_functions(old: CodeType, new: CodeType) -> list[tuple[CodeType, CodeType]] | None:
    """Pairs of the code of a function, before and after; None where what runs at import has changed."""
    pairs = []
    if not old.co_flags & 1:  # A module's or a class's body: CO_OPTIMIZED marks a function's.
        ours, theirs = ([c for c in code.co_consts if not isinstance(c, CodeType)] for code in (old, new))
        if old.co_code != new.co_code or list(map(repr, ours)) != list(map(repr, theirs)):
            return None
    inner = [[c for c in code.co_consts if isinstance(c, CodeType)] for code in (old, new)]
    if len(inner[0]) != len(inner[1]):
        return [(old, new)] if old.co_flags & 1 else None
    for before, after in zip(*inner, strict=True):
        found = changed_functions(before, after)
        if found is None:
            return None
        pairs += found
    if old.co_flags & 1:
        pairs.append((old, new))
    return pairs


def replace_functions(pairs: list[tuple[CodeType, CodeType]]) -> bool:
    """Give the functions that exist their new code; False where one captures other variables than before."""
    new_code = {(old.co_filename, old.co_qualname, old.co_firstlineno): new for old, new in pairs if old != new}
    for function in gc.get_objects():
        if type(function) is FunctionType:
            code = function.__code__
            new = new_code.get((code.co_filename, code.co_qualname, code.co_firstlineno))
            if new is not None:
                if new.co_freevars != code.co_freevars:
                    return False
                function.__code__ = new
    return True


def in_fork(work: Callable[[], Any], cpu_seconds: float | None) -> Any:
    """What `work` returned in a forked process; the name of a signal, or an exit code, where it returned nothing.

    With a limit, the process says nothing, and is ended after ten times as long by the clock: it may wait for ever.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        if cpu_seconds is not None:
            os.setpgrp()
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds) + 1, int(cpu_seconds) + 5))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
        try:
            answer = work()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        with os.fdopen(writing, "w") as out:
            json.dump(answer, out)
        os._exit(0)
    os.close(writing)
    if cpu_seconds is not None:
        ending = threading.Timer(10 * cpu_seconds, os.killpg, (child, signal.SIGKILL))
        ending.start()
    with os.fdopen(reading) as answered:
        said = answered.read()
    end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if cpu_seconds is not None:
        ending.cancel()
    if said:
        return json.loads(said)
    return signal.Signals(-end).name if end < 0 else f"exit code {end}"


class Drill:
    """A plugin of pytest that runs the collected tests once for each mutant."""

    def __init__(
        self, file: str, mutants: list[Mutant], end: float, verdicts: Verdicts, kernels: Kernels | None
    ) -> None:
        self.file, self.mutants, self.end, self.verdicts, self.kernels = file, mutants, end, verdicts, kernels
        self.failed, self.wrong, self.seconds = "", "", 0.0

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds += report.duration
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_runtestloop(self, session: Any) -> bool:
        items = session.items
        # What the tests of a formula compute once, an oracle's answers, is then there in every fork. After kernels or
        # PyTorch have begun threads here, a fork could wait for them for ever.
        threads = self.kernels or "/torch/" in self.file
        base = in_fork(lambda: self.measured(items), 600) if threads else self.measured(items)
        if session.testsfailed or isinstance(base, str):
            self.wrong = "its tests fail without a change: " + (
                "while they are collected" if session.testsfailed else base
            )
            return True
        self.limit = 20 + 4 * sum(seconds for seconds, _ in base.values())
        (self.judge_kernels if self.kernels else self.judge_functions)(items, base)
        return True

    def measured(self, items: list[Any]) -> dict[str, tuple[float, list[str]]] | str:
        """For each test its seconds and the functions of the module that it calls."""
        path, found = str(ROOT / self.file), {}
        called: set[str] = set()

        def note(frame: Any, event: str, _: Any) -> None:
            if frame.f_code.co_filename == path:
                called.add(frame.f_code.co_qualname)

        for item, following in zip(items, [*items[1:], None], strict=True):
            self.seconds = 0.0
            called.clear()
            if not self.kernels:
                sys.settrace(note)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            sys.settrace(None)
            if self.failed:
                return self.failed
            found[item.nodeid] = (self.seconds, sorted(called))
        return found

    def ordered(self, items: list[Any], base: dict[str, Any]) -> list[Any]:
        kills = Counter(row["by"] for row in self.verdicts.rows.values())
        return sorted(items, key=lambda item: (-kills[item.nodeid], base[item.nodeid][0]))

    def run(self, items: list[Any]) -> str:
        """The first test that fails."""
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                break
        return self.failed

    def judge_functions(self, items: list[Any], base: dict[str, Any]) -> None:
        for mutant in self.mutants:
            pairs = changed_functions(*codes(self.file, mutant))
            if pairs is None or time.monotonic() > self.end:
                continue  # judged from the import on
            changed = [pair for pair in pairs if pair[0].co_code != pair[1].co_code or not same_constants(*pair)]
            names = {before.co_qualname for before, _ in changed}
            chosen = [item for item in self.ordered(items, base) if names.intersection(base[item.nodeid][1])]

            def work(pairs: Any = pairs, chosen: Any = chosen) -> str:
                return self.run(chosen) if replace_functions(pairs) else "left"

            by = in_fork(work, self.limit)
            if by != "left":
                self.verdicts.add(mutant, by, "" if chosen else "no test calls it")

    def judge_kernels(self, items: list[Any], base: dict[str, Any]) -> None:
        """Judge one mutant while the next is compiled."""
        assert self.kernels is not None
        compiling = [self.kernels.compile(self.file, mutant.source) for mutant in self.mutants[:1]]
        for at, mutant in enumerate(self.mutants):
            library, process = compiling.pop()
            compiled = process.wait() == 0
            if time.monotonic() > self.end:
                return
            compiling += [self.kernels.compile(self.file, after.source) for after in self.mutants[at + 1 : at + 2]]
            chosen = self.ordered(items, base)

            def work(library: Path = library, chosen: Any = chosen) -> str:
                return self.run(chosen) if self.kernels.use(bytes(library)) else "cannot be loaded"

            self.verdicts.add(mutant, in_fork(work, self.limit) if compiled else None)
            shutil.rmtree(library.parent)


def codes(file: str, mutant: Mutant) -> tuple[CodeType, CodeType]:
    path = str(ROOT / file)
    return compile((ROOT / file).read_text(), path, "exec"), compile(mutant.source, path, "exec")


def same_constants(one: CodeType, other: CodeType) -> bool:
    return [repr(c) for c in one.co_consts if not isinstance(c, CodeType)] == [
        repr(c) for c in other.co_consts if not isinstance(c, CodeType)
    ] and one.co_names == other.co_names


def run_pytest(tests: tuple[str, ...], *plugins: Any) -> int:
    import pytest

    options = [
        "-x",
        "-qq",
        "-s",
        "--no-header",
        "--no-summary",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-m",
        "not slow",
    ]
    options += ["--rootdir", str(ROOT), "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*options, *(str(ROOT / "tests" / test) for test in tests)], plugins=list(plugins)))


class FirstFailure:
    """Remembers the test that failed."""

    name = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.name = self.name or report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.name = self.name or f"{report.nodeid} (import)"


def judge_from_import(file: str, mutant: Mutant) -> str:
    """The first test that fails in a process which imports the changed module."""
    first = FirstFailure()
    sys.meta_path.insert(0, Replaced(file, mutant.source))  # type: ignore[arg-type]
    code = run_pytest(TESTS[file], first)
    return first.name or ("" if code == 0 else f"exit code {code}")


class Verdicts:
    """What was found of one file's mutants, on disk."""

    def __init__(self, file: str) -> None:
        self.file, self.path = file, PLACE / f"{file.replace('/', '.')}.csv"
        self.rows: dict[tuple[str, str, str], dict[str, str]] = {}
        if self.path.exists():
            with self.path.open(newline="") as rows:
                self.rows = {(row["line"], row["before"], row["after"]): row for row in csv.DictReader(rows)}

    def keep(self, mutants: list[Mutant]) -> Verdicts:
        """Leave out what was found of lines that are others now."""
        here = {self.key(mutant) for mutant in mutants}
        self.rows = {key: row for key, row in self.rows.items() if key in here}
        return self

    def of(self, mutant: Mutant) -> str | None:
        return self.rows.get(self.key(mutant), {}).get("verdict")

    @staticmethod
    def key(mutant: Mutant) -> tuple[str, str, str]:
        return str(mutant.line), mutant.before, mutant.after

    def add(self, mutant: Mutant, by: str | None, why: str = "") -> None:
        """Keep which test failed: none where it is empty, and None for what is no program."""
        verdict = "no code" if by is None else "killed" if by else "survived"
        key = self.key(mutant)
        self.rows[key] = dict(zip(COLUMNS, (*key, verdict, by or why), strict=True))
        with self.path.with_suffix(".new").open("w", newline="") as out:
            table = csv.DictWriter(out, COLUMNS)
            table.writeheader()
            table.writerows(self.rows.values())
        self.path.with_suffix(".new").replace(self.path)
        if verdict == "survived":
            print(f"{self.file}:{mutant.line} {why}\n    {mutant.before}\n    {mutant.after}", flush=True)


def judge(file: str, mutants: list[Mutant], end: float, verdicts: Verdicts, kernels: Kernels | None) -> str:
    """Collect the tests of a file and judge its mutants; return what went wrong, if anything."""
    if kernels:
        kernels.load()
    drill = Drill(file, mutants, end, verdicts, kernels)
    code = run_pytest(TESTS[file], drill)
    return drill.wrong or ("" if code == 0 else f"pytest ended with {code}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", choices=[*TESTS, []], metavar="FILE", help="all of TESTS by default")
    parser.add_argument("--sample", type=int, default=20, help="mutants of each file, drawn at random; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="judge only the survivors of earlier runs, anew")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no mutant after so long")
    options = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    files, end = options.files or list(TESTS), time.monotonic() + options.seconds
    for name in WARM + (("torch",) if any("/torch/" in file for file in files) else ()):
        importlib.import_module(name)
    kernels = Kernels() if any(file.startswith("native") for file in files) else None
    for file in files:
        native, source = file.startswith("native"), (ROOT / file).read_text()
        every = list((mutants_of_cpp if native else mutants_of_python)(source))
        chosen = random.Random(options.seed).sample(every, min(options.sample or len(every), len(every)))
        verdicts = Verdicts(file).keep(every)
        wanted = "survived" if options.again else None
        waiting = [m for m in (every if options.again else chosen) if verdicts.of(m) == wanted]
        waiting.sort(key=lambda mutant: mutant.line)
        at_import = [] if native else [m for m in waiting if changed_functions(*codes(file, m)) is None]
        if waiting and time.monotonic() < end:
            wrong = in_fork(lambda: judge(file, waiting, end, verdicts, kernels if native else None), None)  # noqa: B023
            if wrong:
                raise SystemExit(f"{file}: {wrong}")
        verdicts = Verdicts(file).keep(every)
        for mutant in waiting:
            if mutant in at_import and time.monotonic() < end:
                verdicts.add(mutant, in_fork(lambda: judge_from_import(file, mutant), 300))  # noqa: B023
        counts = Counter(row["verdict"] for row in verdicts.rows.values())
        told = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
        print(f"{file}: {len(every)} mutants; {told}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
