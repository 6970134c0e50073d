"""A step size that needs no tuning: from the curvature and the noise of the data, tried out where they are no bound."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crossent.training.network import Array
from crossent.training.problem import Indices, Problem
from crossent.training.schedule import linear_decay

PROBE_ROWS = 2048
POWER_ITERATIONS = 30
TRIAL_STEPS = 32
MAX_HALVINGS = 8
# How much lower the halved step must end: less is noise, and the long run favours the greater step.
CLEARLY_LOWER = 0.98


def choose_learning_rate(problem: Problem, theta: Array, order: Indices, momentum: float) -> float:
    """Return the step size that ``learning_rate="auto"`` stands for.

    The Hessian of the mean log-loss in the weights of a linear model is at most half of the rows' second-moment
    matrix, so its greatest eigenvalue is at most ``L = lambda_max / 2 + alpha``. Descent with momentum is stable below
    ``2 (1 + momentum) / L``; the step is half of that, ``(1 + momentum) / L``.

    Batches of B of the n rows add noise: one may hold rows of much weight w (relative to the mean) or length. With
    ``t = mean(w^2) mean(q^2) / mean(q)`` of the squared lengths q of (row, 1), momentum carrying it on, the step is at
    most ``(1 - momentum) (2 B / t) (n - 1) / (n - B)``.

    With hidden layers both are guides, no bounds. The search begins at half of the step; it is halved again for as
    long as 32 steps with the halved one end at a training log-loss clearly lower.

    References
    ----------
    Böhning, "Multinomial logistic regression algorithm", 1992, section 2, for the bound on the Hessian.
    Ma, Bassily and Belkin, "The Power of Interpolation", 2018, for the step that a batch of a given size allows.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        largest, noise = moments(problem, order)
    if not np.isfinite([largest, noise]).all():
        raise ValueError("the squares of the features overflow: expected features on a smaller scale")
    rate = (1 + momentum) / (largest / 2 + problem.alpha)
    n, batch = len(problem.kept), problem.batch_rows
    if batch < n:
        rate = min(rate, (1 - momentum) * 2 * batch / noise * (n - 1) / (n - batch))
    return rate if len(problem.layer_sizes) == 2 else _tried_out(problem, theta, order, rate / 2, momentum)


def moments(problem: Problem, order: Indices) -> tuple[float, float]:
    """Return the greatest eigenvalue of the weighted second moments of (row, 1), and t, from 2048 rows."""
    probe = order[:PROBE_ROWS]
    x = problem.examples.x[probe].astype(np.float64)
    if problem.center is not None:
        x -= problem.center
    mass = problem.row_mass[probe] / problem.row_mass[probe].sum()
    largest = _largest_eigenvalue(x, mass)
    length = np.einsum("ij,ij->i", x, x) + 1
    # The heaviest rows are few: they may be in none of the 2048, so all weights count.
    weight = problem.row_mass[problem.kept] / problem.row_mass[problem.kept].mean()
    noise = float((weight**2).mean() * (mass @ length**2) / (mass @ length))
    # The bias sees a constant feature of 1: apart from the others where rows are centred, mixed with them if not.
    return (max(largest, 1.0) if problem.center is not None else largest + 1.0), noise


def _largest_eigenvalue(x: npt.NDArray[np.float64], mass: npt.NDArray[np.float64]) -> float:
    # Fixed, whatever the seed: the step size is a property of the data.
    vector = np.random.default_rng(0).standard_normal((x.shape[1],))
    length = float(np.linalg.norm(vector))
    for _ in range(POWER_ITERATIONS):
        if length == 0:
            break
        vector = x.T @ (mass * (x @ (vector / length)))
        length = float(np.linalg.norm(vector))
    return length


def _tried_out(problem: Problem, theta: Array, order: Indices, rate: float, momentum: float) -> float:
    loss = _loss_after_trial(problem, theta, order, rate, momentum)
    for _ in range(MAX_HALVINGS):
        halved_loss = _loss_after_trial(problem, theta, order, rate / 2, momentum)
        if np.isfinite(halved_loss) and halved_loss >= loss * CLEARLY_LOWER:
            break
        rate, loss = rate / 2, halved_loss
    return rate


def _loss_after_trial(problem: Problem, theta: Array, order: Indices, rate: float, momentum: float) -> float:
    """Return the training log-loss after a few steps; infinity if they diverge."""
    theta, velocity = theta.copy(), np.zeros_like(theta)
    rows = min(problem.batch_rows, PROBE_ROWS)
    # The first rows in order, again and again where they are few.
    trial_order = np.resize(order, rows * TRIAL_STEPS)
    bounds = np.arange(TRIAL_STEPS + 1) * rows
    rates = rate * linear_decay(TRIAL_STEPS, warmup=TRIAL_STEPS // 4)
    steps, _ = problem.descend(theta, velocity, trial_order, bounds, rates, momentum=momentum)
    loss = problem.loss(theta, order[:PROBE_ROWS])
    return loss if steps == TRIAL_STEPS and np.isfinite(loss) else np.inf
