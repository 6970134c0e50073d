"""Time a head's loss and gradients beside PyTorch's, with the matrix products alone as the roof, and peak memory.

    python benchmarks/head_speed.py [--shapes 4096x512x32000 ...] [--threads 2] [--rounds 3] [--peers eager compile ...]

Each round times every contender once, in turn; a ratio is the median over rounds of the ratio within a round. Losses
are compared before anything is printed. The roof is the three products of the same sizes by NumPy and by PyTorch,
whichever is faster in this run. Memory is the most that one pass of a process of its own holds beyond x, weight and
their gradients. "unbiased" rows are of a head fitted to labels that its features tell.
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

# Settings of a BLAS's CPU, tuned for one program, would slow down the other.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)

import numpy as np
import torch
from results import Results, add_options
from rich.console import Console
from rich.table import Table
from torch.nn import functional

import crossent

SHAPES = ("4096x512x32000", "1024x512x32000", "8192x64x100000", "4096x512x131072:unbiased")
PEERS = ("eager", "compile", "chunked", "chunked 256")
GOALS = {
    "4096x512x32000": {"eager_ratio": (">=", 0.95), "crossent_mib": ("<=", 64.0)},
    "1024x512x32000": {"eager_ratio": (">=", 1.0), "chunked_ratio": (">=", 4.0)},
    "8192x64x100000": {"eager_ratio": (">=", 1.5)},
    "4096x512x131072:unbiased": {"eager_ratio": (">=", 2.0)},
}
Step = Callable[[], float]


def batch(n: int, d: int, classes: int, fitted: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, weight and labels; a fitted head's labels are near their own classes' weights."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((classes, d), dtype=np.float32)
    labels = rng.integers(0, classes, n)
    x = rng.standard_normal((n, d), dtype=np.float32)
    if fitted:
        x += np.float32(0.22) * weight[labels]  # a loss of two or three nats
    weight *= np.float32(0.5 if fitted else 2.0) * np.float32(d**-0.5) * (6 if fitted else 1)
    return x, weight, labels


def step_of(name: str, data: tuple[np.ndarray, ...], options: argparse.Namespace, gradient: str) -> Step:
    """Return one loss with both gradients; it returns the seconds it took, and leaves its loss behind."""
    x, weight, labels = data
    if name == "crossent":

        def ours() -> float:
            start = time.perf_counter()
            found = crossent.linear_cross_entropy(
                x, weight, labels, gradient=gradient, max_memory=options.max_memory, n_threads=options.threads
            )
            seconds = time.perf_counter() - start
            ours.loss = float(found.loss)  # type: ignore[attr-defined]
            return seconds

        return ours
    leaves = [torch.from_numpy(array).requires_grad_() for array in (x, weight)]
    y = torch.from_numpy(labels)
    function = torch_loss(name)

    def theirs() -> float:
        for leaf in leaves:
            leaf.grad = None
        start = time.perf_counter()
        loss = function(*leaves, y)
        loss.backward()
        seconds = time.perf_counter() - start
        theirs.loss = loss.item()  # type: ignore[attr-defined]
        return seconds

    return theirs


def torch_loss(name: str) -> Callable[..., torch.Tensor]:
    def unfused(x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(x @ weight.T, y)

    if name == "eager":
        return unfused
    if name == "compile":
        return torch.compile(unfused, dynamic=False)
    size = {"batch_chunk_size": 256} if name == "chunked 256" else {}
    chunked = torch.nn.LinearCrossEntropyOptions(**size)
    return lambda x, weight, y: functional.linear_cross_entropy(x, weight, y, options=chunked)


def roof_of(data: tuple[np.ndarray, ...]) -> Step:
    """Return the three products alone, of a quarter of the rows at a time so that their result fits."""
    x, weight, _ = data
    rows = min(512, len(x))
    part, z, grad = x[:rows], np.ones((rows, len(weight)), np.float32), np.empty_like(weight)
    p, w, t, g = (torch.from_numpy(array) for array in (part, weight, z, grad))
    x_grad = torch.empty_like(p)

    def by_numpy() -> None:
        np.matmul(part, weight.T, out=z)
        np.matmul(z.T, part, out=grad)
        np.matmul(z, weight)

    def by_torch() -> None:
        torch.mm(p, w.T, out=t)
        torch.mm(t.T, p, out=g)
        torch.mm(t, w, out=x_grad)

    def seconds(products: Callable[[], None]) -> float:
        start = time.perf_counter()
        products()
        return (time.perf_counter() - start) * len(x) / rows

    return lambda: min(seconds(by_numpy), seconds(by_torch))


def times_of(
    data: tuple[np.ndarray, ...], options: argparse.Namespace, gradient: str
) -> tuple[dict[str, list[float]], float]:
    steps = {name: step_of(name, data, options, gradient) for name in ("crossent", *options.peers)}
    roof = roof_of(data)
    for step in (*steps.values(), roof):
        step()
    expected = steps["crossent"].loss  # type: ignore[attr-defined]
    for name, step in steps.items():
        if not abs(step.loss - expected) <= 1e-4 * abs(expected):  # type: ignore[attr-defined]
            raise AssertionError(f"{name} returns {step.loss} where crossent returns {expected}")  # type: ignore[attr-defined]
    found: dict[str, list[float]] = {name: [] for name in (*steps, "roof")}
    for _ in range(options.rounds):
        for name, step in steps.items():
            found[name].append(step())
        found["roof"].append(roof())
    return found, expected


def ratio(slower: list[float], faster: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slower, faster))


def ratio_of(peer: str) -> str:
    """Return the name of the column of a peer's seconds / ours."""
    return f"{peer.replace(' ', '_')}_ratio"


