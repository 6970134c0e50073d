"""A step size that needs no tuning: from the curvature and the noise of the data, tried out where they are no bound."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from crossent.training.centred import CentredRows
from crossent.training.network import Array
from crossent.training.optimizer import Name, Optimizer
from crossent.training.problem import Indices, Problem
from crossent.training.schedule import linear_decay

PROBE_ROWS = 2048
POWER_ITERATIONS = 30
TRIAL_STEPS = 32
MAX_HALVINGS = 12
# How much lower the halved step must end: less is noise, and the long run favours the greater step.
CLEARLY_LOWER = 0.98
# Where the search for a network's step begins, and Adam's steps, for features whose mean square is 1.
NETWORK_RATE = 0.1
ADAM_NETWORK_RATE = 0.003
ADAM_RATE = 0.005


class Scale(NamedTuple):
    """How large the features are, from a few rows minus their center.

    Attributes
    ----------
    largest : float
        The greatest eigenvalue of their second moments.
    mean_square : float
    noise : float
        ``mean(w^2) mean(q^2) / mean(q)`` of the rows' weights w, relative to their mean, and of the squared lengths q
        of (row / sqrt(largest), 1).
    """

    largest: float
    mean_square: float
    noise: float

    # Features that never change have no scale.

    @property
    def greatest_moment(self) -> float:
        """``largest``, or 1 where it is 0."""
        return self.largest or 1.0

    @property
    def root_mean_square(self) -> float:
        """The root of ``mean_square``, or 1 where it is 0."""
        return float(np.sqrt(self.mean_square)) or 1.0


def measure(problem: Problem, order: Indices) -> Scale:
    """Measure the features on the first 2048 rows of an order.

    Raises
    ------
    ValueError
        If their squares overflow.
    """
    probe = order[:PROBE_ROWS]
    with np.errstate(over="ignore", invalid="ignore"):
        rows = problem.centred(probe)
        mass = problem.row_mass[probe] / problem.row_mass[probe].sum()
        largest = _largest_eigenvalue(rows, mass, problem.layer_sizes[0])
        square = rows.square_lengths()
        length = square / (largest or 1.0) + 1
        # The heaviest rows are few: they may be in none of the 2048, so all weights count.
        weight = problem.row_mass[problem.kept] / problem.row_mass[problem.kept].mean()
        noise = float((weight**2).mean() * (mass @ length**2) / (mass @ length))
        mean_square = float(mass @ square) / max(problem.layer_sizes[0], 1)
    if not np.isfinite([largest, noise, mean_square]).all():
        raise ValueError("the squares of the features overflow: expected features on a smaller scale")
    return Scale(largest, mean_square, noise)


def rate_scale(problem: Problem, scale: Scale, optimizer: Name) -> npt.NDArray[np.float64]:
    """Return the factors of the learning rate for W0, b0, W1, b1, ... that make up for the features' scale.

    A step that suits weights of features up to 255 would leave the bias, whose feature is 1, where it began. So the
    steps are those that features divided by one number would have. For a linear model it is the square root of their
    greatest second moment, for a network their root mean square; the number's square acts on a step along the
    gradient, the number itself on Adam's, which has the size of the step alone.
    """
    factors = np.ones(2 * (len(problem.layer_sizes) - 1))
    power = 0.5 if optimizer == "adam" else 1.0
    if len(problem.layer_sizes) == 2:
        factors[1] = scale.greatest_moment**power
    else:
        factors[0] = scale.root_mean_square ** (-2 * power)
    return factors


def choose_learning_rate(
    problem: Problem, theta: Array, order: Indices, optimizer: Optimizer, scale: Scale, loss_limit: float = np.inf
) -> float:
    """Return the step size that ``learning_rate="auto"`` stands for.

    The Hessian of the mean log-loss in the weights of a linear model is at most half of the rows' second-moment
    matrix, so its greatest eigenvalue is at most ``L = lambda_max / 2 + alpha``. Descent with momentum is stable below
    ``2 (1 + momentum) / L``; the step is half of that, ``(1 + momentum) / L``.

    Batches of B of the n rows add noise: one may hold rows of much weight or length. With the noise t of ``Scale``,
    momentum carrying it on, the step is at most ``(1 - momentum) (2 B / t) (n - 1) / (n - B) / lambda_max``.

    Schedule-free descent takes what momentum makes of this in the long run, ``1 / (1 - momentum)`` times as much.
    Adam's step is 0.005 over the features' root mean square.

    With hidden layers the search begins at a step too long for most data; it is halved for as long as 32 steps with
    the halved one end at a training log-loss clearly lower.

    References
    ----------
    Böhning, "Multinomial logistic regression algorithm", 1992, section 2, for the bound on the Hessian.
    Ma, Bassily and Belkin, "The Power of Interpolation", 2018, for the step that a batch of a given size allows.
    """
    long_run = 1 / (1 - optimizer.momentum) if optimizer.name == "schedule-free" else 1.0
    if len(problem.layer_sizes) > 2:
        start = ADAM_NETWORK_RATE if optimizer.name == "adam" else NETWORK_RATE * long_run
        return _tried_out(problem, theta, order, start, optimizer, loss_limit)
    if optimizer.name == "adam":
        return ADAM_RATE / scale.root_mean_square
    # The bias sees a constant feature of 1: apart from the others where rows are centred, mixed with them if not.
    top = 1.0 if problem.center is not None else 2.0
    rate = (1 + optimizer.momentum) / (top / 2 + problem.alpha / scale.greatest_moment)
    n, batch = len(problem.kept), problem.batch_rows
    if batch < n:
        rate = min(rate, (1 - optimizer.momentum) * 2 * batch / scale.noise * (n - 1) / (n - batch))
    return rate * long_run / scale.greatest_moment


def _largest_eigenvalue(rows: CentredRows, mass: npt.NDArray[np.float64], n_features: int) -> float:
    # Fixed, whatever the seed: the step size is a property of the data.
    vector = np.random.default_rng(0).standard_normal(n_features)
    length = float(np.linalg.norm(vector))
    for _ in range(POWER_ITERATIONS):
        if not (0 < length < np.inf):
            break
        vector = rows.transposed_times(mass * rows.times(vector / length))
        length = float(np.linalg.norm(vector))
    return length


def _tried_out(
    problem: Problem, theta: Array, order: Indices, rate: float, optimizer: Optimizer, loss_limit: float
) -> float:
    loss = _loss_after_trial(problem, theta, order, rate, optimizer, loss_limit)
    for _ in range(MAX_HALVINGS):
        halved_loss = _loss_after_trial(problem, theta, order, rate / 2, optimizer, loss_limit)
        if np.isfinite(halved_loss) and halved_loss >= loss * CLEARLY_LOWER:
            break
        rate, loss = rate / 2, halved_loss
    return rate


def _loss_after_trial(
    problem: Problem, theta: Array, order: Indices, rate: float, optimizer: Optimizer, loss_limit: float
) -> float:
    """Return the training log-loss after a few steps; infinity if they diverge."""
    theta = theta.copy()
    trial = Optimizer(
        optimizer.name, optimizer.momentum, nesterov=optimizer.nesterov, rate_scale=optimizer.rate_scale
    ).start(theta)
    rows = min(problem.batch_rows, PROBE_ROWS)
    # The first rows in order, again and again where they are few.
    trial_order = np.resize(order, rows * TRIAL_STEPS)
    bounds = np.arange(TRIAL_STEPS + 1) * rows
    rates = rate * linear_decay(TRIAL_STEPS, warmup=TRIAL_STEPS // 4)
    steps, _ = trial.descend(problem, theta, trial_order, bounds, rates, loss_limit)
    loss = problem.loss(theta, order[:PROBE_ROWS])
    return loss if steps == TRIAL_STEPS and np.isfinite(loss) else np.inf
