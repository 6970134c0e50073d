"""One pass over a head's rows: the loss and the gradients of x, the weights and the bias.

CPU tensors go to the native head. Those of other devices, and what that head does not take, go through operations of
torch, a chunk of rows at a time, with one chunk's logits at most; rows that take no part are left out of the products.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from crossent.torch import formulas, kernels
from crossent.torch.call import Call
from crossent.torch.formulas import Rows, wide_sum
from crossent.torch.linear import native
from crossent.torch.linear.call import HeadCall
from crossent.torch.linear.cap import slope_
from crossent.torch.linear.plan import rows_of_chunk
from crossent.torch.linear.products import GradientProducts, logits_into
from crossent.torch.linear.results import Pass, Wanted, check_labels, denominator_of
from crossent.torch.linear.rows import Result, dense, hits, mean_hit


@torch.no_grad()
def run(call: HeadCall, wanted: Wanted, *, factor: float | Tensor = 1.0, weight_bar: Tensor | None = None) -> Pass:
    """Return the loss, and the gradients of its sum times ``factor`` (a number, or one for each row).

    ``weight_bar``, where it is given, is what the weights' gradient is added to.
    """
    done = native.run(call, wanted, factor, weight_bar)
    if done is not None:
        return done
    if call.threshold:
        raise ValueError(
            'gradient="unbiased": expected CPU tensors, a contiguous linear_weight (C, in_features), and weights of at '
            "least 0"
        )
    return _Run(call, wanted, factor, weight_bar).result()


class _Run:
    def __init__(self, call: HeadCall, wanted: Wanted, factor: float | Tensor, weight_bar: Tensor | None) -> None:
        self.call, self.wanted, self.factor = call, wanted, factor
        loss = call.loss
        if call.x.device.type == "cpu":
            check_labels(call)
        rows = Rows(loss, torch.float64)
        self.take_part = rows.take_part
        self.kept = _kept(rows.take_part)
        self.denominator = denominator_of(loss, rows)
        self.each = loss.reduction == "none"
        dtype, x = call.compute_dtype, call.x
        shape = rows.weight.shape
        self.losses = x.new_zeros(shape, dtype=dtype) if self.each else None
        self.lse = x.new_zeros(shape, dtype=dtype) if wanted.lse else None
        self.hit = torch.zeros(shape, dtype=torch.bool, device=x.device) if wanted.accuracy else None
        self.x_bar = x.new_zeros(x.shape, dtype=dtype) if wanted.x else None
        if weight_bar is None and wanted.weight:
            weight_bar = _zeros(call.linear_weight, dtype)
        bias_bar = x.new_zeros(call.linear_weight.shape[0], dtype=dtype) if wanted.bias else None
        self.products = GradientProducts(call.linear_weight.detach(), weight_bar, bias_bar, wanted.x)

    def result(self) -> Pass:
        total = self.call.x.new_zeros((), dtype=_wide(self.call.x))
        step = rows_of_chunk(self.call)
        n = self.call.x.shape[0] if self.kept is None else self.kept.shape[0]
        shape = (min(step, n), self.call.linear_weight.shape[0])
        z = self.call.x.new_empty(shape, dtype=self.call.compute_dtype)
        slope = None if self.call.softcap is None or not self.wanted.gradient else torch.empty_like(z)
        for place in self._places(n, step):
            total = total + self._chunk(place, z, slope)
        loss = self.call.loss
        if self.losses is not None:
            value = self.losses.to(loss.loss_dtype)
        else:
            value = (total / self.denominator).to(loss.loss_dtype)
        accuracy = None if self.hit is None else mean_hit(self.hit, self.take_part)
        p = self.products
        return Pass(Result(value, self.lse, accuracy), self.x_bar, p.weight_bar, p.bias_bar)

    def _places(self, n: int, step: int) -> Iterator[slice | Tensor]:
        for first in range(0, n, step):
            last = min(first + step, n)
            yield slice(first, last) if self.kept is None else self.kept[first:last]

    def _chunk(self, place: slice | Tensor, z: Tensor, slope: Tensor | None) -> Tensor:
        """Return the summed loss of some rows; add what they have to the results."""
        call, wanted = self.call, self.wanted
        x = call.x.detach()[place]
        z = z[: x.shape[0]]
        logits_into(z, x, call.linear_weight.detach(), _detached(call.linear_bias), call.scale)
        if call.softcap is not None:
            if slope is not None:
                slope = slope_(slope[: x.shape[0]].copy_(z), call.softcap)
            z.div_(call.softcap).tanh_().mul_(call.softcap)
        by_class = z.view(z.shape[0], *call.loss.logits.shape[1:])
        loss = dense(_rows_of(call, place), by_class)
        if self.lse is not None:
            self.lse[place] = log_sum_exp(loss)
        if self.hit is not None:
            self.hit[place] = hits(by_class, loss)
        part = self.factor[place] if isinstance(self.factor, Tensor) else self.factor / self.denominator
        losses = row_losses(loss, part * call.scale, wanted.gradient)
        if self.losses is not None:
            self.losses[place] = losses
        if wanted.gradient:
            if slope is not None:
                z.mul_(slope)
            label = loss.target if not loss.is_soft and call.places == 1 else None
            x_bar = self.products.add(z, x, label)
            if self.x_bar is not None and x_bar is not None:
                self.x_bar[place] = x_bar
        return wide_sum(losses)


def row_losses(loss: Call, factor: float | Tensor, want_gradient: bool) -> Tensor:
    """Return the losses of the rows; their gradient, times the factor (for each row, or all), replaces the logits."""
    z = loss.logits
    truth = kernels.truth(loss) if z.device.type == "cpu" else None
    if truth is not None:
        return kernels.run(loss, truth, factor=factor, out=z if want_gradient else None)
    if not want_gradient:
        return formulas.cross_entropy(loss)
    with torch.enable_grad():
        leaf = z.detach().clone().requires_grad_()
        losses = formulas.cross_entropy(loss._replace(logits=leaf))
        bars = factor if isinstance(factor, Tensor) else torch.full_like(losses, factor)
        (grad,) = torch.autograd.grad(losses, leaf, bars.to(losses.dtype))
    z.copy_(grad)
    return losses.detach()


def log_sum_exp(loss: Call) -> Tensor:
    """Return lse of the rows, as the largest logit and the loss of a row that has its label there."""
    z = loss.logits
    top = z.argmax(dim=1)
    plain = loss._replace(
        target=top, weight=None, sample_weight=None, ignore_index=-100, smoothing=0.0, z_loss=0.0, is_soft=False
    )
    return z.gather(1, top.unsqueeze(1)).squeeze(1) + row_losses(plain, 1.0, False)


def _rows_of(call: HeadCall, place: slice | Tensor) -> HeadCall:
    loss = call.loss
    some = loss._replace(
        target=loss.target.detach()[place],
        weight=_detached(loss.weight),
        sample_weight=None if loss.sample_weight is None else loss.sample_weight.detach()[place],
        reduction="none",
        loss_dtype=call.compute_dtype,
    )
    return call._replace(loss=some, indices=None if call.indices is None else call.indices[place])


def _kept(take_part: Tensor | None) -> Tensor | None:
    """Return the rows of x that take part, or None if they all do (or nobody may look)."""
    if take_part is None or take_part.device.type == "meta":
        return None
    part = take_part if take_part.ndim == 1 else take_part.flatten(1).any(dim=1)
    return None if bool(part.all()) else part.nonzero().squeeze(1)


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64


def _zeros(like: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(like.shape, dtype=dtype, device=like.device)
