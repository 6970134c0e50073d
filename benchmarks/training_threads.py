"""How long an epoch takes with 1 and 2 threads, on an idle machine and beside one busy process.

The data are those of training_speed.py. All cases run alternately in one process; medians and ratios are printed. That
the threads change no bit of the result is checked first.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

import numpy as np
from results import Results, add_options
from threadpoolctl import threadpool_limits
from training_speed import ALPHA, BATCH, CLASSES, ROWS, data, engine_epoch

from crossent.training import Examples, Problem

THREADS = (1, 2)
GOAL = 1.3  # times the idle seconds
NETWORKS: tuple[tuple[tuple[int, ...], int], ...] = (((), ROWS), ((128,), ROWS // 2), ((512, 512), ROWS // 10))


def keep_busy() -> None:
    while True:
        pass


def medians(problems: list[Problem], order: np.ndarray, repeats: int) -> list[float]:
    start = problems[0].initial_parameters(np.random.default_rng(0))
    seconds: list[list[float]] = [[] for _ in problems]
    for _ in range(repeats):
        for problem, times in zip(problems, seconds):
            theta = start.copy()
            began = time.perf_counter()
            engine_epoch(problem, theta, order)
            times.append(time.perf_counter() - began)
    return [float(np.median(times)) for times in seconds]


def result(problem: Problem, order: np.ndarray) -> bytes:
    theta = problem.initial_parameters(np.random.default_rng(0))
    engine_epoch(problem, theta, order)
    return theta.tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    add_options(parser)
    options = parser.parse_args()
    results = Results("training_threads", ("network",), options)
    x, labels = data()
    print(f"an epoch in batches of {BATCH}; medians of {options.repeats} alternate runs; in seconds")
    print("     network    rows  1 idle  2 idle  1 busy  2 busy   idle 1/2  busy/idle: 1 thread  2 threads")
    for hidden, rows in NETWORKS:
        examples = Examples(x[:rows], CLASSES, labels=labels[:rows])
        problems = [
            Problem(examples, hidden, alpha=float(ALPHA), batch_size=BATCH, center=True, n_threads=n) for n in THREADS
        ]
        order = np.random.default_rng(1).permutation(rows)
        with threadpool_limits(1, user_api="blas"):
            if result(problems[0], order) != result(problems[1], order):
                raise SystemExit("the threads change the result")
            idle = medians(problems, order, options.repeats)
            other = multiprocessing.Process(target=keep_busy, daemon=True)
            other.start()
            busy = medians(problems, order, options.repeats)
            other.kill()
            other.join()
        name = "-".join(map(str, problems[0].layer_sizes))
        row = {"network": name, "rows": rows, "idle_1_s": idle[0], "idle_2_s": idle[1], "busy_1_s": busy[0]}
        row |= {"busy_2_s": busy[1], "speedup": idle[0] / idle[1]}
        row |= {"busy_to_idle_1": busy[0] / idle[0], "busy_to_idle_2": busy[1] / idle[1]}
        results.keep(row, threads=2, goals=dict.fromkeys(("busy_to_idle_1", "busy_to_idle_2"), ("<=", GOAL)))
        times = "  ".join(f"{seconds:6.3f}" for seconds in idle + busy)
        print(
            f"{name:>12}  {rows:6}  {times}   {row['speedup']:8.2f}  {row['busy_to_idle_1']:19.2f}  "
            f"{row['busy_to_idle_2']:9.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
