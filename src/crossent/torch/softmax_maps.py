"""Softmax and its derivatives in torch operations: four maps, accurate on confident rows, closed under differentiation.

With q = softmax(z) along the last axis and lse = log Σ exp(z_c)::

    surprise(z)        lse - z_c
    probabilities(z)   q_c
    push(z, t)         <q, t> - t_c        the derivative of surprise along t
    pull(z, v)         (Σ v) q_c - v_c     its transpose: for a truth v, the gradient of the cross-entropy

The derivatives of each are made of these four, so that any order, forward or reverse, is exact and stays accurate.
Everything is related to the largest logit, with the rounding error of the subtraction carried along; what would cancel
is computed from the other classes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from crossent.torch.call import is_transformed

# By how much exponents are raised that would make a subnormal number, and below 1.5 times how much.
_SHIFTS = {torch.float32: 40.0, torch.float64: 300.0}


class _Parts(NamedTuple):
    top: Tensor  # index of the largest logit, (..., 1)
    probs: Tensor  # q
    others: Tensor  # Σ_{c≠top} exp(z_c - z_top), (..., 1)
    gap: Tensor  # z_top - z_c, rounded
    rest: Tensor  # what the rounding of -gap left


def _difference(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return a - b as a rounded difference and its exact remainder (Knuth's TwoSum)."""
    d = a - b
    back = d - a
    rest = (a - (d - back)) - (b + back)
    return d, torch.where(torch.isfinite(d), rest, 0.0)


def accurate_sum(x: Tensor) -> Tensor:
    """Return the sum along the last axis, kept, to an ulp or so of the sum of magnitudes.

    In float64; of float64 itself in two parts, of which the first is summed without any rounding (Rump, Ogita and
    Oishi, Accurate floating-point summation part I, 2008, section 3).
    """
    if x.dtype == torch.float32 and x.device.type != "mps":  # Metal has no float64
        return x.sum(dim=-1, keepdim=True, dtype=torch.float64).to(x.dtype)
    bound = 2.0 * (x.shape[-1] + 2) * x.abs().amax(dim=-1, keepdim=True)
    bound = torch.where(torch.isfinite(bound), bound, 0.0)
    leading = (bound + x) - bound
    return leading.sum(dim=-1, keepdim=True) + (x - leading).sum(dim=-1, keepdim=True)


def _exp_difference(a: Tensor, b: Tensor) -> Tensor:
    d, rest = _difference(a, b)
    return d.exp() * (1.0 + rest)


def _parts(z: Tensor) -> _Parts:
    top = z.argmax(dim=-1, keepdim=True)
    largest = z.gather(-1, top)
    rivals = z.scatter(-1, top, -torch.inf)
    second = rivals.amax(dim=-1, keepdim=True)
    # Scaled by the second largest, the sum stays in range where each single term of `others` has left it.
    odds = _exp_difference(rivals, torch.where(second == -torch.inf, 0.0, second))
    d, rest = _difference(second, largest)
    # Far behind, the second's term is subnormal and has few digits; the sum may yet have all of them.
    shift = _SHIFTS[z.dtype]
    far = d < -1.5 * shift
    back = torch.ones_like(d).masked_fill(far, math.exp(-shift))
    raised = torch.where(far, d + shift, d).exp() * (1.0 + rest)
    lead = raised * back
    others = raised * accurate_sum(odds) * back
    # One +inf: the limit, all mass on it. Two, or every logit -inf: no limit, so NaN.
    nowhere = (second == torch.inf) | (largest == -torch.inf) | largest.isnan()
    others = torch.where(nowhere, torch.nan, torch.where(largest == torch.inf, 0.0, others))
    probs = torch.where(others.isnan(), torch.nan, odds * (lead / (1.0 + others)))
    probs = torch.where((largest == torch.inf) & (others == 0.0), 0.0, probs)
    probs = probs.scatter(-1, top, 1.0 / (1.0 + others))
    d, rest = _difference(z, largest)
    return _Parts(top, probs, others, -d.scatter(-1, top, 0.0), rest.scatter(-1, top, 0.0))


def _surprise(z: Tensor) -> Tensor:
    parts = _parts(z)
    return parts.gap + (parts.others.log1p() - parts.rest)


def _probabilities(z: Tensor) -> Tensor:
    return _parts(z).probs


def _push(z: Tensor, t: Tensor) -> Tensor:
    parts = _parts(z)
    from_top = t.gather(-1, parts.top) - t
    across = torch.where(parts.probs == 0.0, 0.0, parts.probs * from_top).sum(dim=-1, keepdim=True)
    return from_top - across


