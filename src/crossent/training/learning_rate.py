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
RANGE_ROWS = 16384
RANGE_SHARE = 0.05
TRIAL_STEPS, LONG_TRIAL_STEPS = 32, 96
MAX_HALVINGS, MAX_DOUBLINGS = 12, 2
# How much lower another step must end: less is noise.
CLEARLY_LOWER = 0.98
# A step that is best for so many epochs is too long for more: what the rows teach after that is their noise.
SHORT_RUN, LEAST_OF_LONG_RUN, MOST_OF_SHORT_RUN = 4, 0.25, 2.0
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
        ``mean(|t|^2) mean(q^2) / mean(q)`` of the rows' truths t, relative to their mean mass, and of the squared
        lengths q of (row / sqrt(largest), 1). A row whose truth is shared by several classes has the noise of so many
        rows, each of a class and its share of the weight.
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


def feature_factors(problem: Problem, order: Indices, optimizer: Name = "sgd") -> npt.NDArray[np.float64] | None:
    """Return what every feature is to be multiplied with, so that none is learnt late for being small, (d,).

    It is 1 / (deviation + 0.05 * range), whatever unit a feature is in; the range, over many more rows than the
    deviation, keeps features that are seldom other than 0 from steps that their noise would carry. A feature that is
    constant on these rows takes the least factor of all. None where rows are sparse.
    """
    if problem.is_sparse:
        return None
    probe = order[:PROBE_ROWS]
    rows = problem.centred(probe)
    mass = problem.row_mass[probe] / problem.row_mass[probe].sum()
    with np.errstate(over="ignore", invalid="ignore"):
        spread = problem.feature_range(RANGE_ROWS)
        size = np.sqrt(rows.mean_squares(mass)) + RANGE_SHARE * spread
        if optimizer != "adam":
            # Of a smaller feature the penalty, and not its size, bounds a step that grows with the slope.
            size = np.maximum(size, 2 * np.sqrt(problem.alpha))
    if not np.isfinite(size).all():
        return None
    varies = spread > 0
    return 1 / np.where(varies, size, size[varies].max() if varies.any() else 1.0)


def measure(problem: Problem, order: Indices, factors: npt.NDArray[np.float64] | None = None) -> Scale:
    """Measure the features, multiplied with factors if there are any, on the first 2048 rows of an order.

    Raises
    ------
    ValueError
        If their squares overflow.
    """
    probe = order[:PROBE_ROWS]
    with np.errstate(over="ignore", invalid="ignore"):
        rows = problem.centred(probe, factors)
        mass = problem.row_mass[probe] / problem.row_mass[probe].sum()
        largest = _largest_eigenvalue(rows, mass, problem.layer_sizes[0])
        square = rows.square_lengths()
        length = square / (largest or 1.0) + 1
        # The heaviest rows are few: they may be in none of the 2048, so the truths of all count.
        noise = problem.truth_noise() * float((mass @ length**2) / (mass @ length))
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
    problem: Problem,
    theta: Array,
    order: Indices,
    optimizer: Optimizer,
    scale: Scale,
    loss_limit: float = np.inf,
    *,
    share: float = 1.0,
) -> float:
    """Return the step size that ``learning_rate="auto"`` stands for.

    The Hessian of the mean log-loss in the weights of a linear model is at most half of the rows' second-moment
    matrix, so its greatest eigenvalue is at most ``L = lambda_max / 2 + alpha``. Descent with momentum is stable below
    ``2 (1 + momentum) / L``; the step is half of that, ``(1 + momentum) / L``.

    Batches of B of the n rows add noise: one may hold rows of much weight or length. With the noise t of ``Scale``,
    momentum carrying it on, the step is at most ``(1 - momentum) (2 B / t) (n - 1) / (n - B) / lambda_max``, half of
    what is stable.

    Of this a run takes the ``share`` that suits its length; one over 1 is of the second bound alone.

    Schedule-free descent takes what momentum makes of this in the long run, ``1 / (1 - momentum)`` times as much.
    Adam's step is 0.005 over the features' root mean square.

    With hidden layers the search begins at a step that suits many data; it is halved for as long as 32 steps with the
    halved one end at a training log-loss clearly lower, or else doubled, twice at most, for as long as 96 steps with
    the doubled one end clearly lower on rows that these steps did not see.

    References
    ----------
    Böhning, "Multinomial logistic regression algorithm", 1992, section 2, for the bound on the Hessian.
    Ma, Bassily and Belkin, "The Power of Interpolation", 2018, for the step that a batch of a given size allows.
    """
    long_run = 1 / (1 - optimizer.momentum) if optimizer.name == "schedule-free" else 1.0
    if len(problem.layer_sizes) > 2:
        start = ADAM_NETWORK_RATE if optimizer.name == "adam" else NETWORK_RATE * long_run
        return min(share, 1.0) * _tried_out(problem, theta, order, start, optimizer, loss_limit)
    if optimizer.name == "adam":
        return ADAM_RATE / scale.root_mean_square
    # The bias sees a constant feature of 1: apart from the others where rows are centred, mixed with them if not.
    top = 1.0 if problem.center is not None else 2.0
    rate = min(share, 1.0) * (1 + optimizer.momentum) / (top / 2 + problem.alpha / scale.greatest_moment)
    n, batch = len(problem.kept), problem.batch_rows
    if batch < n:
        rate = min(rate, share * (1 - optimizer.momentum) * 2 * batch / scale.noise * (n - 1) / (n - batch))
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


