"""The gradients of this rank's logits, a tile at a time, and the two products made of each while it is at hand."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crossent.torch.parallel.logits import Logits
from crossent.torch.parallel.rows import Rows
from crossent.torch.parallel.truth import Truth


class Gradients(NamedTuple):
    """What to compute: buffers that are zero, or None for what needs no gradient.

    Attributes
    ----------
    x : Tensor (k, d)
        Of the rows that take part, in the computing dtype; to be summed over the ranks.
    weight, bias : Tensor (c, d), (c)
        This rank's; the weight's in its own dtype, the bias's in the computing one.
    """

    x: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def fill(gradients: Gradients, logits: Logits, truth: Truth, rows: Rows, largest: Tensor, loss_bar: Tensor) -> None:
    """Add the gradients for cotangents of the rows' losses.

    Parameters
    ----------
    largest : int64 Tensor (k)
        The class of the row's largest logit where this rank holds it, counted from its first, else -1.
    loss_bar : Tensor (k)
        float64.
    """
    if gradients == (None, None, None):
        return
    dtype = logits.x.dtype
    scaled = _Scaled(rows.top, (loss_bar * rows.factor).to(dtype), loss_bar * rows.special, rows.mass, loss_bar)
    for classes in logits.class_blocks():
        weights = logits.weights(classes)
        of_weight = None if gradients.weight is None else gradients.weight[classes]
        # Low precision is rounded once, after the last block of rows.
        total = of_weight if of_weight is None or of_weight.dtype == dtype else torch.zeros_like(weights)
        for at in logits.row_blocks():
            grad = _tile(logits, truth, scaled, largest, at, classes)
            if gradients.x is not None:
                gradients.x[at].addmm_(grad, weights)
            if total is not None:
                total.addmm_(grad.T, logits.x[at])
            if gradients.bias is not None:
                gradients.bias[classes] += grad.sum(dim=0)
        if of_weight is not None and total is not None and total is not of_weight:
            of_weight.copy_(total)


class _Scaled(NamedTuple):
    """The rows' coefficients: ``factor``, in the computing dtype, and ``special`` times the cotangents ``bar``."""

    top: Tensor
    factor: Tensor
    special: Tensor
    mass: Tensor
    bar: Tensor


def _tile(logits: Logits, truth: Truth, scaled: _Scaled, largest: Tensor, at: slice, classes: slice) -> Tensor:
    z = logits.uncapped(at, classes)
    slope = logits.slope(z)
    grad = logits.capped(z).sub_(scaled.top[at].unsqueeze(1)).exp_().mul_(scaled.factor[at].unsqueeze(1))
    p = truth.probs(at, classes) if truth.is_spread else None
    if p is not None:
        grad.addcmul_(scaled.bar[at].to(grad.dtype).unsqueeze(1), p, value=-1.0)
    place, column = truth.within(largest if truth.is_spread or truth.label is None else truth.label, at, classes)
    entry = scaled.special[at][place]
    if p is not None:
        entry = entry + scaled.bar[at][place] * (scaled.mass[at][place] - p[place, column].double())
    grad[place, column] = entry.to(grad.dtype)
    return logits.chain_(grad, slope)
