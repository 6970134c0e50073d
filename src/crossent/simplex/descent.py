"""Gradient descent on the simplex from one prediction, in several metrics and charts."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossent.errors import invalid_type, invalid_value
from crossent.simplex import metrics
from crossent.simplex.rows import column, read_only, row_sum
from crossent.simplex_inputs import FloatArray, class_index
from crossent.targets import real

if TYPE_CHECKING:
    from crossent.simplex.one_form import Differential

DESCENTS = (*metrics.METRICS, "exponentiated")


@dataclass(frozen=True, eq=False)
class Path:
    """The predictions that gradient descent passes; made by `Differential.flow`.

    Attributes
    ----------
    metric : str or int
        As it was asked for.
    step_size : float
    probs : float64 ndarray, shape (steps + 1, ..., C)
        The start first. Every prediction is on the simplex.
    losses : float64 ndarray, shape (steps + 1, ...)
    """

    metric: int | str
    step_size: float
    probs: FloatArray
    losses: FloatArray


def descend(d: Differential, metric: int | str, steps: int, step_size: float) -> Path:
    """Return the path of so many steps of one size."""
    if isinstance(steps, bool) or not hasattr(steps, "__index__"):
        raise invalid_type("steps", steps, "a number of steps, 0 or more")
    count, size = operator.index(steps), real("step_size", step_size)
    if count < 0:
        raise invalid_value("steps", count, "a number of steps, 0 or more")
    if not 0 < size < np.inf:
        raise invalid_value("step_size", step_size, "a positive, finite number")
    if not (isinstance(metric, str) and metric in DESCENTS):
        metric = class_index(metric, d.classes, "metric", DESCENTS)
    state = as_floats(d)
    probs, losses = [state.probs], [state.loss]
    for _ in range(count):
        state = step(state, metric, size)
        probs.append(state.probs)
        losses.append(state.loss)
    return Path(metric, size, read_only(np.array(probs)), read_only(np.array(losses)))


def as_floats(d: Differential) -> Differential:
    """Return the differential in float64, itself where it is so already."""
    from crossent.simplex.build import from_probs

    if not d.exact:
        return d
    return from_probs(d.classes, d.probs.astype(float), d.truth.astype(float), d.loss_function)


def step(d: Differential, metric: int | str, size: float) -> Differential:
    """Return the differential after one step of gradient descent."""
    from crossent.simplex.build import from_logits, from_probs

    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(metric, int):
            probs = _chart_step(d, metric, size)
        elif metric == "natural":
            probs = _inside(d.probs - size * d.natural)
        elif metric == "euclidean":
            probs = project(d.probs - size * metrics.euclidean(d))
        else:
            slope = d.logits if metric == "logit" else d.ambient
            return from_logits(d.classes, _log_step(d, size * slope), d.truth, d.loss_function)
    return from_probs(d.classes, probs, d.truth, d.loss_function)


def project(points: FloatArray) -> FloatArray:
    """Return the nearest point of the simplex to each point (..., C), +inf entries sharing all of it.

    Source: M. Held, P. Wolfe, H. Crowder, "Validation of subgradient optimization", 1974; J. Duchi et al., "Efficient
    projections onto the l1-ball for learning in high dimensions", 2008, figure 1.

    >>> project(np.array([0.75, 0.5, -1.0])).tolist()
    [0.625, 0.375, 0.0]
    """
    top = points.max(axis=-1, keepdims=True)
    shifted = np.where(top == np.inf, np.where(points == np.inf, 0.0, -2.0), points - np.where(np.isinf(top), 0.0, top))
    # An entry more than 1 below the largest gets nothing: how much more does not matter.
    shifted = np.maximum(shifted, -2.0)
    falling = -np.sort(-shifted, axis=-1)
    rank = np.arange(1, points.shape[-1] + 1)
    kept = (falling * rank + (1.0 - np.cumsum(falling, axis=-1)) > 0).sum(axis=-1)
    support = np.where(rank <= column(kept), falling, 0.0)
    threshold = (np.asarray(row_sum(support)) - 1.0) / kept
    return np.asarray(np.maximum(shifted - column(threshold), 0.0))


def _inside(probs: FloatArray) -> FloatArray:
    outside = (probs < 0).any(axis=-1)
    return np.where(column(outside), project(probs), probs) if outside.any() else probs


def _chart_step(d: Differential, r: int, size: float) -> FloatArray:
    """Step in the probabilities other than q_r, and project to where they are >= 0 with a sum of at most 1."""
    free = np.delete(np.arange(len(d.classes)), r)
    moved = d.probs[..., free] - size * d.grad(r)[..., free]
    room = np.maximum(moved, 0.0)
    total = np.asarray(row_sum(room))
    full = total >= 1.0
    probs = np.empty(d.probs.shape)
    probs[..., free] = np.where(column(full), project(moved), room)
    probs[..., r] = np.where(full, 0.0, 1.0 - total)
    return probs


def _log_step(d: Differential, change: FloatArray) -> FloatArray:
    there = ~np.isneginf(d.log_probs)
    logits = np.where(there, d.log_probs - np.where(there, change, 0.0), -np.inf)
    endless = (logits == np.inf).any(axis=-1)  # beyond float64's range: those classes take all
    logits = np.where(column(endless), np.where(logits == np.inf, 0.0, -np.inf), logits)
    lost = np.isneginf(logits).all(axis=-1)
    return np.where(column(lost), d.log_probs, logits)