def share_of_run(epochs: int) -> float:
    """Return the share of the step to take in a run of so many epochs, in which it is brought down to 0.

    It is ``sqrt(4 / epochs)``, between 1/4 and 2: as the best step of descent with noise falls with the root of the
    number of steps. Beyond that a run is long for want of rows, not of precision; a step over twice as long would not
    be stable.

    References
    ----------
    Defazio et al., "Optimal Linear Decay Learning Rate Schedules and Further Refinements", 2023, section 2.

    >>> share_of_run(1), share_of_run(4), share_of_run(16)
    (2.0, 1.0, 0.5)
    """
    return float(np.clip(np.sqrt(SHORT_RUN / epochs), LEAST_OF_LONG_RUN, MOST_OF_SHORT_RUN))


def _tried_out(
    problem: Problem, theta: Array, order: Indices, rate: float, optimizer: Optimizer, loss_limit: float
) -> float:
    def ends_at(rate: float, steps: int, seen: Indices, scored: Indices) -> float:
        return _loss_after_trial(problem, theta, seen, scored, rate, steps, optimizer, loss_limit)

    probe = order[:PROBE_ROWS]
    first, loss = rate, ends_at(rate, TRIAL_STEPS, order, probe)
    for _ in range(MAX_HALVINGS):
        halved_loss = ends_at(rate / 2, TRIAL_STEPS, order, probe)
        if np.isfinite(halved_loss) and halved_loss >= loss * CLEARLY_LOWER:
            break
        rate, loss = rate / 2, halved_loss
    if rate < first or len(order) < 2:
        return rate
    # A longer step learns the noise of few rows sooner: it is judged on others.
    held_out = -min(PROBE_ROWS, max(len(order) // 4, 1))
    seen, scored = order[:held_out], order[held_out:]
    loss = ends_at(rate, LONG_TRIAL_STEPS, seen, scored)
    for _ in range(MAX_DOUBLINGS):
        doubled_loss = ends_at(2 * rate, LONG_TRIAL_STEPS, seen, scored)
        if not doubled_loss < loss * CLEARLY_LOWER:
            break
        rate, loss = 2 * rate, doubled_loss
    return rate


def _loss_after_trial(
    problem: Problem,
    theta: Array,
    seen: Indices,
    scored: Indices,
    rate: float,
    n_steps: int,
    optimizer: Optimizer,
    loss_limit: float,
) -> float:
    """Return the log-loss of the scored rows after a few steps on those seen; infinity if they diverge."""
    theta = theta.copy()
    trial = Optimizer(
        optimizer.name,
        optimizer.momentum,
        nesterov=optimizer.nesterov,
        rate_scale=optimizer.rate_scale,
        feature_rate=optimizer.feature_rate,
        feature_scale=optimizer.feature_scale,
    ).start(theta)
    rows = min(problem.batch_rows, PROBE_ROWS)
    # The first rows in order, again and again where they are few.
    trial_order = np.resize(seen, rows * n_steps)
    bounds = np.arange(n_steps + 1) * rows
    rates = rate * linear_decay(n_steps, warmup=n_steps // 4)
    steps, _ = trial.descend(problem, theta, trial_order, bounds, rates, loss_limit)
    loss = problem.loss(theta, scored)
    return loss if steps == n_steps and np.isfinite(loss) else np.inf
