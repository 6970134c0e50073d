"""The loss of labels and its gradient, in JAX operations: as :mod:`crossent.jax.maps` has it for distributions, faster.

The label is left out of the sum of exponentials. With m the largest other logit, D = m - z_y and
S = Σ_{c≠y} exp(z_c - m), the odds against the label are o = e^D S, and::

    lse - z_y = log(1 + o) = D + log(S + e^-D)
    q_c       = exp(z_c - m) e^D / (1 + o) = exp(z_c - m) / (S + e^-D)

Nothing is subtracted from 1, and where D > 0 the second forms cannot overflow. No row's largest logit has to be found
by its place, which takes XLA longer than all the rest.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from crossent.jax.maps import compiled, covariance, difference, exp_difference, rule, total


class _Rivals(NamedTuple):
    exps: Array  # exp(z_c - m), 0 at the label
    sum: Array  # S
    lead: Array  # D
    rest: Array  # what the rounding of D left
    odds: Array  # o


def _is_label(z: Array, label: Array) -> Array:
    return lax.broadcasted_iota(label.dtype, z.shape, z.ndim - 1) == label[..., None]


def _made_once(x: Array) -> Array:
    """Keep XLA from making it anew inside of each sum over it, which it does one number at a time."""
    same: Array = lax.optimization_barrier(x)  # type: ignore[no-untyped-call]
    return same


@compiled
def _rivals(z: Array, label: Array) -> _Rivals:
    is_label = _is_label(z, label)
    rivals = _made_once(jnp.where(is_label, -jnp.inf, z))
    top = rivals.max(axis=-1, keepdims=True)
    reference = jnp.where(top == -jnp.inf, 0, top)
    exps = _made_once(jnp.where(rivals == reference, 1, exp_difference(rivals, reference)))
    top, summed = top[..., 0], total(exps)
    # One +inf: the limit, all mass on it. Two: no limit, so NaN.
    summed = jnp.where((top == jnp.inf) & (summed > 1), jnp.nan, summed)
    lead, rest = difference(top, jnp.where(is_label, z, 0).sum(axis=-1))
    # XLA flushes subnormals: many rivals, each of them below the normal range, are summed before they are lowered.
    half = jnp.exp(0.5 * lead)
    far = lead < np.log(np.finfo(z.dtype).tiny) + 4
    odds = jnp.where(far, half * (half * summed), jnp.exp(lead) * summed) * (1 + rest)
    return _Rivals(exps, summed, lead, rest, odds)


@rule
def label_charge(z: Array, label: Array) -> Array:
    """Return lse - z_y along the last axis, for labels in [0, C)."""
    rivals = _rivals(z, label)
    behind = rivals.lead + (jnp.log(rivals.sum + jnp.exp(-rivals.lead) * (1 - rivals.rest)) + rivals.rest)
    return jnp.where(rivals.lead > 0, behind, jnp.log1p(rivals.odds))


def _charge_jvp(primals: Any, tangents: Any) -> Any:
    z, label = primals
    if isinstance(tangents[0], SymbolicZero):
        return label_charge(z, label), jnp.zeros(z.shape[:-1], z.dtype)
    return label_charge(z, label), (label_pull(z, label) * tangents[0]).sum(axis=-1)


label_charge.defjvp(_charge_jvp, symbolic_zeros=True)


@rule
def label_pull(z: Array, label: Array) -> Array:
    """Return q_c, less 1 at the label, the gradient of ``label_charge``; each row sums to zero within a rounding."""
    rivals = _rivals(z, label)
    down = jnp.exp(-rivals.lead) * (1 - rivals.rest)
    up = jnp.exp(rivals.lead) * (1 + rivals.rest)
    unit = jnp.where(rivals.lead > 0, 1 / (rivals.sum + down), up / (1 + rivals.odds))
    out = _made_once(rivals.exps * unit[..., None])
    # Near the subnormal range, where others and the remainders of their sum are flushed to 0, it has its own formula.
    info = np.finfo(z.dtype)
    near = rivals.odds < z.shape[-1] * info.tiny / info.eps
    own = jnp.where(near, rivals.odds, total(out))
    return jnp.where(_is_label(z, label), -own[..., None], out)


def _pull_jvp(primals: Any, tangents: Any) -> Any:
    z, label = primals
    if isinstance(tangents[0], SymbolicZero):
        return label_pull(z, label), jnp.zeros_like(z)
    return label_pull(z, label), covariance(z, tangents[0])


label_pull.defjvp(_pull_jvp, symbolic_zeros=True)
