"""Worst error in ulp of cross-entropy and its gradient, of crossent at each CPU level and of its peers.

Every program gets the same logits in the same process, and is judged against the exact values of those logits: NumPy's
extended precision, which this run checks against 60 digits of mpmath on rows of every family and number of classes.

    python benchmarks/accuracy.py            all of it, about a minute
    python benchmarks/accuracy.py --quick    fewer rows, at most 1000 classes

Exits with 1 if crossent breaks its promise at any level.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import Results, add_options
from rich.console import Console
from rich.table import Table

import crossent
import crossent.cpu

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from families import DTYPES, FLOAT16, FLOAT32, FLOAT64, Family, families
from judge import PROMISES, Errors, measure
from oracle import Exact, disagreement, exact_labels, mpmath_label_row

ROWS = {2: 40, 3: 40, 10: 40, 100: 20, 1000: 6, 100_000: 1, 1_000_000: 1}
QUICK_ROWS = {2: 10, 3: 10, 10: 10, 100: 5, 1000: 1}
# The families that a million classes are judged on: long sums of every shape, without an hour of them.
LONGEST = ("normal, scale 1", "normal, scale 10", "right by 20", "right by 80", "near-equal 1e-3", "all equal")
# Rows of more classes are checked against 60 digits in one family only.
EXACT_CLASSES = 1000
# What the two oracles may differ by, relatively: a hundredth of an ulp of float64.
AGREEMENT = 4e-18

Result = tuple[NDArray[Any], NDArray[Any]]
Program = Callable[[NDArray[Any], NDArray[np.int64]], Result]


def run_crossent(level: str, z: NDArray[Any], label: NDArray[np.int64]) -> Result:
    with crossent.cpu.use_level(level):
        return crossent.cross_entropy_and_grad(z, label, reduction="none")


def run_pytorch(z: NDArray[Any], label: NDArray[np.int64]) -> Result:
    import torch

    torch.set_num_threads(1)  # its threads and crossent's would wait for each other's cores
    sixteen = z.dtype.itemsize == 2 and z.dtype != FLOAT16
    logits = torch.from_numpy(z.view(np.int16)).view(torch.bfloat16) if sixteen else torch.from_numpy(z)
    logits = logits.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(label), reduction="none")
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    loss = loss.detach()
    if sixteen:
        return loss.view(torch.int16).numpy().view(z.dtype), grad.view(torch.int16).numpy().view(z.dtype)
    return loss.numpy(), grad.numpy()


def run_scipy(z: NDArray[Any], label: NDArray[np.int64]) -> Result:
    from scipy.special import log_softmax

    log_probs = log_softmax(z, axis=1)
    rows = np.arange(len(z))
    grad = np.exp(log_probs)
    grad[rows, label] -= 1
    return -log_probs[rows, label], grad


def run_sklearn(z: NDArray[Any], label: NDArray[np.int64]) -> Result:
    from sklearn._loss import HalfMultinomialLoss

    loss = HalfMultinomialLoss(n_classes=z.shape[1])
    losses, grad = loss.loss_gradient(label.astype(z.dtype), z, n_threads=2)
    return losses, grad


def programs(console: Console) -> dict[str, tuple[Program, tuple[Any, ...]]]:
    """Return what to judge, by name with its version, and the dtypes that it takes."""
    found: dict[str, tuple[Program, tuple[Any, ...]]] = {
        f"crossent {level}": (partial(run_crossent, level), DTYPES) for level in crossent.cpu_levels()
    }
    peers = {
        "torch": (run_pytorch, DTYPES),
        "scipy": (run_scipy, (FLOAT32, FLOAT64)),
        "scikit-learn": (run_sklearn, (FLOAT32, FLOAT64)),
    }
    for name, peer in peers.items():
        try:
            found[f"{name} {importlib.metadata.version(name)}"] = peer
        except importlib.metadata.PackageNotFoundError:
            console.print(f"{name} is not installed: left out")
    return found


def oracle_error(family: Family, exact: Exact) -> float:
    """Return the largest relative difference of the two oracles on the family's first row."""
    loss, grad = mpmath_label_row(family.logits[0], int(family.label[0]))
    return max(disagreement(exact.loss[0], [loss]), disagreement(exact.grad[0], grad))


class Judged:
    """The worst errors of each program, by dtype and by family or number of classes."""

    def __init__(self) -> None:
        self.by_family: dict[tuple[Any, str], dict[str, Errors]] = {}
        self.by_classes: dict[tuple[Any, int], dict[str, Errors]] = {}
        self.oracle = 0.0
        self.oracle_rows = 0
        self.rows = 0

    def add(self, dtype: Any, classes: int, family: Family, found: dict[str, tuple[Program, tuple[Any, ...]]]) -> None:
        exact = exact_labels(family.logits, family.label)
        if classes <= EXACT_CLASSES or (dtype == FLOAT64 and classes <= 100_000 and family.name == "normal, scale 10"):
            self.oracle = max(self.oracle, oracle_error(family, exact))
            self.oracle_rows += 1
        self.rows += len(family.label)
        for name, (program, dtypes) in found.items():
            if dtype not in dtypes:
                continue
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                errors = measure(*program(family.logits, family.label), family.label, exact)
            for worst in (
                self.by_family.setdefault((dtype, family.name), {}),
                self.by_classes.setdefault((dtype, classes), {}),
            ):
                worst[name] = worst.get(name, Errors()) | errors

    def total(self, dtype: Any, name: str) -> Errors:
        """Return the worst of all families of a dtype."""
        worst = Errors()
        for (of, _), errors in self.by_classes.items():
            if of == dtype:
                worst = worst | errors[name]
        return worst


