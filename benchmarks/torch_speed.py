"""Time the loss and its backward in PyTorch: crossent.torch beside eager and torch.compile, with peak memory.

    python benchmarks/torch_speed.py [--shapes 60000x10 ...] [--dtype float32 ...] [--threads 2] [--rounds 9]

Each round times every contender once, in turn, after a pause and a call that is not timed (turns.py); a ratio is the
median over rounds of the ratio within a round. Every loss is checked before it is timed. Peak memory is of a process of
its own: the most that loss and backward hold beyond the logits and the labels, in units of the logits (so 1 is one
gradient). The roof of the in-place form is a copy of the logits by PyTorch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from results import Goals, Results, add_options
from rich.console import Console
from rich.table import Table
from torch.nn import functional
from turns import cells, get_ready

import crossent
from crossent.torch import cross_entropy

SHAPES = ((60_000, 10), (65_536, 100), (8_192, 1_000), (2_048, 32_768), (512, 131_072))
DTYPES = ("float32", "bfloat16", "float64")
CONTENDERS = ("crossent", "in place", "eager", "compile")
COPY = "copy"
COLUMNS = {
    "crossent_ms": "crossent ms",
    "in_place_ms": "in place ms",
    "eager_ratio": "eager /",
    "compile_ratio": "compile /",
    "eager_to_in_place": "eager / in place",
    "in_place_to_copy": "in place / copy",
    "crossent_peak": "peak: crossent",
    "in_place_peak": "in place",
    "eager_peak": "eager",
    "compile_peak": "compile",
}
Step = Callable[[], float]


def batch(n: int, classes: int, dtype: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((n, classes), generator=generator).to(getattr(torch, dtype))
    return logits, torch.randint(0, classes, (n,), generator=generator)


def step_of(name: str, logits: torch.Tensor, labels: torch.Tensor) -> Step:
    """Return one loss and backward of a contender; it returns the seconds it took, and leaves its loss behind."""
    leaf = logits.clone().requires_grad_()
    scratch = torch.empty_like(logits)
    bits = torch.int16 if logits.dtype == torch.bfloat16 else logits.dtype
    source, overwritten = logits.view(bits).numpy(), scratch.view(bits).numpy()
    if name == "compile":
        torch._dynamo.reset()
    functions = {"crossent": cross_entropy, "eager": functional.cross_entropy}
    function = functions.get(name) or torch.compile(lambda z, y: functional.cross_entropy(z, y), dynamic=False)

    def step() -> float:
        leaf.grad = None
        start = time.perf_counter()
        loss = function(leaf, labels)
        loss.backward()
        seconds = time.perf_counter() - start
        step.loss = loss.item()  # type: ignore[attr-defined]
        return seconds

    def in_place() -> float:
        # The logits are what a layer gives: not a leaf, new each time, and free to be overwritten.
        # NumPy copies on one thread: those of PyTorch would still wait busily beside what is timed.
        np.copyto(overwritten, source)
        leaf = scratch.detach().requires_grad_()
        z = leaf.view_as(leaf)
        start = time.perf_counter()
        loss = cross_entropy(z, labels, inplace=True)
        torch.autograd.grad(loss, leaf)
        seconds = time.perf_counter() - start
        in_place.loss = loss.item()  # type: ignore[attr-defined]
        return seconds

    return in_place if name == "in place" else step


def times_of(n: int, classes: int, dtype: str, rounds: int) -> dict[str, list[float]]:
    logits, labels = batch(n, classes, dtype)
    steps = {name: step_of(name, logits, labels) for name in CONTENDERS}
    expected = None
    for name, step in steps.items():
        step()
        step()
        expected = step.loss if expected is None else expected  # type: ignore[attr-defined]
        tolerance = 0.02 if dtype == "bfloat16" else 1e-4
        if not abs(step.loss - expected) <= tolerance * expected:  # type: ignore[attr-defined]
            raise AssertionError(f"{name} returns {step.loss} where crossent returns {expected}")  # type: ignore[attr-defined]
    scratch = logits.clone()

    def copy() -> float:
        start = time.perf_counter()
        scratch.copy_(logits)
        return time.perf_counter() - start

    timed = steps | {COPY: copy}
    found: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, step in timed.items():
            get_ready(step)
            found[name].append(step())
    return found


def peak_of(name: str, n: int, classes: int, dtype: str) -> float:
    """Return the peak of a first step in a process of its own, beyond its inputs, in units of the logits."""
    command = [sys.executable, __file__, "--peak", name, str(n), str(classes), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_peak(name: str, n: int, classes: int, dtype: str) -> None:
    warm, warm_labels = batch(64, 8, dtype)
    step_of(name, warm, warm_labels)()
    logits, labels = batch(n, classes, dtype)
    step = step_of(name, logits, labels)
    if name == "in place":
        step()  # its scratch, which stands for the logits, is part of the inputs
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the peak counts from here
    before = _memory("VmRSS")
    step()
    print((_memory("VmHWM") - before) * 1024 / (logits.numel() * logits.itemsize))


def _memory(field: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))


def goals(classes: int, dtype: str) -> Goals:
    large = classes >= 1000
    if dtype == "bfloat16":
        return {"eager_ratio": (">=", 1.5)}
    if dtype == "float64":
        return {}
    found = {"eager_ratio": (">=", 2.5), "compile_ratio": (">=", 1.3 if large else 1.0), "crossent_peak": ("<=", 1.05)}
    return found | ({"eager_to_in_place": (">=", 8.0)} if large else {}) | {"in_place_peak": ("<=", 0.05)}


def row_of(n: int, classes: int, dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    times = times_of(n, classes, dtype, options.rounds)

    def ratio(slower: str, faster: str) -> float:
        return statistics.median(a / b for a, b in zip(times[slower], times[faster]))

    row: dict[str, Any] = {"dtype": dtype, "rows": n, "classes": classes, "rounds": options.rounds}
    row |= {"crossent_ms": 1e3 * statistics.median(times["crossent"])}
    row |= {"in_place_ms": 1e3 * statistics.median(times["in place"])}
    row |= {"copy_ms": 1e3 * statistics.median(times[COPY])}
    row |= {f"{peer}_ratio": ratio(peer, "crossent") for peer in ("eager", "compile")}
    row |= {"eager_to_in_place": ratio("eager", "in place"), "in_place_to_copy": ratio("in place", COPY)}
    if not options.no_memory:
        row |= {f"{name.replace(' ', '_')}_peak": peak_of(name, n, classes, dtype) for name in CONTENDERS}
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["x".join(map(str, shape)) for shape in SHAPES])
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    add_options(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    if options.peak:
        name, n, classes, dtype = options.peak
        print_peak(name, int(n), int(classes), dtype)
        return 0
    console, missed = Console(width=max(150, Console().width)), 0
    results = Results("torch_speed", ("dtype", "rows", "classes", "threads"), options)
    for dtype in options.dtype:
        table = Table(title=f"loss and backward, {dtype}, {options.threads} threads", title_justify="left")
        for heading in ("rows x classes", *COLUMNS.values()):
            table.add_column(heading, justify="right")
        for shape in options.shapes:
            n, classes = map(int, shape.split("x"))
            row = row_of(n, classes, dtype, options)
            aims = {name: goal for name, goal in goals(classes, dtype).items() if name in row}
            roof = "a copy of the logits (in place)", row["in_place_to_copy"]
            short = results.keep(row, threads=options.threads, goals=aims, roof=roof)
            missed += len(short)
            table.add_row(f"{n} x {classes}", *cells(row, COLUMNS, aims, short))
        console.print(table)
    console.print(f"crossent {crossent.__version__} ({crossent.cpu_level()}), torch {torch.__version__}")
    console.print("every goal reached" if not missed else f"{missed} goals missed (in red)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
