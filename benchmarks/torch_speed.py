"""Time the loss and its backward in PyTorch: crossent.torch beside eager and torch.compile, with peak memory.

    python benchmarks/torch_speed.py [--shapes 60000x10 ...] [--dtype float32 ...] [--threads 2] [--rounds 9]

Each round times every contender once, in turn; a ratio is the median over rounds of the ratio within a round. Every
loss is checked before it is timed. Peak memory is of a process of its own: the most that loss and backward hold beyond
the logits and the labels, in units of the logits (so 1 is one gradient).
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

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

import crossent
from crossent.torch import cross_entropy

SHAPES = ((60_000, 10), (65_536, 100), (8_192, 1_000), (2_048, 32_768), (512, 131_072))
DTYPES = ("float32", "bfloat16", "float64")
CONTENDERS = ("crossent", "in place", "eager", "compile")
Step = Callable[[], float]


def batch(n: int, classes: int, dtype: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((n, classes), generator=generator).to(getattr(torch, dtype))
    return logits, torch.randint(0, classes, (n,), generator=generator)


def step_of(name: str, logits: torch.Tensor, labels: torch.Tensor) -> Step:
    """Return one loss and backward of a contender; it returns the seconds it took, and leaves its loss behind."""
    leaf = logits.clone().requires_grad_()
    scratch = torch.empty_like(logits)
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
        leaf = scratch.copy_(logits).detach().requires_grad_()
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
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
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


def goals(classes: int, dtype: str) -> dict[tuple[str, str], float]:
    large = classes >= 1000
    if dtype == "bfloat16":
        return {("eager", "crossent"): 1.5}
    if dtype == "float64":
        return {}
    return {
        ("eager", "crossent"): 2.5,
        ("compile", "crossent"): 1.3 if large else 1.0,
        ("eager", "in place"): 8.0 if large else 0.0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["x".join(map(str, shape)) for shape in SHAPES])
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    if options.peak:
        name, n, classes, dtype = options.peak
        print_peak(name, int(n), int(classes), dtype)
        return 0
    console, missed = Console(width=max(140, Console().width)), 0
    for dtype in options.dtype:
        table = Table(title=f"loss and backward, {dtype}, {options.threads} threads", title_justify="left")
        headings = ("rows x classes", "crossent ms", "in place ms", "eager /", "compile /", "eager / in place")
        for heading in (*headings, "peak: crossent", "in place", "eager", "compile"):
            table.add_column(heading, justify="right")
        for shape in options.shapes:
            n, classes = map(int, shape.split("x"))
            times = times_of(n, classes, dtype, options.rounds)
            cells = [f"{1e3 * statistics.median(times[name]):.2f}" for name in CONTENDERS[:2]]
            for pair in (("eager", "crossent"), ("compile", "crossent"), ("eager", "in place")):
                ratio = statistics.median(a / b for a, b in zip(times[pair[0]], times[pair[1]]))
                goal = goals(classes, dtype).get(pair, 0.0)
                missed += ratio < goal
                cells.append(f"{ratio:.2f}" if ratio >= goal else f"[red]{ratio:.2f} (goal {goal})[/red]")
            if not options.no_memory:
                cells += [f"{peak_of(name, n, classes, dtype):.2f}" for name in CONTENDERS]
            table.add_row(f"{n} x {classes}", *cells)
        console.print(table)
    console.print(f"crossent {crossent.__version__} ({crossent.cpu_level()}), torch {torch.__version__}")
    console.print("every goal reached" if not missed else f"{missed} goals missed (in red)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
