"""Time cross-entropy and its gradient beside PyTorch, torch.compile and scikit-learn, in one process, alternately.

    python benchmarks/loss_speed.py [--shapes 60000x10 ...] [--dtype float32 ...] [--threads 2]

Every contender computes the mean loss and its gradient with respect to the logits; its loss is checked before it is
timed. Each round times all of them once, in turn; a ratio is the median over rounds of the ratio within a round, so
that a machine that slows down for a while slows both sides. The roof of the in-place form is a copy of the logits
(numpy.copyto, one thread): reading and writing that memory once is the least that a gradient costs.
A pause, and a call that is not timed, come before each (turns.py).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)  # they slow NumPy's and SciPy's current builds down

import ml_dtypes
import numpy as np
from results import Goals, Results, add_options
from rich.console import Console
from rich.table import Table
from turns import cells, get_ready

import crossent

SHAPES = ((60_000, 10), (65_536, 100), (8_192, 1_000), (2_048, 32_768), (512, 131_072))
DTYPES = {"float32": np.float32, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16}
COPY = "copy"
PEERS = ("eager", "compile", "scikit-learn")
COLUMNS = {
    "crossent_ms": "crossent ms",
    "in_place_ms": "in place ms",
    "copy_ms": "copy ms",
    "eager_ratio": "eager /",
    "compile_ratio": "compile /",
    "scikit_learn_ratio": "scikit-learn /",
    "eager_to_in_place": "eager / in place",
    "in_place_to_copy": "in place / copy",
}
Row = dict[str, Any]
Contender = Callable[[], float]


def contenders(n: int, classes: int, dtype: str, threads: int) -> dict[str, Contender]:
    """Return what is timed for one shape, by name: each call returns the mean loss."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((n, classes), np.float32).astype(DTYPES[dtype])
    labels = rng.integers(0, classes, n)
    scratch = logits.copy()

    def ours() -> float:
        return float(crossent.cross_entropy_and_grad(logits, labels, n_threads=threads).loss)

    def in_place() -> float:
        np.copyto(scratch, logits)
        start = time.perf_counter()
        loss = crossent.cross_entropy_and_grad(scratch, labels, out=scratch, n_threads=threads).loss
        in_place.seconds = time.perf_counter() - start  # type: ignore[attr-defined]
        return float(loss)

    def copy() -> float:
        np.copyto(scratch, logits)
        return float("nan")

    found: dict[str, Contender] = {"crossent": ours, "in place": in_place, COPY: copy}
    found |= torch_contenders(logits, labels, dtype, threads)
    if dtype != "bfloat16":
        found |= sklearn_contender(logits, labels, threads)
    return found


def torch_contenders(logits: np.ndarray, labels: np.ndarray, dtype: str, threads: int) -> dict[str, Contender]:
    try:
        import torch
        from torch.nn import functional
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    storage = logits.view(np.int16) if dtype == "bfloat16" else logits
    tensor = torch.from_numpy(storage.copy())
    tensor = (tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor).requires_grad_()
    target = torch.from_numpy(labels)

    def step(function: Callable[..., torch.Tensor]) -> float:
        tensor.grad = None
        loss = function(tensor, target)
        loss.backward()
        return loss.item()

    torch._dynamo.reset()
    compiled = torch.compile(lambda z, y: functional.cross_entropy(z, y), dynamic=False)
    found = {"eager": lambda: step(functional.cross_entropy)}
    try:
        step(compiled)
    except Exception as error:  # no compiler, no headers: the column says so
        print(f"torch.compile is not available here: {str(error).splitlines()[0]}", file=sys.stderr)
    else:
        found["compile"] = lambda: step(compiled)
    return found


def sklearn_contender(logits: np.ndarray, labels: np.ndarray, threads: int) -> dict[str, Contender]:
    try:
        from sklearn._loss import HalfMultinomialLoss
    except ImportError:
        return {}
    loss = HalfMultinomialLoss(n_classes=logits.shape[1])
    targets = labels.astype(logits.dtype)

    def run() -> float:
        values, _ = loss.loss_gradient(targets, logits, n_threads=threads)
        return float(values.mean(dtype=np.float64))

    return {"scikit-learn": run}


