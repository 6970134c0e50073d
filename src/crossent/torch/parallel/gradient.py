"""The gradients of this rank's logits, a tile at a time, and the two products made of each while it is at hand."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crossent.torch.parallel.logits import Logits
from crossent.torch.parallel.rows import Rows
from crossent.torch.parallel.thinning import thinning_of
from crossent.torch.parallel.truth import Truth


class Gradients(NamedTuple):
    """What to compute: buffers that are zero, or None for what needs no gradient.

    Attributes
    ----------
    x : Tensor (k, d)
        Of the rows that take part, in the computing dtype; to be summed over the ranks.
    weight, bias : Tensor (c, d), (c)
        This rank's; the weight's in its own dtype, the bias's in the computing one.
    target : Tensor (k, c) or (k, few classes)
        Of the rows that take part; of distributions over a few, this rank's classes, to be summed over the ranks.
    class_weight : float64 Tensor (c)
        Of this rank's classes.
    """

    x: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    target: Tensor | None
    class_weight: Tensor | None


class Bars(NamedTuple):
    """Cotangents of the rows that take part, float64 Tensors (k): of their losses with their sample weights, of those
    before, and of their log-sum-exp; and the loss, where the rows' weights are its denominator.
    """

    share: Tensor
    loss: Tensor
    lse: Tensor | None
    mean: float

    @property
    def size(self) -> Tensor:
        """What the rows' gradients are measured against."""
        return self.loss.abs() if self.lse is None else self.loss.abs() + self.lse.abs()


def fill(gradients: Gradients, logits: Logits, truth: Truth, rows: Rows, largest: Tensor, bars: Bars) -> None:
    """Add the gradients for cotangents of the rows' losses and of their log-sum-exp.

    Parameters
    ----------
    largest : int64 Tensor (k)
        The class of the row's largest logit where this rank holds it, counted from its first, else -1.
    """
    if all(each is None for each in gradients):
        return
    dtype = logits.x.dtype
    scaled = _scaled(rows, bars, dtype)
    thinning = thinning_of(truth, bars.size)
    if gradients.class_weight is not None and truth.label is not None:
        _charge_labels(gradients.class_weight, truth, rows, bars)
    for classes in logits.class_blocks():
        weights = logits.weights(classes)
        of_weight = None if gradients.weight is None else gradients.weight[classes]
        # Low precision is rounded once, after the last block of rows.
        total = of_weight if of_weight is None or of_weight.dtype == dtype else torch.zeros_like(weights)
        for at in logits.row_blocks():
            grad = _tile(gradients, logits, truth, scaled, largest, at, classes)
            if gradients.bias is not None:
                gradients.bias[classes] += grad.sum(dim=0)
            if thinning is not None:
                of_x = None if gradients.x is None else gradients.x[at]
                thinning.add_products(grad, at, classes, logits.x[at], weights, of_x, total)
                continue
            if gradients.x is not None:
                gradients.x[at].addmm_(grad, weights)
            if total is not None:
                total.addmm_(grad.T, logits.x[at])
        if of_weight is not None and total is not None and total is not of_weight:
            of_weight.copy_(total)


class _Scaled(NamedTuple):
    """The rows' coefficients: ``factor``, in the computing dtype, and ``special`` times the cotangents ``bar``."""

    top: Tensor
    factor: Tensor
    special: Tensor
    mass: Tensor
    above: Tensor
    bar: Tensor


def _scaled(rows: Rows, bars: Bars, dtype: torch.dtype) -> _Scaled:
    factor, special = bars.loss * rows.factor, bars.loss * rows.special
    if bars.lse is not None:
        factor, special = factor + bars.lse * rows.unit, special + bars.lse * rows.share
    return _Scaled(rows.top, factor.to(dtype), special, rows.mass, rows.above.to(dtype), bars.loss)


def _tile(
    gradients: Gradients, logits: Logits, truth: Truth, scaled: _Scaled, largest: Tensor, at: slice, classes: slice
) -> Tensor:
    z = logits.uncapped(at, classes)
    slope = logits.slope(z)
    below = logits.capped(z).sub_(scaled.top[at].unsqueeze(1))
    if gradients.target is not None:
        _charge(gradients.target, truth, below, scaled, at, classes)
    if gradients.class_weight is not None and truth.is_spread:
        _charge_classes(gradients.class_weight, truth, below, scaled, at, classes)
    grad = below.exp_().mul_(scaled.factor[at].unsqueeze(1))
    p = truth.probs(at, classes) if truth.is_spread else None
    if p is not None:
        grad.addcmul_(scaled.bar[at].to(grad.dtype).unsqueeze(1), p, value=-1.0)
    place, column = truth.within(largest if truth.is_spread or truth.label is None else truth.label, at, classes)
    entry = scaled.special[at][place]
    if p is not None:
        entry = entry + scaled.bar[at][place] * (scaled.mass[at][place] - p[place, column].double())
    grad[place, column] = entry.to(grad.dtype)
    return logits.chain_(grad, slope)


def _charge(target: Tensor, truth: Truth, below: Tensor, scaled: _Scaled, at: slice, classes: slice) -> None:
    """Write the derivative for the truth, (1 - ε) w_c (lse - z_c), of a tile whose z_c - top are ``below``."""
    price = (scaled.bar[at] * (1.0 - truth.smoothing)).to(below.dtype).unsqueeze(1)
    if truth.class_weight is not None:
        price = price * truth.class_weight[classes]
    gap = scaled.above[at].unsqueeze(1) - below
    # A masked class has an infinite gap.
    bar = torch.where(price == 0.0, 0.0, gap * price)
    if truth.indices is None:
        target[at, classes] = bar
    else:
        row, column, place = truth.few_within(at, classes)
        target[at][row, place] = bar[row, column]


def _charge_classes(of_weight: Tensor, truth: Truth, below: Tensor, scaled: _Scaled, at: slice, classes: slice) -> None:
    """Add a tile's part of the derivative for the class weights, Σ p_c (lse - z_c), p before they multiply it."""
    charge = truth.probs(at, classes, weighted=False) * scaled.bar[at].to(below.dtype).unsqueeze(1)
    gap = scaled.above[at].unsqueeze(1) - below
    of_weight[classes] += torch.where(charge == 0.0, 0.0, gap.mul_(charge)).sum(dim=0, dtype=torch.float64)


def _charge_labels(of_weight: Tensor, truth: Truth, rows: Rows, bars: Bars) -> None:
    """Add what a label's class weight multiplies by itself; it counts in the denominator of a mean, too."""
    held, label = truth.own_labels()
    bar = bars.loss[held]
    of_weight.index_add_(0, label, torch.where(bar == 0.0, 0.0, bar * (rows.of_label[held] - bars.mean)))
