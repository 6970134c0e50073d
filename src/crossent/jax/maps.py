"""The loss of a truth, and its derivatives, in JAX operations: accurate on confident rows, differentiable to any order.

With q = softmax(z) along the last axis, and lse = log Σ exp(z_c)::

    surprise(z)        lse - z_c
    charge(z, p)       Σ p_c (lse - z_c)              the loss
    pull(z, p)         (Σ p) q_c - p_c                its gradient
    covariance(z, t)   q_c (t_c - <q, t>)             the gradient's derivative along t, for a truth of mass 1

Everything is related to the largest logit, with the rounding error of the subtraction carried along; what would cancel
is computed from the other classes. Every rule is a ``custom_jvp`` whose tangents are plain linear operations, chosen
such that JAX's transposes of them do not cancel either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

# Terms of a sum that are added up in one go, and sums that a CPU's vectors add up side by side.
BLOCK, LANES = 512, 64

F = TypeVar("F", bound=Callable[..., Any])


def rule(function: Callable[..., Array]) -> jax.custom_jvp[Array]:
    return jax.custom_jvp(compiled(function))


def compiled(function: F) -> F:
    """Compile: outside of jit too there is then one call of XLA, not one for each operation."""
    return cast(F, jax.jit(function))


class _Parts(NamedTuple):
    is_top: Array  # True at the largest logit
    probs: Array  # q
    others: Array  # Σ_{c≠top} exp(z_c - z_top), (..., 1)
    gap: Array  # z_top - z_c, rounded
    rest: Array  # what the rounding of -gap left


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a + b as a rounded sum and its exact remainder (Knuth's TwoSum); XLA keeps the order of additions."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def difference(a: Array, b: Array) -> tuple[Array, Array]:
    d, rest = _two_sum(a, -b)
    return d, jnp.where(jnp.isfinite(d), rest, 0)


def exp_difference(a: Array, b: Array) -> Array:
    """Return exp(a - b) for a <= b, of the exact difference."""
    d, rest = _two_sum(a, -b)
    e = jnp.exp(d)
    # Where there is no difference, nor a rest of it, e is 0; XLA has vectors for this test, not for one of d.
    return jnp.where(e > 0, e * (1 + rest), e)


def _at_largest(x: Array, largest: Array) -> Array:
    """Return True at the first of the largest of each row: with minima, as XLA's argmax is many times slower."""
    places = lax.broadcasted_iota(np.dtype(np.int32), x.shape, x.ndim - 1)
    first = jnp.where(x == largest, places, x.shape[-1]).min(axis=-1, keepdims=True)
    return places == first


@compiled
def _parts(z: Array) -> _Parts:
    largest = z.max(axis=-1, keepdims=True)
    is_top = _at_largest(z, largest)
    rivals = jnp.where(is_top, -jnp.inf, z)
    second = rivals.max(axis=-1, keepdims=True)
    # Scaled by the second largest, the sum stays in range where each single term of `others` has left it.
    odds = exp_difference(rivals, jnp.where(second == -jnp.inf, 0, second))
    sum_of_odds = total(odds)[..., None]
    d, rest = difference(second, largest)
    lead = jnp.exp(d) * (1 + rest)
    # XLA flushes subnormals: many rivals, each of them below the normal range, are summed before they are lowered.
    half = jnp.exp(0.5 * d)
    far = d < np.log(np.finfo(z.dtype).tiny) + 4
    others = jnp.where(far, half * (half * sum_of_odds) * (1 + rest), lead * sum_of_odds)
    # One +inf: the limit, all mass on it. Two, or every logit -inf: no limit, so NaN.
    nowhere = (second == jnp.inf) | (largest == -jnp.inf) | jnp.isnan(largest)
    others = jnp.where(nowhere, jnp.nan, jnp.where(largest == jnp.inf, 0, others))
    probs = jnp.where(jnp.isnan(others), jnp.nan, odds * (lead / (1 + others)))
    probs = jnp.where((largest == jnp.inf) & (others == 0), 0, probs)
    probs = jnp.where(is_top, 1 / (1 + others), probs)
    d, rest = difference(z, largest)
    return _Parts(is_top, probs, others, jnp.where(is_top, 0, -d), jnp.where(is_top, 0, rest))