def judge(found: dict[str, tuple[Program, tuple[Any, ...]]], *, quick: bool, seed: int) -> Judged:
    judged = Judged()
    for dtype in DTYPES:
        for classes, n in (QUICK_ROWS if quick else ROWS).items():
            for family in families(dtype, n, classes, np.random.default_rng(seed)):
                if classes < 1_000_000 or family.name in LONGEST:
                    judged.add(dtype, classes, family, found)
    return judged


def number(x: float) -> str:
    return f"{x:.1f}" if x < 100 else f"{x:.0e}".replace("e+0", "e").replace("e+", "e")


def cell(errors: Errors | None) -> str:
    if errors is None:
        return "–"
    text = "/".join(number(x) for x in (errors.loss, errors.target, errors.others))
    return f"{text} Z{errors.false_zeros}" if errors.false_zeros else text


def error_table(title: str, first: str, lines: dict[str, dict[str, Errors]]) -> Table:
    names = list(dict.fromkeys(name for errors in lines.values() for name in errors))
    table = Table(first, *names, title=title, title_justify="left")
    for line, errors in lines.items():
        table.add_row(line, *(cell(errors.get(name)) for name in names))
    return table


def promise_table(judged: Judged) -> tuple[Table, bool]:
    table = Table(
        *("dtype", "level", "loss", "target", "others", "subnormal", "row sum", "false zeros", ""),
        title="The promise, and what was found (ulp)",
        title_justify="left",
    )
    kept = True
    for dtype in DTYPES:
        promise = PROMISES[dtype]
        for level in crossent.cpu_levels():
            errors = judged.total(dtype, f"crossent {level}")
            broken = promise.broken(errors)
            kept = kept and not broken
            entries = [
                f"{getattr(errors, name):.2f} ≤ {getattr(promise, name):g}"
                for name in ("loss", "target", "others", "subnormal", "row_sum")
            ]
            verdict = "PASS" if not broken else "FAIL: " + ", ".join(broken)
            table.add_row(dtype.name, level, *entries, f"{errors.false_zeros} ≤ 0", verdict)
    return table, kept


def keep(judged: Judged, names: list[str], results: Results) -> None:
    """Keep the worst errors by family, by number of classes and of all, of each program and of all our levels."""
    cases = [(dtype, "family", name, found) for (dtype, name), found in judged.by_family.items()]
    cases += [(dtype, "classes", n, found) for (dtype, n), found in judged.by_classes.items()]
    cases += [(dtype, "all", "all", _totals(judged, dtype, names)) for dtype in DTYPES]
    for dtype, over, case, found in cases:
        ours = [errors for name, errors in found.items() if name.startswith("crossent")]
        for name, errors in {**found, "crossent, every level": reduce(or_, ours)}.items():
            row: dict[str, object] = {"dtype": dtype.name, "over": over, "case": case, "program": _unversioned(name)}
            row |= asdict(errors) | {"judged": judged.rows}
            promise = asdict(PROMISES[dtype]) if name.startswith("crossent") else {}
            row |= {f"promised_{k}": most for k, most in promise.items() if most < np.inf}
            results.keep(row, threads=1, goals={k: ("<=", most) for k, most in promise.items() if most < np.inf})


def _totals(judged: Judged, dtype: Any, names: list[str]) -> dict[str, Errors]:
    there = {name for (of, _), found in judged.by_classes.items() if of == dtype for name in found}
    return {name: judged.total(dtype, name) for name in names if name in there}


def _unversioned(name: str) -> str:
    """Return the name that the row is kept under: versions have columns of their own."""
    return name if name.startswith("crossent") else name.split(" ")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer rows, at most 1000 classes")
    parser.add_argument("--seed", type=int, default=1)
    add_options(parser)
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 200)
    start = time.perf_counter()
    found = programs(console)
    judged = judge(found, quick=arguments.quick, seed=arguments.seed)
    console.print("Each cell: worst error in ulp of loss/target entry/other entries where the exact value is normal;")
    console.print("Zn: n losses and target entries that are 0 though the dtype holds their exact value.")
    console.print("inf: a NaN, or an infinity where the exact value is finite.\n")
    for dtype in DTYPES:
        by_family = {name: errors for (of, name), errors in judged.by_family.items() if of == dtype}
        by_classes = {f"{classes:,}": errors for (of, classes), errors in judged.by_classes.items() if of == dtype}
        console.print(error_table(f"{dtype.name}, worst over all numbers of classes", "logits", by_family))
        console.print(error_table(f"{dtype.name}, worst over all families", "classes", by_classes))
    with Results("accuracy", ("dtype", "over", "case", "program"), arguments, timed=False) as results:
        keep(judged, list(found), results)
    table, kept = promise_table(judged)
    console.print(table)
    console.print(f"{judged.rows} rows in {time.perf_counter() - start:.0f} s, seed {arguments.seed}")
    console.print(f"oracle: off by {judged.oracle:.1e} (relative) from 60 digits, on {judged.oracle_rows} rows")
    if judged.oracle > AGREEMENT:
        console.print(f"FAIL: the oracles differ by more than {AGREEMENT:g}")
    return 0 if kept and judged.oracle <= AGREEMENT else 1


if __name__ == "__main__":
    sys.exit(main())
