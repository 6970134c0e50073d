"""The promise about the errors of loss and gradient for labels, and the measure of a result against it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from families import BFLOAT16, FLOAT16, FLOAT32, FLOAT64
from numpy.typing import NDArray
from oracle import Exact, is_false_zero, is_subnormal, ulp, ulp_error


@dataclass
class Errors:
    """The worst errors of a set of rows, in ulp of the exact values; NaN counts as inf."""

    loss: float = 0.0
    target: float = 0.0  # the gradient's entry of the label
    others: float = 0.0  # the gradient's other entries
    subnormal: float = 0.0  # any of the three where the exact value is below the normal range, in its ulp
    row_sum: float = 0.0  # |sum of a row's gradient|, in ulp of its largest entry
    false_zeros: int = 0  # losses and target entries that are 0 though the dtype can hold the exact value

    def __or__(self, other: Errors) -> Errors:
        """Return the worst of both, and all false zeros."""
        worst = {f.name: max(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        worst["false_zeros"] = self.false_zeros + other.false_zeros
        return Errors(**worst)


@dataclass(frozen=True)
class Promise:
    """The largest errors allowed; a row sum of inf promises nothing."""

    loss: float
    target: float
    others: float
    subnormal: float = 64.0
    row_sum: float = math.inf
    false_zeros: int = 0

    def broken(self, errors: Errors) -> list[str]:
        """Name what is worse than promised, with the number."""
        return [
            f"{f.name} {getattr(errors, f.name):.3g} > {getattr(self, f.name):g}"
            for f in fields(self)
            if not getattr(errors, f.name) <= getattr(self, f.name)
        ]


# Sixteen-bit results are rounded once from float32, also in the subnormal range.
_WIDE = Promise(loss=4.0, target=5.0, others=8.0, row_sum=1.0)
_NARROW = Promise(loss=1.0, target=1.0, others=1.0, subnormal=1.0)
PROMISES = {FLOAT32: _WIDE, FLOAT64: _WIDE, FLOAT16: _NARROW, BFLOAT16: _NARROW}


def _worst(error: NDArray[np.float64], where: NDArray[np.bool_]) -> float:
    return float(error[where].max(initial=0.0))


def _row_sum(grad: NDArray[Any], small: NDArray[np.bool_], dtype: Any) -> float:
    worst = 0.0
    least = float(ulp(np.longdouble(0), dtype))
    for row, small_entries in zip(grad.astype(np.float64), small.sum(axis=1), strict=True):
        total = abs(math.fsum(row)) if np.isfinite(row).all() else math.inf
        # Below the normal range rounding is absolute: an entry e_c · factor, e_c ≤ 1, may be off by half the
        # smallest number for the factor and half for itself.
        excess = total - least * float(small_entries)
        if excess > 0.0:
            worst = max(worst, excess / float(ulp(np.longdouble(np.abs(row).max()), dtype)))
    return worst


def measure(loss: NDArray[Any], grad: NDArray[Any], label: NDArray[np.int64], exact: Exact) -> Errors:
    """Return the worst errors of labelled rows: loss (n,) and grad (n, c), in the dtype that is judged."""
    dtype = grad.dtype
    is_target = label[:, None] == np.arange(grad.shape[1])
    loss_error, grad_error = ulp_error(loss, exact.loss, dtype), ulp_error(grad, exact.grad, dtype)
    small_loss, small_grad = is_subnormal(exact.loss, dtype), is_subnormal(exact.grad, dtype)
    zeros = is_false_zero(loss, exact.loss, dtype).sum()
    zeros += is_false_zero(grad[is_target], exact.grad[is_target], dtype).sum()
    return Errors(
        loss=_worst(loss_error, ~small_loss),
        target=_worst(grad_error, is_target & ~small_grad),
        others=_worst(grad_error, ~is_target & ~small_grad),
        subnormal=max(_worst(loss_error, small_loss), _worst(grad_error, small_grad)),
        row_sum=_row_sum(grad, small_grad, dtype),
        false_zeros=int(zeros),
    )
