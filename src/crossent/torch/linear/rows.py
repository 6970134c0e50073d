"""The losses of a head's rows in torch operations, a chunk at a time: for any device, transform and order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crossent.torch import formulas
from crossent.torch.call import Call
from crossent.torch.formulas import Rows
from crossent.torch.linear.call import HeadCall
from crossent.torch.linear.cap import capped
from crossent.torch.linear.chunks import Chunked, Tensors, apply
from crossent.torch.linear.plan import rows_of_chunk
from crossent.torch.log_mean import has_log_losses, log_losses, log_mean_of
from crossent.torch.softmax_maps import surprise


class Result(NamedTuple):
    """A loss with what the same pass knows about the rows.

    Attributes
    ----------
    loss : Tensor
        Reduced; with ``reduction="none"`` of the shape (N, *out_features).
    lse : Tensor (N, *out_features) or None
        0 in rows that take no part.
    accuracy : Tensor or None
        The part of the rows whose largest logit is the target's class.
    """

    loss: Tensor
    lse: Tensor | None
    accuracy: Tensor | None


class Inputs:
    """The tensors of a call in the order in which a chunked function takes them, and back."""

    def __init__(self, call: HeadCall) -> None:
        dtype = call.compute_dtype
        self.call = call
        # Cast before the chunks, so that sums over them are in the computing dtype.
        by_row = (call.x.to(dtype), call.loss.target, call.indices, call.loss.sample_weight)
        shared = (
            call.linear_weight.to(dtype),
            None if call.linear_bias is None else call.linear_bias.to(dtype),
            call.loss.weight,
        )
        self.present = tuple(t is not None for t in (*by_row, *shared))
        self.by_row = tuple(t for t in by_row if t is not None)
        self.shared = tuple(t for t in shared if t is not None)

    def chunk(self, tensors: Tensors) -> HeadCall:
        """Return the call of a chunk of rows, whose losses have the dtype that they are computed in."""
        given = iter(tensors)
        x, target, indices, sample_weight, linear_weight, bias, weight = (
            next(given) if there else None for there in self.present
        )
        assert x is not None
        assert target is not None
        assert linear_weight is not None
        loss = self.call.loss._replace(
            target=target, weight=weight, sample_weight=sample_weight, reduction="none", loss_dtype=x.dtype
        )
        return self.call._replace(
            x=x, linear_weight=linear_weight, linear_bias=bias, loss=loss, indices=indices, rows=x.shape[:1]
        )


def logits(call: HeadCall) -> Tensor:
    """Return the logits (N, C, *out_features)."""
    z = torch.nn.functional.linear(call.x, call.linear_weight, call.linear_bias)
    z = z if call.scale == 1.0 else z * call.scale
    z = z if call.softcap is None else capped(z, call.softcap)
    return z.reshape(z.shape[0], *call.loss.logits.shape[1:]) if call.loss.logits.ndim > 2 else z


def dense(call: HeadCall, z: Tensor) -> Call:
    """Return the call of the loss on these logits, a distribution over a few classes written out."""
    loss = call.loss._replace(logits=z)
    if call.indices is None:
        return loss
    return loss._replace(target=torch.zeros_like(z).scatter_add(1, call.indices, loss.target.to(z.dtype)))


def taking_part(call: HeadCall) -> HeadCall:
    """Return the call with 0 for the rows of x that take no part (and may hold NaN)."""
    part = Rows(call.loss, call.compute_dtype).take_part
    if part is None:
        return call
    part = part if part.ndim == 1 else part.flatten(1).any(dim=1)
    return call._replace(x=torch.where(part.unsqueeze(1), call.x, 0.0))


def evaluate(call: HeadCall, return_lse: bool = False, return_accuracy: bool = False) -> Result:
    """Return the loss, differentiable to any order in every floating input, and what else is asked for."""
    inputs = Inputs(taking_part(call))
    logarithms = call.loss.reduction == "log-mean" and has_log_losses(call.loss)

    def of_chunk(*tensors: Tensor) -> Tensors:
        chunk = inputs.chunk(tensors)
        z = logits(chunk)
        loss = dense(chunk, z)
        classes_last, rows = formulas.rows_of(loss)
        if logarithms:
            assert rows.label is not None
            losses = log_losses(classes_last, rows.label)
        else:
            losses = formulas.cross_entropy(loss)
        lse = _lse(classes_last, rows) if return_lse else None
        correct = hits(z, loss).to(z.dtype) if return_accuracy else None
        return tuple(t for t in (losses, lse, correct) if t is not None)

    count = 1 + return_lse + return_accuracy
    chunked = Chunked(of_chunk, len(inputs.by_row), count, rows_of_chunk(call))
    losses, *others = apply(chunked, *inputs.by_row, *inputs.shared)
    rows = Rows(call.loss, call.compute_dtype)
    if call.loss.reduction != "log-mean":
        loss = formulas.reduced(call.loss, losses, rows.weight)
    elif logarithms:
        loss = log_mean_of(call.loss, losses, rows)
    else:
        loss = formulas.reduced(call.loss._replace(reduction="mean"), losses, rows.weight).log()
    lse = others[0] if return_lse else None
    return Result(loss, lse, mean_hit(others[-1], rows.take_part) if return_accuracy else None)


def _lse(z: Tensor, rows: Rows) -> Tensor:
    lse = formulas.log_sum_exp(z, surprise(z))
    return lse if rows.take_part is None else torch.where(rows.take_part, lse, 0.0)


def hits(z: Tensor, loss: Call) -> Tensor:
    """Return whether the largest logit of each row is its label's, or its distribution's largest entry's."""
    truth = loss.target.argmax(dim=1) if loss.is_soft else loss.target
    return z.detach().argmax(dim=1) == truth


def mean_hit(hit: Tensor, take_part: Tensor | None) -> Tensor:
    """Return the part of the rows that are hits, of those that take part; NaN where none does."""
    hit = hit.detach().float()
    if take_part is None:
        return hit.mean()
    return torch.where(take_part, hit, 0.0).sum() / take_part.sum()
