"""What a metric makes of the derivative: the vector on the simplex that steepest descent follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crossent.simplex.pairing import beyond_bounds, endless_slope, pair
from crossent.simplex.rows import column, infinite, only, row_sum, zeros_like
from crossent.simplex_inputs import Array, class_index

if TYPE_CHECKING:
    from crossent.simplex.one_form import Differential

METRICS = ("euclidean", "natural", "logit")


def part(d: Differential) -> Array:
    """Return which classes take part: those with q_c > 0 or p_c > 0."""
    return np.asarray(~np.isneginf(d.log_probs) | (d.truth > 0), dtype=bool)


def euclidean(d: Differential) -> Array:
    """Return a − mean(a) over the classes that take part."""
    here, ambient = part(d), only(part(d), d.ambient)
    relative = only(here, d.grad("in proportion"))
    if d.exact:
        start = ambient
    else:
        # Near the optimum a is near −P·(1, …, 1): the representative with smaller entries has more right bits.
        smaller = np.abs(relative).max(axis=-1) < np.abs(ambient).max(axis=-1)
        start = np.where(column(smaller), relative, ambient)
    beyond = infinite(start)
    count = here.sum(axis=-1)
    with np.errstate(over="ignore"):
        mean = row_sum(only(~beyond, start)) / np.asarray(count, dtype=object if d.exact else float)
        out = only(here, start - column(mean))
    for row in map(tuple, np.argwhere(beyond.any(axis=-1))):
        for c in np.flatnonzero(here[row]):
            direction = zeros_like(d.probs, (len(d.classes),))
            direction[here[row]] -= (direction[0] + 1) / int(count[row])
            direction[c] += 1
            out[(*row, c)] = pair(d[row], direction)
    return out


def logit_velocity(d: Differential) -> Array:
    """Return −J g for the logit gradient g, J = diag(q) − qqᵀ."""
    endless, lead, finite = endless_slope(d)
    velocity = _minus_jacobian(d, finite)
    return beyond_bounds(_minus_jacobian(d, lead), velocity, column(endless)) if endless.any() else velocity


def _minus_jacobian(d: Differential, g: Array) -> Array:
    q = d.probs
    out = q * (column(row_sum(q * g)) - g)
    top = np.argmax(d.log_probs, axis=-1)[..., None]
    # Minus the others: g_k − ⟨q, g⟩ cancels where q_k is near 1.
    np.put_along_axis(out, top, zeros_like(out, top.shape), axis=-1)
    np.put_along_axis(out, top, column(0 - row_sum(out)), axis=-1)
    return np.asarray(out + 0)


def chart_velocity(d: Differential, r: int) -> Array:
    """Return the steepest descent in the probabilities other than q_r, which are free there."""
    out = only(part(d), 0 - d.grad(r))
    up, down = (out == np.inf).any(axis=-1), (out == -np.inf).any(axis=-1)
    total = np.asarray(row_sum(only(~infinite(out), out)))
    paid = np.where(up, -np.inf, np.where(down, np.inf, 0 - total))
    out[..., r] = paid
    payer = part(d)[..., r]
    # A payer that takes no part has nothing to give: the others share the payment.
    return out if payer.all() else np.asarray(np.where(column(payer), out, 0 - euclidean(d)))


def velocity(d: Differential, metric: int | str) -> Array:
    """Return the motion of steepest descent in a metric by name, or in the chart of a class."""
    if isinstance(metric, str) and metric == "euclidean":
        return np.asarray(0 - euclidean(d))
    if isinstance(metric, str) and metric == "natural":
        return np.asarray(0 - d.natural)
    if isinstance(metric, str) and metric == "logit":
        return logit_velocity(d)
    return chart_velocity(d, class_index(metric, d.classes, "metric", METRICS))