def _pull(z: Tensor, v: Tensor) -> Tensor:
    parts = _parts(z)
    probs, total = parts.probs, v.sum(dim=-1, keepdim=True)
    out: Tensor = total * probs - v
    # The entries sum to zero. The one with the most truth, where q - 1 may cancel, is minus the sum of the others.
    most = v.abs().argmax(dim=-1, keepdim=True)
    rest = -accurate_sum(out.scatter(-1, most, 0.0))
    # Where those are subnormal, each has lost more than the sum may: of a label alone it is known without them.
    tail = torch.where(most == parts.top, parts.others / (1.0 + parts.others), 1.0 - probs.gather(-1, most))
    known = -total * tail
    faint = (known.abs() < 2 * v.shape[-1] * torch.finfo(v.dtype).tiny) & ((v != 0.0).sum(dim=-1, keepdim=True) == 1)
    return out.scatter(-1, most, torch.where(faint, known, rest))


class _Map(Function):
    """A map of the logits; its inputs are all that its derivatives need."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)


class _Surprise(_Map):
    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return _surprise(z)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return pull(z, u)


class _SurpriseBothWays(_Surprise):
    @staticmethod
    def jvp(ctx: Any, dz: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return push(z, dz)


class _Probabilities(_Map):
    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return _probabilities(z)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return -_spread(z, u)


class _ProbabilitiesBothWays(_Probabilities):
    @staticmethod
    def jvp(ctx: Any, dz: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return -_spread(z, dz)


class _Push(_Map):
    @staticmethod
    def forward(z: Tensor, t: Tensor) -> Tensor:
        return _push(z, t)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, Tensor | None]:
        z, t = ctx.saved_tensors
        of_z = -u.sum(dim=-1, keepdim=True) * _spread(z, t) if ctx.needs_input_grad[0] else None
        return of_z, pull(z, u) if ctx.needs_input_grad[1] else None


class _PushBothWays(_Push):
    @staticmethod
    def jvp(ctx: Any, dz: Tensor | None, dt: Tensor | None) -> Tensor:
        z, t = ctx.saved_tensors
        along_t = torch.zeros_like(t) if dt is None else push(z, dt)
        return along_t if dz is None else along_t - (_spread(z, dz) * t).sum(dim=-1, keepdim=True)


class _Pull(_Map):
    @staticmethod
    def forward(z: Tensor, v: Tensor) -> Tensor:
        return _pull(z, v)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, Tensor | None]:
        z, v = ctx.saved_tensors
        of_z = -v.sum(dim=-1, keepdim=True) * _spread(z, u) if ctx.needs_input_grad[0] else None
        return of_z, push(z, u) if ctx.needs_input_grad[1] else None


class _PullBothWays(_Pull):
    @staticmethod
    def jvp(ctx: Any, dz: Tensor | None, dv: Tensor | None) -> Tensor:
        z, v = ctx.saved_tensors
        along_v = torch.zeros_like(v) if dv is None else pull(z, dv)
        return along_v if dz is None else along_v - v.sum(dim=-1, keepdim=True) * _spread(z, dz)


def _spread(z: Tensor, t: Tensor) -> Tensor:
    """Return q_c (<q, t> - t_c): minus the covariance of the classes, times t."""
    q = probabilities(z)
    return torch.where(q == 0.0, 0.0, q * push(z, t))


def _apply(both_ways: type[Function], backward_only: type[Function], *inputs: Tensor) -> Tensor:
    # torch.compile does not trace a Function that has a forward derivative of its own, nor any under torch.func.
    compiling = torch.compiler.is_compiling()
    if compiling and is_transformed():
        plain: Tensor = backward_only.forward(*inputs)
        return plain
    function = backward_only if compiling else both_ways
    result: Tensor = function.apply(*inputs)  # type: ignore[no-untyped-call]
    return result


def surprise(z: Tensor) -> Tensor:
    """Return -log softmax(z) along the last axis, never negative, each entry to a few ulp, also near 0."""
    return _apply(_SurpriseBothWays, _Surprise, z)


def probabilities(z: Tensor) -> Tensor:
    """Return softmax(z) along the last axis, each entry to a few ulp."""
    return _apply(_ProbabilitiesBothWays, _Probabilities, z)


def push(z: Tensor, t: Tensor) -> Tensor:
    """Return <q, t> - t: the change of ``surprise(z)`` as z moves along t."""
    return _apply(_PushBothWays, _Push, z, t)


def pull(z: Tensor, v: Tensor) -> Tensor:
    """Return (Σ v) q - v: the gradient of ``(v * surprise(z)).sum()``; its rows sum to zero."""
    return _apply(_PullBothWays, _Pull, z, v)