def seconds_of(run: Contender) -> float:
    get_ready(run)
    start = time.perf_counter()
    run()
    elapsed = time.perf_counter() - start
    # The in-place form must be given its logits anew each time, which is not part of it.
    return getattr(run, "seconds", elapsed)


def measure(n: int, classes: int, dtype: str, threads: int, rounds: int) -> dict[str, list[float]]:
    """Return seconds of each contender in each round, after checking that all of them agree on the loss."""
    found = contenders(n, classes, dtype, threads)
    expected = found["crossent"]()
    tolerance = 0.02 if dtype == "bfloat16" else 1e-4
    for name, run in found.items():
        loss = run()
        if name != COPY and not abs(loss - expected) <= tolerance * abs(expected):
            raise AssertionError(f"{name} returns {loss} where crossent returns {expected}")
    return {name: list(times) for name, times in zip(found, zip(*(_round(found) for _ in range(rounds))))}


def _round(found: dict[str, Contender]) -> list[float]:
    return [seconds_of(run) for run in found.values()]


def ratio(slower: list[float], faster: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slower, faster))


def ratios_of(times: dict[str, list[float]]) -> dict[str, float]:
    """Return each peer's time / ours, and ours in place / the copy's."""
    found = {f"{column_of(peer)}_ratio": ratio(times[peer], times["crossent"]) for peer in PEERS if peer in times}
    if "eager" in times:
        found["eager_to_in_place"] = ratio(times["eager"], times["in place"])
    return found | {"in_place_to_copy": ratio(times["in place"], times[COPY])}


def goals(classes: int, dtype: str) -> Goals:
    """Return the goals of a shape; only float32 has any."""
    if dtype != "float32":
        return {}
    large = classes >= 1000
    found: dict[str, tuple[str, float]] = {
        "eager_ratio": (">=", 3.0),
        "compile_ratio": (">=", 1.3 if large else 1.0),
        "scikit_learn_ratio": (">=", 4.0),
    }
    return found | ({"eager_to_in_place": (">=", 9.0), "in_place_to_copy": ("<=", 1.4)} if large else {})


def column_of(name: str) -> str:
    return name.replace(" ", "_").replace("-", "_")


def row_of(n: int, classes: int, dtype: str, times: dict[str, list[float]]) -> Row:
    shown = {f"{column_of(name)}_ms": 1e3 * statistics.median(times[name]) for name in ("crossent", "in place", COPY)}
    return {"dtype": dtype, "rows": n, "classes": classes, "rounds": len(times[COPY])} | shown | ratios_of(times)


def versions() -> str:
    found = [f"crossent {crossent.__version__} ({crossent.cpu_level()})", f"numpy {np.__version__}"]
    for name in ("torch", "sklearn"):
        if name in sys.modules:
            found.append(f"{name} {sys.modules[name].__version__}")
    return ", ".join(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["x".join(map(str, shape)) for shape in SHAPES])
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, help="21 for small shapes and 9 for large ones where not given")
    add_options(parser)
    options = parser.parse_args()
    results = Results("loss_speed", ("dtype", "rows", "classes", "threads"), options)
    console, missed = Console(width=max(150, Console().width)), 0
    for dtype in options.dtype:
        table = Table(title=f"loss and gradient, {dtype}, {options.threads} threads", title_justify="left")
        for column in ("rows x classes", *COLUMNS.values()):
            table.add_column(column, justify="right")
        for shape in options.shapes:
            n, classes = map(int, shape.split("x"))
            rounds = options.rounds or (21 if n * classes < 1e7 else 9)
            row = row_of(n, classes, dtype, measure(n, classes, dtype, options.threads, rounds))
            aims = {name: goal for name, goal in goals(classes, dtype).items() if name in row}
            roof = "a copy of the logits (in place)", row["in_place_to_copy"]
            short = results.keep(row, threads=options.threads, goals=aims, roof=roof)
            missed += len(short)
            table.add_row(f"{n} x {classes}", *cells(row, COLUMNS, aims, short))
        console.print(table)
    console.print("Columns with '/' are that peer's time divided by crossent's (new output arrays).", versions())
    console.print("every goal reached" if not missed else f"{missed} goals missed (in red)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
