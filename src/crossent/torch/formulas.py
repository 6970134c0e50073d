"""The loss in torch operations, for any device and every transform: the same formulas as the kernels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from crossent.torch.call import Call, compute_dtype
from crossent.torch.softmax_maps import surprise


def cross_entropy(call: Call) -> Tensor:
    """Return the loss of a checked call, differentiable to any order in every floating input."""
    z, rows = rows_of(call)
    losses = _row_losses(call, z, rows)
    return reduced(call, losses, rows.weight)


def reduced(call: Call, losses: Tensor, weight: Tensor) -> Tensor:
    """Return the losses of the rows, reduced; ``weight`` is what each row counts for in a mean."""
    if call.reduction == "none":
        return losses.to(call.loss_dtype)
    total = wide_sum(losses)
    if call.reduction == "mean":
        total = total / (wide_sum(weight) if call.normalizer is None else call.normalizer)
    return total.to(call.loss_dtype)


def wide_sum(values: Tensor) -> Tensor:
    """Return the sum of all, in float64: as accurate as one of many. (Metal has no float64.)"""
    return values.sum() if values.device.type == "mps" else values.sum(dtype=torch.float64)


class Rows:
    """What the rows of a call weigh, by rows' shape: for the mean, and whether they take part at all."""

    def __init__(self, call: Call, dtype: torch.dtype) -> None:
        self.label: Tensor | None = None
        self.class_weight = None if call.weight is None else call.weight.to(dtype)
        if call.is_soft:
            self.weight = torch.ones_like(call.target.select(call.axis, 0), dtype=dtype)
            part = None
        else:
            part = call.target != call.ignore_index
            self.label = torch.where(part, call.target, 0).to(torch.int64)
            self.weight = part.to(dtype)
            if self.class_weight is not None:
                of_label = functional.embedding(self.label, self.class_weight.unsqueeze(1)).squeeze(-1)
                self.weight = torch.where(part, of_label, 0.0)
                # A row of weight 0 takes no part; with smoothing the other classes keep it in.
                part = part if call.smoothing else self.weight != 0.0
        self.of_label = self.weight
        if call.sample_weight is not None:
            heavy = call.sample_weight != 0.0
            part = heavy if part is None else part & heavy
            self.weight = self.weight * call.sample_weight.to(dtype)
        self.take_part = part


def rows_of(call: Call) -> tuple[Tensor, Rows]:
    """Return the logits with the classes last, 0 in rows that take no part (which may hold NaN), and their weights."""
    z = call.logits.movedim(call.axis, -1).to(compute_dtype(call.logits.dtype))
    rows = Rows(call, z.dtype)
    return z if rows.take_part is None else torch.where(rows.take_part.unsqueeze(-1), z, 0.0), rows


def _row_losses(call: Call, z: Tensor, rows: Rows) -> Tensor:
    gap = surprise(z)
    if call.is_soft:
        p = call.target.movedim(call.axis, -1).to(z.dtype)
        if call.smoothing:
            p = p * (1.0 - call.smoothing) + call.smoothing / z.shape[-1]
        losses = _charged(p if rows.class_weight is None else p * rows.class_weight, gap).sum(dim=-1)
    else:
        assert rows.label is not None
        of_label = gap.gather(-1, rows.label.unsqueeze(-1)).squeeze(-1)
        losses = _charged(rows.of_label * (1.0 - call.smoothing), of_label)
        if call.smoothing:
            each = torch.ones_like(z[..., :1]) if rows.class_weight is None else rows.class_weight
            losses = losses + _charged(each * (call.smoothing / z.shape[-1]), gap).sum(dim=-1)
    if call.z_loss:
        losses = losses + call.z_loss * rows.of_label * log_sum_exp(z, gap) ** 2
    if rows.take_part is not None:
        losses = torch.where(rows.take_part, losses, 0.0)
    return losses if call.sample_weight is None else losses * call.sample_weight.to(z.dtype)


def log_sum_exp(z: Tensor, gap: Tensor) -> Tensor:
    """Return lse of each row, from the logits and their surprise."""
    top = z.argmax(dim=-1, keepdim=True)
    return (z.gather(-1, top) + gap.gather(-1, top)).squeeze(-1)


def _charged(p: Tensor, gap: Tensor) -> Tensor:
    """Return p · gap; a class without truth is charged nothing, not even at a logit of -inf."""
    return p * torch.where((p == 0.0) & (gap == torch.inf), 0.0, gap)
