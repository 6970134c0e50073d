"""Second derivatives: of the loss as probabilities rise and as logits rise, and the Fisher information."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crossent.family.prediction import from_probs
from crossent.family.protocol import FamilyLoss
from crossent.simplex.pairing import NEAR, ROUNDING, almost, beyond_bounds, endless_slope, rates_close_by
from crossent.simplex.rows import column, infinite, only, zeros_like
from crossent.simplex_inputs import Array, Pay, payment_weights

if TYPE_CHECKING:
    from crossent.simplex.one_form import Differential

# What changes by less than this, relative to itself, from near a face to nearer, has come to its limit.
_SETTLED = 1e-9


def hessian(d: Differential, pay: Pay) -> Array:
    """Return (e_i − w)ᵀ A (e_j − w), with infinite entries as limits from inside."""
    second = _ambient(d)
    if isinstance(pay, str) and pay == "nobody":
        return second
    if isinstance(pay, str) and pay == "in proportion":
        return _in_proportion(d, second)
    weights = payment_weights(pay, d.classes, exact=d.exact)
    growth, rest = _growth(d, second)
    out = _between(rest, weights)
    for rate in reversed(growth):
        lead, size = _between(rate, weights), _between(abs(rate), abs(weights) * -1)
        decided = np.asarray(abs(lead) > (0 if d.exact else ROUNDING) * size, dtype=bool)
        out = np.where(decided, np.where(lead > 0, np.inf, -np.inf), out)
    return out


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
    endless, lead, slope = endless_slope(d)
    curved = _along_rises(d, _ambient(d), in_logits=True) + _bend(d.probs, slope)
    return beyond_bounds(_bend(d.probs, lead), curved, column(column(endless))) if endless.any() else curved


def _bend(q: Array, slope: Array) -> Array:
    """Return what the curvature of softmax adds: diag(g) − q gᵀ − g qᵀ for the logit gradient g."""
    cross = q[..., :, None] * slope[..., None, :]
    return np.asarray(_diagonal(slope) - (cross + np.swapaxes(cross, -1, -2)))


def _along_rises(d: Differential, second: Array, *, in_logits: bool = False) -> Array:
    """Return (e_i − q)ᵀ A (e_j − q), or q_i q_j times as much: J A J for the softmax Jacobian J.

    An entry A_kk that is infinite is taken at two distances from the face, with what multiplies it there.
    """
    index = np.arange(d.probs.shape[-1])
    outer = d.probs if in_logits else np.ones_like(d.probs)
    rise = np.asarray(np.zeros_like(second) - d.probs[..., None, :])
    rise[..., index, index] = 0.0 - np.expm1(d.log_probs)
    rise *= outer[..., :, None]
    steep = infinite(second[..., index, index])
    fixed = np.asarray(rise @ only(~infinite(second), second) @ np.swapaxes(rise, -1, -2))
    if not steep.any():
        return fixed
    near, nearer = (_steep_parts(d, steep, distance, in_logits) for distance in (NEAR, NEAR * 1e-20))
    falls = [np.abs(close) < (1 - _SETTLED) * np.abs(far) for far, close in zip(near, nearer, strict=True)]
    far, size = _steep_terms(near, falls, outer)
    close, _ = _steep_terms(nearer, falls, outer)
    moves = np.abs(close - far) > _SETTLED * size
    return np.where(moves, np.where(close > far, np.inf, -np.inf), fixed + close)


def _steep_parts(d: Differential, steep: Array, distance: float, in_logits: bool) -> list[Array]:
    """Return A_kk (1 − q_k)², A_kk q_k (1 − q_k) and A_kk q_k² near the face.

    In logits the first is multiplied by q_k², the second by q_k.
    """
    assert d.loss_function is not None
    row = column(steep.any(axis=-1))
    q = from_probs(np.where(row, np.maximum(d.probs, distance), d.probs))
    with np.errstate(all="ignore"):
        entry = only(steep, np.diagonal(np.asarray(d.loss_function.hessian(q.probs, d.truth)), axis1=-2, axis2=-1))
    once, twice = entry * q.probs, entry * q.probs * q.probs
    own, crossing = (twice, twice) if in_logits else (entry, once)
    return [own * q.rest**2, crossing * q.rest, twice]


def _steep_terms(parts: list[Array], falls: list[Array], outer: Array) -> tuple[Array, Array]:
    """Return the sum over k of A_kk (e_i − q)_k (e_j − q)_k, and of its size; parts that fall to 0 left out."""
    own, crossing, others = (only(~falling, part) for part, falling in zip(parts, falls, strict=True))
    cross = outer[..., :, None] * outer[..., None, :]
    total, size = np.zeros_like(cross), np.zeros_like(cross)
    for k in np.flatnonzero(((own != 0) | (others != 0)).reshape(-1, own.shape[-1]).any(axis=0)):
        term = others[..., k, None, None] * cross
        term[..., k, :] = term[..., :, k] = -crossing[..., k, None] * outer
        term[..., k, k] = own[..., k]
        total += term
        size += np.abs(term)
    return total, size


def _in_proportion(d: Differential, second: Array) -> Array:
    if d.loss_function is not None:
        return _along_rises(d, second)
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
    there = ~infinite(a) & np.asarray(d.probs > 0, dtype=bool)
    with np.errstate(over="ignore"):
        entry[there] = (0 - a[there]) / d.probs[there]
    entry[here & ~there] = np.inf
    return _diagonal(entry)


def _growth(d: Differential, second: Array) -> tuple[list[Array], Array]:
    """Return at what rates the entries grow near the face, the fastest first, and what is finite."""
    beyond = infinite(second)
    if not beyond.any():
        return [], second
    loss = d.loss_function
    if loss is None:  # p/q² grows as 1/p times a common rate
        rate = zeros_like(d.truth)
        absent = np.asarray((d.truth > 0) & np.isneginf(d.log_probs), dtype=bool)
        rate[absent] = 1 / d.truth[absent]
        rate[~absent] += 1
        return [only(beyond, _diagonal(rate))], only(~beyond, second)
    known = loss.hessian_growth(d.truth) if isinstance(loss, FamilyLoss) else None
    if known is not None:
        return [only(beyond, _diagonal(rate)) for rate in known[:-1]], np.where(beyond, _diagonal(known[-1]), second)
    with np.errstate(all="ignore"):
        close = np.asarray(loss.hessian(np.maximum(almost(d), NEAR * (d.truth == 0)), d.truth))
    return rates_close_by(close, beyond), only(~beyond, second)


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
