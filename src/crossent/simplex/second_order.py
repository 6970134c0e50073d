"""Second derivatives: of the loss as probabilities rise and as logits rise, and the Fisher information."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crossent.simplex.pairing import NEAR, ROUNDING, almost, beyond_bounds, endless_slope, relative
from crossent.simplex.rows import column, infinite, only, zeros_like
from crossent.simplex_inputs import Array, Pay, payment_weights

if TYPE_CHECKING:
    from crossent.simplex.one_form import Differential

# Near a face, a second derivative beyond this has no bound.
_ENDLESS = 1e50


def hessian(d: Differential, pay: Pay) -> Array:
    """Return (e_i − w)ᵀ A (e_j − w), with infinite entries as limits from inside."""
    second = _ambient(d)
    if isinstance(pay, str) and pay == "nobody":
        return second
    if isinstance(pay, str) and pay == "in proportion":
        return _in_proportion(d, second)
    weights = payment_weights(pay, d.classes, exact=d.exact)
    beyond = infinite(second)
    finite = _between(only(~beyond, second), weights)
    if not beyond.any():
        return finite
    rate = only(beyond, _rates(d, second))
    lead = _between(rate, weights)
    size = _between(abs(rate), abs(weights) * -1)
    decided = np.asarray(abs(lead) > (0 if d.exact else ROUNDING) * size, dtype=bool)
    return np.where(decided, np.where(lead > 0, np.inf, -np.inf), finite)


def fisher_metric(d: Differential, pay: Pay) -> Array:
    """Return (e_i − w)ᵀ diag(1/q) (e_j − w); a class with q_c = 0 has inf."""
    inverse = zeros_like(d.probs)
    there = np.asarray(d.probs > 0, dtype=bool)
    with np.errstate(over="ignore"):
        inverse[there] = 1 / d.probs[there]
    inverse[~there] = np.inf
    second = _diagonal(inverse)
    if isinstance(pay, str) and pay == "nobody":
        return second
    if isinstance(pay, str) and pay == "in proportion":
        return np.asarray(second - 1)
    weights = payment_weights(pay, d.classes, exact=d.exact)
    beyond = infinite(second)
    lead = _between(_diagonal(np.where(infinite(inverse), 1, 0) + zeros_like(inverse)), weights)
    finite = _between(only(~beyond, second), weights)
    return np.where(np.asarray(lead != 0, dtype=bool), np.where(lead > 0, np.inf, -np.inf), finite)


def fisher(d: Differential) -> Array:
    """Return diag(q) − qqᵀ."""
    q = d.probs
    out = np.asarray(0 - q[..., :, None] * q[..., None, :])
    # 1 − q_c from the logarithm, which is right where q_c is near 1.
    rest = 1 - q if d.exact else 0.0 - np.expm1(d.log_probs)
    index = np.arange(q.shape[-1])
    out[..., index, index] = q * rest
    return out


def hessian_logits(d: Differential) -> Array:
    """Return P (diag(q) − qqᵀ), or Jᵀ A J + Σ_c a_c ∂²q_c/∂z∂zᵀ for another loss."""
    if d.loss_function is None:
        return np.asarray(column(column(d.mass)) * fisher(d))
    q, second = _nearly(d)
    jacobian = np.asarray(0.0 - q[..., :, None] * q[..., None, :])
    index = np.arange(q.shape[-1])
    jacobian[..., index, index] = q * (0.0 - np.expm1(d.log_probs))
    slope = np.where(np.isinf(d.logits), 0.0, d.logits)
    curved = np.asarray(jacobian @ second @ jacobian + _bend(q, slope))
    endless, lead = endless_slope(d)
    return beyond_bounds(_bend(q, lead), curved, column(column(endless))) if endless.any() else curved


def _bend(q: Array, slope: Array) -> Array:
    """Return what the curvature of softmax adds: diag(g) − q gᵀ − g qᵀ for the logit gradient g."""
    cross = q[..., :, None] * slope[..., None, :]
    return np.asarray(_diagonal(slope) - (cross + np.swapaxes(cross, -1, -2)))


def _nearly(d: Differential) -> tuple[Array, Array]:
    """Return the prediction and the ambient second derivative just inside."""
    assert d.loss_function is not None
    steep = infinite(_ambient(d)).any(axis=-1)
    q = np.where(steep, np.maximum(almost(d), NEAR * (d.truth == 0)), d.probs)
    with np.errstate(all="ignore"):
        return q, np.asarray(d.loss_function.hessian(q, d.truth))


def _in_proportion(d: Differential, second: Array) -> Array:
    if d.loss_function is not None:
        q, inside = _nearly(d)
        out = _between(inside, q)
        return np.where(abs(out) > _ENDLESS, np.where(out > 0, np.inf, -np.inf), out)
    # A w = p/q = −a and wᵀ A w = P, in the limit too, where A grows as 1/ε² and a as 1/ε.
    ambient, beyond = d.ambient, infinite(second)
    with np.errstate(invalid="ignore"):
        out = only(~beyond, second) + column(column(d.mass)) + (ambient[..., :, None] + ambient[..., None, :])
    out[beyond] = np.inf
    return np.asarray(out)


def _ambient(d: Differential) -> Array:
    if d.loss_function is not None:
        with np.errstate(all="ignore"):
            return np.asarray(d.loss_function.hessian(d.probs, d.truth)) + 0.0
    a = d.ambient
    entry = zeros_like(a)
    here = np.asarray(d.truth > 0, dtype=bool)
    there = here & ~infinite(a) & np.asarray(d.probs > 0, dtype=bool)
    with np.errstate(over="ignore"):
        entry[there] = (0 - a[there]) / d.probs[there]
    entry[here & ~there] = np.inf
    return _diagonal(entry)


def _rates(d: Differential, second: Array) -> Array:
    """Return how fast entries grow on the segment to the truth: p/q² does as 1/p times a common rate."""
    if d.loss_function is not None:
        growth = _nearly(d)[1].reshape(*d.shape, -1)
        return relative(growth, infinite(second).reshape(growth.shape)).reshape(second.shape)
    rate = zeros_like(d.truth)
    absent = np.asarray((d.truth > 0) & np.isneginf(d.log_probs), dtype=bool)
    rate[absent] = 1 / d.truth[absent]
    rate[~absent] += 1
    return _diagonal(rate)


def _between(second: Array, w: Array) -> Array:
    """Return B A Bᵀ with B = I − 1wᵀ; a single payer's row and column are exactly 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        left = np.asarray((second * w[..., None, :]).sum(axis=-1))
        both = np.asarray((w * left).sum(axis=-1))
        return np.asarray((second + column(column(both))) - (left[..., :, None] + left[..., None, :]))


def _diagonal(entries: Array) -> Array:
    out = zeros_like(entries, (*entries.shape, entries.shape[-1]))
    index = np.arange(entries.shape[-1])
    out[..., index, index] = entries
    return out