def peak_of(name: str, shape: str, options: argparse.Namespace) -> float:
    """Return the MiB that a process of its own holds in one pass beyond its inputs and gradients."""
    command = [sys.executable, __file__, "--peak", name, shape, "--threads", str(options.threads)]
    command += ["--max-memory", options.max_memory]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def print_peak(name: str, shape: str, options: argparse.Namespace) -> None:
    step_of(name, batch(8, 8, 8, False), options, "exact")()
    n, d, classes, gradient = parsed(shape)
    data = batch(n, d, classes, gradient == "unbiased")
    step = step_of(name, data, options, gradient)
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the peak counts from here
    before = _memory("VmRSS")
    step()
    print((_memory("VmHWM") - before) / 1024 - (data[0].nbytes + data[1].nbytes) / (1 << 20))


def _memory(field: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))


def parsed(shape: str) -> tuple[int, int, int, str]:
    sizes, _, gradient = shape.partition(":")
    n, d, classes = map(int, sizes.split("x"))
    return n, d, classes, gradient or "exact"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-memory", default="64MiB")
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    add_options(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    if options.peak:
        print_peak(*options.peak, options)
        return 0
    table = Table(title=f"a head's loss and gradients, float32, {options.threads} threads", title_justify="left")
    for heading in ("rows x features x classes", "loss", "crossent s", "/ roof", *(f"{p} /" for p in options.peers)):
        table.add_column(heading, justify="right")
    for name in () if options.no_memory else ("crossent", "eager"):
        table.add_column(f"{name} +MiB", justify="right")
    results = Results("head_speed", ("rows", "features", "classes", "dtype", "gradient", "threads"), options)
    for shape in options.shapes:
        n, d, classes, gradient = parsed(shape)
        times, loss = times_of(batch(n, d, classes, gradient == "unbiased"), options, gradient)
        memory = () if options.no_memory else ("crossent", "eager")
        row: dict[str, object] = {"rows": n, "features": d, "classes": classes, "dtype": "float32"}
        row |= {"gradient": gradient, "loss": loss, "crossent_s": statistics.median(times["crossent"])}
        row |= {ratio_of(peer): ratio(times[peer], times["crossent"]) for peer in options.peers}
        row |= {f"{name}_mib": peak_of(name, shape, options) for name in memory}
        goals = {column: goal for column, goal in GOALS[shape].items() if column in row} if shape in GOALS else {}
        to_roof = ratio(times["crossent"], times["roof"])
        results.keep(row, threads=options.threads, goals=goals, roof=("three matrix products", to_roof))
        cells = [shape, f"{loss:.3f}", f"{row['crossent_s']:.2f}", f"{to_roof:.2f}"]
        cells += [f"{row[ratio_of(peer)]:.2f}" for peer in options.peers]
        cells += [f"{row[f'{name}_mib']:.0f}" for name in memory]
        table.add_row(*cells)
    Console(width=max(150, Console().width)).print(table)
    print(
        f"crossent {crossent.__version__} ({crossent.cpu_level()}), torch {torch.__version__}, numpy {np.__version__}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
