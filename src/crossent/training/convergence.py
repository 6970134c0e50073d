"""How far a linear model is from the minimum of its objective, at least."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from crossent.training.network import Array
from crossent.training.options import Gap, TrainingResult
from crossent.training.problem import Indices, Problem

Floats = npt.NDArray[np.float64]
# Rows that the gradient is taken from where there are more, and those that the features' squares are from.
GRADIENT_ROWS, SQUARE_ROWS = 8192, 2048
# Each batch costs a few passes over the parameters and its logits: of large models there are fewer.
GRADIENT_ENTRIES, FEWEST_GRADIENTS = 2**25, 2
# Parameters that are looked at together, in float64.
BLOCK_ENTRIES = 2**22
# Relative to the log-loss of the class shares: a good model of minibatch SGD stays below.
WIDE = 0.02


def measure_gap(problem: Problem, theta: Array, order: Indices, l1: float, n_rows: int) -> Gap:
    """Return how much the weights of one feature, changed alone, would lower a linear model's objective.

    With ``g_j`` the objective's slopes in feature j's weights and ``h_j = mean(x_j^2) / 2 + alpha``, which bounds the
    curvature (Böhning, "Multinomial logistic regression algorithm", 1992, section 2), the step ``-g_j / h_j`` lowers
    it by ``|g_j|^2 / (2 h_j)`` or more. Where the slopes come from some of the rows, their expected squared error is
    taken off.
    """
    entries = theta.size + problem.most_rows * problem.layer_sizes[-1]
    most_batches = max(FEWEST_GRADIENTS, GRADIENT_ENTRIES // entries)
    rows = order[: min(GRADIENT_ROWS, most_batches * problem.most_rows)]
    features, classes = problem.layer_sizes
    mean, errors = _mean_gradient(problem, theta, rows)
    if len(rows) == n_rows:
        errors[...] = 0
    squares = np.empty(features + 1)
    squares[-1] = (mean[features * classes :].astype(np.float64) ** 2).sum()
    step = max(1, BLOCK_ENTRIES // classes)
    for first in range(0, features, step):
        block = slice(first, min(first + step, features))
        at = slice(first * classes, block.stop * classes)
        slope, weight = mean[at], theta[at]
        slope += problem.alpha * weight
        if l1:
            at_zero = np.sign(slope) * np.maximum(np.abs(slope) - l1, 0)
            slope = np.where(weight != 0, slope + l1 * np.sign(weight), at_zero)
        squares[block] = _square_sums(slope, classes)
    # Where all weights are 0 an l1 penalty leaves nothing of small slopes, nor of their error.
    excess = np.maximum(squares - errors, 0)
    curvature = np.append(_mean_squares(problem, order[:SQUARE_ROWS]) / 2 + problem.alpha, 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = np.where(excess > 0, excess / (2 * curvature), 0.0)
    bounds[~np.isfinite(bounds)] = 0.0
    best = int(bounds.argmax())
    return Gap(float(bounds[best]), best if best < features else None, float(np.sqrt(excess.sum())))


def _mean_gradient(problem: Problem, theta: Array, rows: Indices) -> tuple[Array, Floats]:
    """Return the mean gradient over batches of the rows, and its expected squared error summed over each feature."""
    n_batches = max(min(2, len(rows)), -(-len(rows) // problem.most_rows))
    bounds = np.arange(n_batches + 1) * len(rows) // n_batches
    classes = problem.layer_sizes[-1]
    # The sums of a few batches of a large model are exact enough in the dtype of its parameters.
    dtype = np.float64 if theta.size <= BLOCK_ENTRIES else theta.dtype
    total, squares = np.zeros(theta.size, dtype), np.zeros(theta.size // classes)
    part = np.empty_like(theta)
    for begin, end in pairwise(bounds):
        grad = problem.batch_gradient(theta, rows[begin:end], out=part).astype(dtype, copy=False)
        grad *= (end - begin) / len(rows)
        total += grad
        squares += _square_sums(grad, classes)
    if n_batches == 1:
        return total, np.zeros_like(squares)
    # Of the batches' gradients themselves, which are n_batches times what was summed.
    squares *= n_batches
    squares -= _square_sums(total, classes)
    return total, np.maximum(squares / (n_batches - 1), 0)


def _square_sums(grad: Array, classes: int) -> Floats:
    """Return the sum of squares over each feature's parameters; the biases are the last feature's."""
    by_feature = grad.reshape(-1, classes)
    squares: Floats = np.einsum("fc,fc->f", by_feature, by_feature).astype(np.float64)
    return squares


def _mean_squares(problem: Problem, rows: Indices) -> Array:
    mass = problem.row_mass[rows] / problem.row_mass[rows].sum()
    return problem.centred(rows).mean_squares(mass)


def warn_of_trouble(result: TrainingResult, constant_loss: float, feature_names: Sequence[str] | None) -> None:
    """Warn of divergence, and of an end far from the minimum."""
    for text in (_divergence(result), _distance(result, constant_loss, feature_names)):
        if text:
            from sklearn.exceptions import ConvergenceWarning

            # At the caller of fit, not at the engine.
            warnings.warn(text, ConvergenceWarning, stacklevel=6)


def _divergence(result: TrainingResult) -> str:
    if not result.n_halvings:
        return ""
    if result.stop_reason == "divergence":
        outcome = "the training was given up with the last good parameters. Are the features on a sane scale?"
    else:
        outcome = "the training went on from the last good parameters. A smaller learning_rate would save time."
    return (
        f"The training diverged. The learning rate was halved ({result.n_halvings} x) to "
        f"{result.learning_rate:.3g}, and {outcome}"
    )


def _distance(result: TrainingResult, constant_loss: float, feature_names: Sequence[str] | None) -> str:
    gap = result.gap
    # The thousandth is for data whose constant prediction is all but certain.
    if gap is None or not gap.bound > WIDE * constant_loss + 1e-3:
        return ""
    if gap.feature is None:
        where = "the biases"
    elif feature_names is not None:
        where = f"the weights of feature {feature_names[gap.feature]!r}"
    else:
        where = f"the weights of feature {gap.feature}"
    return (
        f"The training ended after {result.n_epochs} epochs at least {gap.bound:.2g} nats above the minimum of its "
        f"objective: {where} alone could still lower it by that much (gradient norm {gap.gradient_norm:.2g}). "
        "Standardize the features, or raise max_epochs."
    )
