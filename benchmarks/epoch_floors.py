"""What an epoch costs beside its floor: operations over the measured rate of products, bytes over that of copying.

    python benchmarks/epoch_floors.py [TASK ...]

The floor is the greater of the two. A multiply and an add are two operations. A step multiplies every entry of the rows
with the first layer's weights twice (outputs and gradient), and those of later layers three times. Bytes are those of
the rows, read once, and of sparse rows also the touched rows of weights and momentum, read and written. An epoch's
seconds are the difference of fits of three epochs and of one, halved; one thread.
"""

from __future__ import annotations

import os

for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from real_data import TASKS, Task
from results import Results, add_options
from threadpoolctl import threadpool_limits

from crossent.training import Examples, Problem, TrainingOptions, train

BATCH = 128
CASES = {
    "fashion-mnist": ((), (128,)),
    "shuttle": ((), (128,)),
    "carrier": ((), (128,)),
    "language": ((),),
    "language, soft": ((),),
    "region": ((),),
}


def median_seconds(run: Callable[[], object], repeats: int = 7) -> float:
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def product_rate(rows: int, inner: int, columns: int) -> float:
    """Return float32 operations per second of NumPy's products of this shape."""
    rng = np.random.default_rng(0)
    a, b = (rng.random(shape, np.float32) for shape in ((rows, inner), (inner, columns)))
    times = max(1, int(2e9 / (2 * rows * inner * columns)))
    return 2 * rows * inner * columns * times / median_seconds(lambda: [a @ b for _ in range(times)])


def copy_rate() -> float:
    """Return bytes read and written per second of a copy that fits no cache."""
    a = np.ones(2**26, np.float32)
    b = np.zeros_like(a)
    return 2 * a.nbytes / median_seconds(lambda: np.copyto(b, a))


def sparse_touches(x: sp.csr_matrix) -> float:
    """Return how many features a batch has, times the batches, from 50 of them."""
    order = np.random.default_rng(0).permutation(x.shape[0])
    batches = [order[k * BATCH : (k + 1) * BATCH] for k in range(min(50, x.shape[0] // BATCH))]
    return statistics.mean(len(np.unique(x[rows].indices)) for rows in batches) * x.shape[0] / BATCH


def work(task: Task, hidden: tuple[int, ...]) -> tuple[float, float]:
    """Return the operations and the bytes of an epoch."""
    n, d = task.x_train.shape
    sizes = (d, *hidden, len(task.classes))
    if sp.issparse(task.x_train):
        touched = sparse_touches(task.x_train)
        return 4 * task.x_train.nnz * sizes[1], 8 * task.x_train.nnz + touched * sizes[1] * 4 * 4
    later = sum(before * after for before, after in pairwise(sizes[1:]))
    return n * (4 * d * sizes[1] + 6 * later), 4 * n * d


def epoch_seconds(task: Task, hidden: tuple[int, ...]) -> float:
    truth = task.y_train
    kind = {"probs": truth} if sp.issparse(truth) else {"labels": np.asarray(truth, np.int64)}
    examples = Examples(task.x_train, len(task.classes), **kind)
    problem = Problem(examples, hidden, alpha=1e-4, batch_size=BATCH, center=True)
    repeats, walls = 3 if task.x_train.shape[0] * problem.step_flops / BATCH < 1e11 else 1, {}
    for epochs in (1, 3):
        options = TrainingOptions(learning_rate=0.01, max_epochs=epochs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            walls[epochs] = median_seconds(lambda o=options: train(problem, o, rng=np.random.default_rng(0)), repeats)
    return (walls[3] - walls[1]) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(CASES), metavar="TASK")
    add_options(parser)
    options = parser.parse_args()
    results = Results("epoch_floors", ("task", "hidden", "threads"), options)
    with threadpool_limits(1):
        copied, square = copy_rate(), product_rate(1024, 1024, 1024)
        print(f"copying {copied / 1e9:.1f} GB/s, square products {square / 1e9:.0f} GFLOP/s, one thread")
        print(f"{'task':<18}{'units':>6}{'GFLOP':>8}{'GB':>7}{'GFLOP/s':>9}{'floor s':>9}{'epoch s':>9}{'x':>7}")
        for name in options.tasks:
            task = TASKS[name]()
            for hidden in CASES[name]:
                flops, size = work(task, hidden)
                units = (*hidden, len(task.classes))[0]
                dense = not sp.issparse(task.x_train)
                rate = product_rate(BATCH, task.x_train.shape[1], units) if dense else square
                floor = max(flops / rate, size / copied)
                wall = epoch_seconds(task, hidden)
                print(
                    f"{name:<18}{'-' if not hidden else hidden[0]:>6}{flops / 1e9:>8.1f}{size / 1e9:>7.2f}"
                    f"{rate / 1e9:>9.0f}{floor:>9.3f}{wall:>9.3f}{wall / floor:>7.1f}",
                    flush=True,
                )
                row = {"task": name, "hidden": "-".join(map(str, hidden)) or "none", "gflop": flops / 1e9}
                row |= {"gb": size / 1e9, "gflop_per_s": rate / 1e9, "gb_per_s": copied / 1e9}
                row |= {"floor_s": floor, "epoch_s": wall}
                roof = "operations" if flops / rate > size / copied else "bytes"
                results.keep(row, threads=1, roof=(roof, wall / floor))


if __name__ == "__main__":
    main()
