"""How long each solver takes to an objective within 0.1 % of the least, for a linear model of fixed C.

    python benchmarks/objective.py [fashion-mnist shuttle] [--strength 1] [--solvers lbfgs]

The objective is scikit-learn's over C n: mean log-loss + |W|^2 / (2 C n), evaluated in float64 for every solver. Its
minimum is that of a float64 run until no slope is over 1e-8; the norm of its gradient, taken by NumPy from the formula,
is printed. A solver's budget is the least of its list that gets there; a budget that takes over 25 s is its last.
"""

from __future__ import annotations

import os

for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from real_data import Task, load
from results import Results, add_options
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from crossent.training.exact import ExactOptions, minimize_exactly
from crossent.training.examples import Examples

CLOSE = 1e-3
OURS = "crossent exact"
GOAL = 5.0  # times the CPU seconds of ours, for every other solver
LONGEST = 25.0  # seconds of a budget after which no greater one is tried

Weights = tuple[np.ndarray, np.ndarray]  # (d, C) and (C,)
Seconds = tuple[float, float]  # wall and CPU


def exact(task: Task, strength: float, budget: int, threads: int) -> Weights:
    examples = Examples(task.x_train, len(task.classes), labels=task.y_train)
    alpha = 1 / (strength * len(task.x_train))
    result = minimize_exactly(examples, ExactOptions(alpha, tol=1e-8, max_iter=budget, n_threads=threads))
    return result.weights[0], result.biases[0]


def scikit_learn(solver: str) -> Callable[..., Weights]:
    def fit(task: Task, strength: float, budget: int, threads: int) -> Weights:
        del threads  # set by the caller for every library at once
        model = LogisticRegression(solver=solver, C=strength, max_iter=budget, tol=1e-9, random_state=0)
        model.fit(task.x_train, task.y_train)
        return model.coef_.T, model.intercept_

    return fit


SOLVERS: dict[str, tuple[Callable[..., Weights], tuple[int, ...]]] = {
    OURS: (exact, (1, 3, 5, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500)),
    "lbfgs": (scikit_learn("lbfgs"), (25, 50, 100, 200, 300, 400, 600, 800)),
    "newton-cg": (scikit_learn("newton-cg"), (5, 10, 20, 40)),
    "newton-cholesky": (scikit_learn("newton-cholesky"), (3, 4, 5, 6, 8, 10, 15)),
    "saga": (scikit_learn("saga"), (5, 20, 80, 160, 320)),
    "sag": (scikit_learn("sag"), (5, 20, 80, 160, 320)),
}
# Its Hessian of Fashion-MNIST, 7850 x 7850, costs minutes.
TOO_LARGE = {("fashion-mnist", "newton-cholesky")}


def objective(task: Task, strength: float, weights: Weights) -> tuple[float, float]:
    """Return the objective and the norm of its gradient, in float64."""
    weight, bias = (np.asarray(part, np.float64) for part in weights)
    alpha = 1 / (strength * len(task.x_train))
    x, y = task.x_train.astype(np.float64), task.y_train
    z = x @ weight + bias
    lse = logsumexp(z, axis=1, keepdims=True)
    loss = float((lse[:, 0] - z[np.arange(len(y)), y]).mean())
    excess = np.exp(z - lse)
    excess[np.arange(len(y)), y] -= 1
    grad = x.T @ excess / len(y) + alpha * weight
    norm = np.sqrt((grad**2).sum() + (excess.mean(axis=0) ** 2).sum())
    return loss + 0.5 * alpha * float((weight**2).sum()), float(norm)


def least_objective(task: Task, strength: float) -> tuple[float, float]:
    x = task.x_train.astype(np.float64)
    examples = Examples(x, len(task.classes), labels=task.y_train)
    result = minimize_exactly(examples, ExactOptions(1 / (strength * len(x)), tol=1e-8, max_iter=10_000))
    return objective(task, strength, (result.weights[0], result.biases[0]))


def race(name: str, strength: float, solvers: list[str], threads: int, repeats: int) -> list[dict[str, object]]:
    task = load(name)
    least, norm = least_objective(task, strength)
    print(f"\n{name}, C = {strength:g}, {threads} thread{'s' * (threads > 1)}: the least objective is {least:.6f}")
    print(f"(gradient norm {norm:.1e}); times to within {CLOSE:.1%} of it")
    found = {}
    for solver, (fit, budgets) in SOLVERS.items():
        if solver in (OURS, *solvers) and (name, solver) not in TOO_LARGE:
            found[solver] = first_close(fit, budgets, task, strength, threads, least)
    for _ in range(repeats - 1):
        for solver, (budget, seconds, gap) in found.items():
            if gap <= CLOSE:
                seconds.append(timed(SOLVERS[solver][0], task, strength, budget, threads)[1])
    print(f"{'solver':<18}{'iterations':>11}{'wall s':>9}{'cpu s':>9}{'excess':>10}{'x wall':>8}{'x cpu':>8}")
    base = np.median(found[OURS][1], axis=0)
    rows = []
    for solver, (budget, seconds, gap) in found.items():
        wall, cpu = np.median(seconds, axis=0)
        note = "" if gap <= CLOSE else "   not reached"
        print(
            f"{solver:<18}{budget:>11}{wall:>9.2f}{cpu:>9.2f}{gap:>10.3%}"
            f"{wall / base[0]:>8.1f}{cpu / base[1]:>8.1f}{note}",
            flush=True,
        )
        rows.append(
            {"task": name, "C": strength, "solver": solver, "iterations": budget}
            | {"wall_s": wall, "cpu_s": cpu, "wall_ratio": wall / base[0], "cpu_ratio": cpu / base[1]}
            | {"reached": "yes" if gap <= CLOSE else "no", "excess": gap, "least_objective": least}
        )
    return rows


def first_close(
    fit: Callable[..., Weights], budgets: tuple[int, ...], task: Task, strength: float, threads: int, least: float
) -> tuple[int, list[Seconds], float]:
    for budget in budgets:
        weights, seconds = timed(fit, task, strength, budget, threads)
        gap = objective(task, strength, weights)[0] / least - 1
        if gap <= CLOSE or seconds[1] > LONGEST:
            break
    return budget, [seconds], gap


def timed(
    fit: Callable[..., Weights], task: Task, strength: float, budget: int, threads: int
) -> tuple[Weights, Seconds]:
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        wall, cpu = time.perf_counter(), time.process_time()
        weights = fit(task, strength, budget, threads)
        return weights, (time.perf_counter() - wall, time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=["fashion-mnist", "shuttle"], metavar="TASK")
    parser.add_argument("--strength", type=float, default=1.0, help="C")
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS), choices=SOLVERS, help="crossent's in any case")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=3)
    add_options(parser)
    options = parser.parse_args()
    results = Results("objective", ("task", "C", "solver", "threads"), options)
    for threads in options.threads:
        for name in options.tasks:
            for row in race(name, options.strength, options.solvers, threads, options.repeats):
                goals = {"cpu_ratio": (">=", GOAL)} if row["solver"] != OURS and row["reached"] == "yes" else {}
                results.keep(row, threads=threads, goals=goals)


if __name__ == "__main__":
    main()
