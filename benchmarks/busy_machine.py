"""How much longer a fit takes while another process keeps one core busy.

    python benchmarks/busy_machine.py [--repeats 5]

Idle and busy runs take turns; the ratio of the medians is what the busy process costs. On two cores a fit of one
thread has a core to itself either way; one of two threads loses a quarter of the machine, so that a ratio of 1.3 is
about what it must cost, and a spin wait shows as much more.
"""

from __future__ import annotations

import os

for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from peers import Score, crossent_fit, mlp_fit, sklearn_fit, torch_fit
from real_data import TASKS, Task
from results import Results, add_options
from threadpoolctl import threadpool_limits

FITS: dict[str, tuple[Callable[..., Score], int, float]] = {
    "crossent, linear": (crossent_fit(), 5, 0),
    "crossent, 128 units": (crossent_fit((128,)), 2, 0),
    "PyTorch loop, linear": (torch_fit(), 3, 0.1),
    "PyTorch loop, 128 units": (torch_fit((128,)), 1, 0.1),
    "scikit-learn lbfgs": (sklearn_fit("lbfgs"), 5, 1.0),
    "MLPClassifier": (mlp_fit((128,)), 1, 0.001),
}
GOAL = 1.3
SPIN = "while True: pass"


def seconds(fit: Callable[..., Score], task: Task, budget: int, rate: float, threads: int) -> float:
    with threadpool_limits(threads):
        start = time.perf_counter()
        fit(task, budget, rate, 0, threads)
        return time.perf_counter() - start


def ratio(name: str, task: Task, threads: int, repeats: int) -> dict[str, object]:
    fit, budget, rate = FITS[name]
    idle, busy = [], []
    for _ in range(repeats):
        idle.append(seconds(fit, task, budget, rate, threads))
        other = subprocess.Popen([sys.executable, "-c", SPIN])
        try:
            busy.append(seconds(fit, task, budget, rate, threads))
        finally:
            other.kill()
            other.wait()
    medians = statistics.median(idle), statistics.median(busy)
    print(f"{name:<26}{threads:>8}{medians[0]:>9.2f}{medians[1]:>9.2f}{medians[1] / medians[0]:>8.2f}", flush=True)
    return {"fit": name, "idle_s": medians[0], "busy_s": medians[1], "busy_to_idle": medians[1] / medians[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fits", nargs="*", default=list(FITS), metavar="FIT")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    add_options(parser)
    options = parser.parse_args()
    task = TASKS["fashion-mnist"]()
    print(f"Fashion-MNIST, {os.cpu_count()} cores\n{'fit':<26}{'threads':>8}{'idle s':>9}{'busy s':>9}{'x':>8}")
    results = Results("busy_machine", ("fit", "threads"), options)
    for threads in options.threads:
        for name in options.fits:
            goals = {"busy_to_idle": ("<=", GOAL)} if name.startswith("crossent") else {}
            results.keep(ratio(name, task, threads, options.repeats), threads=threads, goals=goals)


if __name__ == "__main__":
    main()
