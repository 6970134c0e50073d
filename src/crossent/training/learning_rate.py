"""A step size that needs no tuning: from the curvature of the data, checked by a few steps where that is no bound."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossent.training.problem import Indices, Problem
from crossent.training.schedule import linear_decay

PROBE_ROWS = 2048
POWER_ITERATIONS = 30
TRIAL_STEPS = 32
MAX_HALVINGS = 8
# How much lower the halved step must end: less is noise, and the long run favours the greater step.
CLEARLY_LOWER = 0.98


def choose_learning_rate(problem: Problem, theta: Any, order: Indices, momentum: float) -> float:
    """Return the step size that ``learning_rate="auto"`` stands for.

    The Hessian of the mean log-loss in the weights of a linear model is at most half of the rows'
    second-moment matrix (Böhning 1992), so its greatest eigenvalue is at most ``L = lambda_max / 2 + alpha``,
    and descent with momentum is stable below ``2 (1 + momentum) / L``. A linear model takes half of that:
    ``(1 + momentum) / L``.

    With hidden layers ``L`` is a guide, no bound. A quarter of the limit is where the search begins; the step
    is halved for as long as 32 steps with the halved one end at a training log-loss clearly lower.

    References
    ----------
    Böhning, "Multinomial logistic regression algorithm", 1992, section 2.
    """
    stable = 2 * (1 + momentum) / (largest_moment(problem, order) / 2 + problem.alpha)
    if len(problem.layer_sizes) == 2:
        return stable / 2
    rate = stable / 4
    loss = _loss_after_trial(problem, theta, order, rate, momentum)
    for _ in range(MAX_HALVINGS):
        halved_loss = _loss_after_trial(problem, theta, order, rate / 2, momentum)
        # Written so that a NaN, a diverged trial, counts as worse than anything.
        if loss * CLEARLY_LOWER <= halved_loss:
            break
        rate, loss = rate / 2, halved_loss
    return rate


def largest_moment(problem: Problem, order: Indices) -> float:
    """Return the greatest eigenvalue of the weighted second moments of (row, 1), from the first rows in order."""
    probe = order[:PROBE_ROWS]
    x = problem.examples.x[probe].astype(np.float64)
    if problem.center is not None:
        x -= problem.center
    mass = problem.row_mass[probe] / problem.row_mass[probe].sum()
    # Fixed, whatever the seed: the step size is a property of the data.
    vector = np.random.default_rng(0).standard_normal(x.shape[1])
    length = 0.0
    for _ in range(POWER_ITERATIONS):
        vector /= np.linalg.norm(vector)
        vector = x.T @ (mass * (x @ vector))
        length = float(np.linalg.norm(vector))
        if length == 0:
            break
    # The bias sees a constant feature of 1: apart from the others where rows are centred, mixed with them
    # where not.
    return max(length, 1.0) if problem.center is not None else length + 1.0


def _loss_after_trial(problem: Problem, theta: Any, order: Indices, rate: float, momentum: float) -> float:
    theta, velocity = theta.copy(), np.zeros_like(theta)
    rows = min(problem.batch_rows, PROBE_ROWS)
    # The first rows in order, again and again where they are few.
    trial_order = np.resize(order, rows * TRIAL_STEPS)
    bounds = np.arange(TRIAL_STEPS + 1) * rows
    rates = rate * linear_decay(TRIAL_STEPS, warmup=TRIAL_STEPS // 4)
    steps, _ = problem.descend(theta, velocity, trial_order, bounds, rates, momentum=momentum)
    loss = problem.loss(theta, order[:PROBE_ROWS])
    return loss if steps == TRIAL_STEPS and np.isfinite(loss) else np.inf
