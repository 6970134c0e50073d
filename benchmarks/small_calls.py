"""Time one call on few rows, as it is made in a loop: crossent, PyTorch eager and SciPy's log_softmax, alternately.

    python benchmarks/small_calls.py [--rounds 300] [--threads 1]

Here the arithmetic takes less time than the call around it. The loss alone is compared with SciPy's log_softmax and the
mean of the labels' entries; the loss and its gradient with PyTorch's forward and backward. A time is the median over
rounds of a burst of calls, and every loss is checked first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from results import Results, add_options
from rich.console import Console
from rich.table import Table
from scipy.special import log_softmax

import crossent

SHAPES = ((1, 10), (64, 10), (128, 1_000))
BURST = 20


def contenders(n: int, classes: int, threads: int) -> dict[str, Callable[[], float]]:
    """Return what is timed for one shape, by name: each call returns the mean loss."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((n, classes), np.float32)
    labels = rng.integers(0, classes, n)
    rows = np.arange(n)
    found: dict[str, Callable[[], float]] = {
        "loss": lambda: crossent.cross_entropy(logits, labels, n_threads=threads),
        "SciPy": lambda: -log_softmax(logits, axis=1)[rows, labels].mean(),
        "loss and gradient": lambda: crossent.cross_entropy_and_grad(logits, labels, n_threads=threads).loss,
    }
    try:
        import torch
    except ImportError:
        return found
    torch.set_num_threads(threads)
    tensor = torch.from_numpy(logits.copy()).requires_grad_()
    target = torch.from_numpy(labels)

    def eager() -> float:
        tensor.grad = None
        loss = torch.nn.functional.cross_entropy(tensor, target)
        loss.backward()
        return loss.item()

    return found | {"eager": eager}


def microseconds(run: Callable[[], float]) -> float:
    run()
    start = time.perf_counter()
    for _ in range(BURST):
        run()
    return 1e6 * (time.perf_counter() - start) / BURST


def measure(n: int, classes: int, threads: int, rounds: int) -> dict[str, list[float]]:
    """Return microseconds per call of each contender in each round, after checking that they agree."""
    found = contenders(n, classes, threads)
    expected = found["loss"]()
    for name, run in found.items():
        if not abs(run() - expected) <= 1e-5 * expected:
            raise AssertionError(f"{name} returns {run()} where crossent returns {expected}")
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, run in found.items():
            times[name].append(microseconds(run))
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    add_options(parser)
    options = parser.parse_args()
    results = Results("small_calls", ("rows", "classes", "threads"), options)
    table = Table(title=f"microseconds per call, float32, {options.threads} thread(s)", title_justify="left")
    columns = ("loss", "SciPy", "loss and gradient", "eager", "SciPy / loss", "eager / loss and gradient")
    for column in ("rows x classes", *columns):
        table.add_column(column, justify="right")
    for n, classes in SHAPES:
        times = measure(n, classes, options.threads, options.rounds)
        row: dict[str, float] = {"rows": n, "classes": classes}
        row |= {f"{name.replace(' ', '_').lower()}_us": statistics.median(each) for name, each in times.items()}
        for peer, ours in (("SciPy", "loss"), ("eager", "loss and gradient")):
            if peer in times:
                row[f"{peer.lower()}_ratio"] = statistics.median(a / b for a, b in zip(times[peer], times[ours]))
        results.keep(row, threads=options.threads)
        cells = [f"{value:.2f}" for name, value in row.items() if name not in ("rows", "classes")]
        table.add_row(f"{n} x {classes}", *cells)
    Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
