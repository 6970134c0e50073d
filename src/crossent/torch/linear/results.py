"""What a pass over a head's rows is asked for, and what it returns."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crossent.torch import kernels
from crossent.torch.call import Call
from crossent.torch.formulas import Rows, wide_sum
from crossent.torch.linear.call import HeadCall
from crossent.torch.linear.rows import Result

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Wanted(NamedTuple):
    """Which results a pass is to compute beside the loss.

    Attributes
    ----------
    x, weight, bias : bool
        Gradients.
    lse, accuracy : bool
    """

    x: bool = False
    weight: bool = False
    bias: bool = False
    lse: bool = False
    accuracy: bool = False

    @property
    def gradient(self) -> bool:
        """Whether any gradient is wanted."""
        return self.x or self.weight or self.bias

    def without_gradients(self) -> Wanted:
        """Return the same without those."""
        return self._replace(x=False, weight=False, bias=False)

    @classmethod
    def gradients_of(cls, call: HeadCall, *, lse: bool = False, accuracy: bool = False) -> Wanted:
        """Return which of the tensors autograd asks for."""
        x, weight, bias = (
            torch.is_grad_enabled() and t is not None and t.requires_grad
            for t in (call.x, call.linear_weight, call.linear_bias)
        )
        return cls(x, weight, bias, lse, accuracy)


class Pass(NamedTuple):
    """What a pass returns: the result, and the gradients in the computing dtype.

    Attributes
    ----------
    result : Result
    x, weight, bias : Tensor or None
    """

    result: Result
    x: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    @property
    def gradients(self) -> Gradients:
        """Those of x, the weights and the bias."""
        return self.x, self.weight, self.bias


def check_labels(call: HeadCall) -> None:
    """Raise an IndexError for a class outside [0, C) in labels or in sparse distributions."""
    if call.indices is None:
        kernels.check_labels(call.loss)
        return
    classes = call.linear_weight.shape[0]
    bad = (call.indices < 0) | (call.indices >= classes)
    if bool(bad.any()):
        row, column = (int(i) for i in bad.nonzero()[0])
        value = int(call.indices[row, column])
        raise IndexError(f"target[0][{row}, {column}] = {value} is outside [0, {classes})")


def denominator_of(loss: Call, rows: Rows) -> float | Tensor:
    """Return what the sum of the rows' losses is divided by."""
    if loss.reduction != "mean":
        return 1.0
    if loss.normalizer is not None:
        return loss.normalizer
    weight = wide_sum(rows.weight)
    if weight.device.type == "meta":
        return 1.0
    # A mean of nothing is NaN, as PyTorch has it.
    number = float(weight)
    return number if number != 0.0 else float("nan")