def _add_pairs(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    high, rest = _two_sum(a[0], b[0])
    return high, (a[1] + b[1]) + rest


def _sum_of_pairs(high: Array, low: Array, axis: int = -1) -> tuple[Array, Array]:
    """Return the sums along an axis, in two parts that do not overlap."""
    zero = np.zeros((), high.dtype)
    high, low = lax.reduce((high, low), (zero, zero), _add_pairs, (high.ndim + axis,))
    return _two_sum(high, jnp.where(jnp.isfinite(high), low, 0))


@rule
def total(x: Array) -> Array:
    """Return the sum along the last axis, compensated: rounded about once, in whatever order it is added up."""
    high, low = x, jnp.zeros_like(x)
    # In blocks: over a long row the remainders themselves grow so large that their rounding would show.
    while high.shape[-1] > 4 * LANES:
        lanes = LANES * -(-high.shape[-1] // (LANES * BLOCK))
        padding = [(0, 0)] * (high.ndim - 1) + [(0, -high.shape[-1] % lanes)]
        blocks = (*high.shape[:-1], -1, lanes)
        high, low = _sum_of_pairs(jnp.pad(high, padding).reshape(blocks), jnp.pad(low, padding).reshape(blocks), -2)
    return _sum_of_pairs(high, low)[0]


@total.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return total(*primals), tangents[0].sum(axis=-1)


@compiled
def _against_top(z: Array, t: Array) -> tuple[Array, Array, Array]:
    """Return q, t and <q, t>, the last two less t at the top class where that has most of the mass.

    Neither t - <q, t> nor its transpose then has a 1 - q to cancel.
    """
    parts = _parts(z)
    q = probabilities(z)
    leads = parts.others < 1
    at_top = jnp.where(parts.is_top, t, 0).sum(axis=-1, keepdims=True)
    t = jnp.where(leads, jnp.where(parts.is_top, 0, t - at_top), t)
    mean = (jnp.where(leads & parts.is_top, 0, q) * t).sum(axis=-1, keepdims=True)
    return q, t, mean


@compiled
def covariance(z: Array, t: Array) -> Array:
    """Return q_c (t_c - <q, t>), the covariance matrix of the classes times t."""
    q, t, mean = _against_top(z, t)
    return q * (t - mean)


@rule
def probabilities(z: Array) -> Array:
    """Return softmax(z) along the last axis, each entry to a few ulp."""
    return _parts(z).probs


@probabilities.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return probabilities(*primals), covariance(primals[0], tangents[0])


@rule
def surprise(z: Array) -> Array:
    """Return -log softmax(z) along the last axis, never negative, each entry to a few ulp, also near 0."""
    parts = _parts(z)
    return parts.gap + (jnp.log1p(parts.others) - parts.rest)


@surprise.defjvp
def _(primals: Any, tangents: Any) -> Any:
    _, t, mean = _against_top(primals[0], tangents[0])
    return surprise(*primals), mean - t


@rule
def log_sum_exp(z: Array) -> Array:
    """Return log Σ exp(z_c) along the last axis."""
    return z.max(axis=-1) + jnp.log1p(_parts(z).others[..., 0])


@log_sum_exp.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (z,), (t,) = primals, tangents
    return log_sum_exp(z), (probabilities(z) * t).sum(axis=-1)


def _price(z: Array, p: Array) -> Array:
    """Return the surprise, and 0 for a class at -inf without truth."""
    gap = surprise(z)
    return jnp.where((p == 0) & (gap == jnp.inf), 0, gap)


@rule
def charge(z: Array, p: Array) -> Array:
    """Return Σ p_c (lse - z_c) along the last axis; a class with p_c = 0 adds exactly 0, at a logit of -inf too."""
    return total(p * _price(z, p))


def _charge_jvp(primals: Any, tangents: Any) -> Any:
    (z, p), (dz, dp) = primals, tangents
    tangent = jnp.zeros(z.shape[:-1], z.dtype)
    if not isinstance(dz, SymbolicZero):
        tangent += (pull(z, p) * dz).sum(axis=-1)
    if not isinstance(dp, SymbolicZero):
        tangent += (_price(z, p) * dp).sum(axis=-1)
    return charge(z, p), tangent


charge.defjvp(_charge_jvp, symbolic_zeros=True)


@rule
def pull(z: Array, p: Array) -> Array:
    """Return (Σ p) q_c - p_c, the gradient of ``charge``; each row sums to zero within a rounding."""
    parts, mass = _parts(z), total(p)[..., None]
    out = mass * parts.probs - p
    # The one with the most truth, where q - 1 may cancel, is minus the sum of the others.
    size = jnp.abs(p)
    most = _at_largest(size, size.max(axis=-1, keepdims=True))
    rest = -total(jnp.where(most, 0, out))[..., None]
    # Near the subnormal range, where others and the remainders of their sum are flushed to 0, it has its own formula.
    info = np.finfo(z.dtype)
    near = parts.others < z.shape[-1] * info.tiny / info.eps
    own = total(jnp.where(parts.is_top, 0, p))[..., None] - mass * (parts.others / (1 + parts.others))
    return jnp.where(most, jnp.where(near & parts.is_top, own, rest), out)


def _pull_jvp(primals: Any, tangents: Any) -> Any:
    (z, p), (dz, dp) = primals, tangents
    tangent = jnp.zeros_like(z)
    if not isinstance(dz, SymbolicZero):
        tangent += total(p)[..., None] * covariance(z, dz)
    if not isinstance(dp, SymbolicZero):
        tangent += _pull_along_truth(z, dp)
    return pull(z, p), tangent


pull.defjvp(_pull_jvp, symbolic_zeros=True)


@compiled
def _pull_along_truth(z: Array, dp: Array) -> Array:
    parts = _parts(z)
    q = probabilities(z)
    mass = dp.sum(axis=-1, keepdims=True)
    of_others = jnp.where(parts.is_top, 0, dp).sum(axis=-1, keepdims=True)
    others = jnp.where(parts.is_top, 0, q).sum(axis=-1, keepdims=True)
    leads = parts.is_top & (parts.others < 1)
    return jnp.where(leads, of_others - others * mass, q * mass - dp)
