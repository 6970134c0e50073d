"""Time a head's loss and gradients beside its peers', with the matrix products alone as the roof, and peak memory.

    python benchmarks/head_speed.py [--shapes 4096x512x32000:bfloat16 ...] [--threads 2] [--peers eager ...]

A shape is ROWSxFEATURESxCLASSES, and after colons a dtype if it is not float32, and "unbiased". Each round times every
contender once, in turn; a ratio is the median over rounds of the ratio within a round. Losses are compared before
anything is printed. The roof is the three products of the same sizes and dtype, by NumPy (float32) or by PyTorch,
whichever is faster in this run. Memory is the most that one pass of a process of its own holds beyond x, weight and
their gradients.

Peers: PyTorch's unfused loss, eager and compiled; PyTorch's chunked head, which chooses its chunks or has 256 rows in
each; and jax-cce (`pip install jax-cce`), compiled. "unbiased" rows are of a head fitted to labels that its features
tell, or, with --tokens, of the head that benchmarks/token_head.py has fitted to a stream of real tokens.
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
from importlib.util import find_spec
from typing import NamedTuple

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
import crossent.torch

SHAPES = (
    *("4096x512x32000", "4096x512x32000:bfloat16", "1024x512x32000", "1024x512x32000:bfloat16"),
    *("8192x64x100000", "4096x512x131072:unbiased"),
)
PEERS = ("eager", "compile", "chunked", "chunked 256", "jax-cce")
GOALS = {
    "4096x512x32000": {"eager_ratio": (">=", 0.95), "crossent_mib": ("<=", 64.0)},
    "4096x512x32000:bfloat16": {"eager_ratio": (">=", 1.0)},
    "1024x512x32000": {"eager_ratio": (">=", 1.0), "chunked_ratio": (">=", 4.0)},
    "1024x512x32000:bfloat16": {"eager_ratio": (">=", 1.0), "chunked_ratio": (">=", 4.0)},
    "8192x64x100000": {"eager_ratio": (">=", 1.5)},
    "4096x512x131072:unbiased": {"eager_ratio": (">=", 2.0)},
}
Step = Callable[[], float]
Data = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


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


class Problem(NamedTuple):
    """What a shape says."""

    n: int
    d: int
    classes: int
    dtype: str
    gradient: str

    def data(self, tokens: str | None) -> Data:
        """Return features, weight and labels of the dtype."""
        if tokens and self.gradient == "unbiased":
            with np.load(tokens) as held:
                x, weight, labels = held["x"], held["weight"], held["labels"]
            assert (x.shape, weight.shape[0]) == ((self.n, self.d), self.classes), "the tokens' head has other sizes"
        else:
            x, weight, labels = batch(self.n, self.d, self.classes, self.gradient == "unbiased")
        dtype = getattr(torch, self.dtype)
        return torch.from_numpy(x).to(dtype), torch.from_numpy(weight).to(dtype), torch.from_numpy(labels)


def parsed(shape: str) -> Problem:
    sizes, *words = shape.split(":")
    dtype = next((word for word in words if word != "unbiased"), "float32")
    return Problem(*map(int, sizes.split("x")), dtype, "unbiased" if "unbiased" in words else "exact")


def step_of(name: str, data: Data, options: argparse.Namespace, gradient: str) -> Step:
    """Return one loss with both gradients; it returns the seconds it took, and leaves its loss behind."""
    if name == "jax-cce":
        return jax_step(data)
    leaves = [tensor.detach().requires_grad_() for tensor in data[:2]]
    function = torch_loss(name, options, gradient)

    def step() -> float:
        for leaf in leaves:
            leaf.grad = None
        start = time.perf_counter()
        loss = function(*leaves, data[2])
        loss.backward()
        seconds = time.perf_counter() - start
        step.loss = loss.item()  # type: ignore[attr-defined]
        return seconds

    return step


def jax_step(data: Data) -> Step:
    import jax
    from jax_cce import linear_cross_entropy

    x, weight = (jax.numpy.asarray(t.float().numpy(), dtype=str(t.dtype).removeprefix("torch.")) for t in data[:2])
    labels = jax.numpy.asarray(data[2].numpy())
    both = jax.jit(jax.value_and_grad(lambda x, weight: linear_cross_entropy(x, weight, labels), argnums=(0, 1)))

    def step() -> float:
        start = time.perf_counter()
        loss, grads = both(x, weight)
        jax.block_until_ready(grads)
        seconds = time.perf_counter() - start
        step.loss = float(loss)  # type: ignore[attr-defined]
        return seconds

    return step


def torch_loss(name: str, options: argparse.Namespace, gradient: str) -> Callable[..., torch.Tensor]:
    if name == "crossent":
        own = {"max_memory": options.max_memory, "gradient": gradient}
        return lambda x, weight, y: crossent.torch.linear_cross_entropy(x, weight, y, **own)

    def unfused(x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(x @ weight.T, y)

    if name == "eager":
        return unfused
    if name == "compile":
        return torch.compile(unfused, dynamic=False)
    size = {"batch_chunk_size": 256} if name == "chunked 256" else {}
    chunked = torch.nn.LinearCrossEntropyOptions(**size)
    return lambda x, weight, y: functional.linear_cross_entropy(x, weight, y, options=chunked)


def roof_of(data: Data) -> Step:
    """Return the three products alone, of at most 1024 rows at a time so that their result fits."""
    x, weight, _ = data
    rows = min(512 if x.dtype == torch.float32 else 1024, len(x))
    p, t = x[:rows], torch.ones(rows, len(weight), dtype=x.dtype)
    g, x_grad = torch.empty_like(weight), torch.empty_like(p)

    def by_numpy() -> None:
        np.matmul(p.numpy(), weight.numpy().T, out=t.numpy())
        np.matmul(t.numpy().T, p.numpy(), out=g.numpy())
        np.matmul(t.numpy(), weight.numpy(), out=x_grad.numpy())

    def by_torch() -> None:
        torch.mm(p, weight.T, out=t)
        torch.mm(t.T, p, out=g)
        torch.mm(t, weight, out=x_grad)

    def seconds(products: Callable[[], None]) -> float:
        start = time.perf_counter()
        products()
        return (time.perf_counter() - start) * len(x) / rows

    libraries = (by_numpy, by_torch) if x.dtype == torch.float32 else (by_torch,)
    return lambda: min(map(seconds, libraries))


def times_of(data: Data, options: argparse.Namespace, gradient: str) -> tuple[dict[str, list[float]], float]:
    steps = {name: step_of(name, data, options, gradient) for name in ("crossent", *options.peers)}
    roof = roof_of(data)
    for step in (*steps.values(), roof):
        step()
    expected = steps["crossent"].loss  # type: ignore[attr-defined]
    # PyTorch's chunked head sums the losses of its chunks in bfloat16.
    tolerance = 1e-4 if data[0].dtype == torch.float32 else 5e-2
    for name, step in steps.items():
        if not abs(step.loss - expected) <= tolerance * abs(expected):  # type: ignore[attr-defined]
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
    return column_of(peer, "ratio")


def column_of(name: str, what: str) -> str:
    return f"{name.replace(' ', '_').replace('-', '_')}_{what}"


def source_of(problem: Problem, options: argparse.Namespace) -> str:
    if problem.gradient == "exact":
        return "random"
    return "tokens" if options.tokens else "fitted"


def peak_of(name: str, shape: str, options: argparse.Namespace) -> float:
    """Return the MiB that a process of its own holds in one pass beyond its inputs and gradients."""
    command = [sys.executable, __file__, "--peak", name, shape, "--threads", str(options.threads)]
    command += ["--max-memory", options.max_memory]
    command += ["--tokens", options.tokens] if getattr(options, "tokens", None) else []
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def print_peak(name: str, shape: str, options: argparse.Namespace) -> None:
    problem = parsed(shape)
    small = problem._replace(n=8, d=8, classes=8, gradient="exact")
    step_of(name, small.data(None), options, problem.gradient)()
    data = problem.data(options.tokens)
    step = step_of(name, data, options, problem.gradient)
    if name in ("compile", "jax-cce"):
        step()  # compiles
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the peak counts from here
    before = _memory("VmRSS")
    step()
    print((_memory("VmHWM") - before) / 1024 - sum(t.nbytes for t in data[:2]) / (1 << 20))


def _memory(field: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
    here = [peer for peer in PEERS if peer != "jax-cce" or find_spec("jax_cce")]
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=here, help="default: those that are installed")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-memory", default="64MiB")
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--tokens", metavar="FILE", help="what benchmarks/token_head.py has written, for unbiased rows")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    add_options(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    if options.peak:
        print_peak(*options.peak, options)
        return 0
    table = Table(title=f"a head's loss and gradients, {options.threads} threads", title_justify="left")
    for heading in ("rows x features x classes", "loss", "crossent s", "/ roof", *(f"{p} /" for p in options.peers)):
        table.add_column(heading, justify="right")
    held = () if options.no_memory else ("crossent", *options.peers)
    for name in held:
        table.add_column(f"{name} +MiB", justify="right")
    key = ("rows", "features", "classes", "dtype", "gradient", "source", "threads")
    results = Results("head_speed", key, options)
    for shape in options.shapes:
        problem = parsed(shape)
        times, loss = times_of(problem.data(options.tokens), options, problem.gradient)
        row: dict[str, object] = {"rows": problem.n, "features": problem.d, "classes": problem.classes}
        row |= {"dtype": problem.dtype, "gradient": problem.gradient, "source": source_of(problem, options)}
        row |= {"loss": loss, "crossent_s": statistics.median(times["crossent"])}
        row |= {ratio_of(peer): ratio(times[peer], times["crossent"]) for peer in options.peers}
        row |= {column_of(name, "mib"): peak_of(name, shape, options) for name in held}
        goals = {column: goal for column, goal in GOALS[shape].items() if column in row} if shape in GOALS else {}
        to_roof = ratio(times["crossent"], times["roof"])
        results.keep(row, threads=options.threads, goals=goals, roof=("three matrix products", to_roof))
        cells = [shape, f"{loss:.3f}", f"{row['crossent_s']:.2f}", f"{to_roof:.2f}"]
        cells += [f"{row[ratio_of(peer)]:.2f}" for peer in options.peers]
        cells += [f"{row[column_of(name, 'mib')]:.0f}" for name in held]
        table.add_row(*cells)
    Console(width=max(150, Console().width)).print(table)
    print(
        f"crossent {crossent.__version__} ({crossent.cpu_level()}), torch {torch.__version__}, numpy {np.__version__}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
