"""Loss and gradients of a head in one pass of eager tensors; every further derivative chunk by chunk, afresh."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from crossent.torch.call import is_transformed
from crossent.torch.linear import passes
from crossent.torch.linear.call import HeadCall
from crossent.torch.linear.results import Gradients, Wanted
from crossent.torch.linear.rows import Result, evaluate


class _Fused(Function):
    """The gradients are computed beside the loss, and handed over by the first backward; a second computes them anew.

    They are kept in the computing dtype, so that 16-bit ones are rounded once, after the cotangent.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, linear_weight: Tensor, linear_bias: Tensor | None, call: HeadCall, wanted: Wanted
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        # One cotangent for each row is known in backward alone.
        late = call.loss.reduction == "none"
        done = passes.run(call, wanted.without_gradients() if late else wanted)
        # Not the result: its history holds what is kept here.
        ctx.made = None if late else done.gradients
        ctx.wanted = wanted
        ctx.save_for_backward(x, linear_weight, linear_bias, *_tensors(call))
        ctx.rest = _without_tensors(call)
        return tuple(done.result)

    @staticmethod
    def backward(
        ctx: Any, loss_bar: Tensor | None, lse_bar: Tensor | None, _: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        made, ctx.made = ctx.made, None
        x, linear_weight, linear_bias, target, weight, sample_weight, indices = ctx.saved_tensors
        loss = ctx.rest.loss._replace(target=target, weight=weight, sample_weight=sample_weight)
        call = ctx.rest._replace(x=x, linear_weight=linear_weight, linear_bias=linear_bias, loss=loss, indices=indices)
        return *gradients(call, ctx.wanted, loss_bar, lse_bar, made), None, None


def gradients(
    call: HeadCall, wanted: Wanted, loss_bar: Tensor | None, lse_bar: Tensor | None, made: Gradients | None = None
) -> tuple[Tensor | None, ...]:
    """Return the gradients of x, the weights and the bias for cotangents; ``made`` are those of the loss itself."""
    if lse_bar is not None or loss_bar is None or torch.is_grad_enabled() or _is_many(loss_bar):
        if call.threshold:
            raise RuntimeError('gradient="unbiased" has one derivative, the loss\'s: gradient="exact" has all')
        return _afresh(call, wanted, loss_bar, lse_bar)
    return _in_one_pass(call, wanted, made, loss_bar)


def _tensors(call: HeadCall) -> tuple[Tensor | None, ...]:
    return call.loss.target, call.loss.weight, call.loss.sample_weight, call.indices


def _without_tensors(call: HeadCall) -> HeadCall:
    """Return the call with nothing in the place of what is saved for backward."""
    nothing = call.x.new_empty(0)
    loss = call.loss._replace(target=nothing, weight=None, sample_weight=None)
    return call._replace(x=nothing, linear_weight=nothing, linear_bias=None, loss=loss, indices=None)


def _is_many(bar: Tensor) -> bool:
    """Whether there are several cotangents at once: is_grads_batched=True, or torch.func around the backward."""
    return is_transformed() or torch._C._functorch.is_legacy_batchedtensor(bar)


def _in_one_pass(call: HeadCall, wanted: Wanted, made: Gradients | None, loss_bar: Tensor) -> tuple[Tensor | None, ...]:
    wanted = wanted._replace(lse=False, accuracy=False)
    factor: Any = 1.0
    if call.loss.reduction == "none":
        made = passes.run(call, wanted, factor=loss_bar.to(call.compute_dtype)).gradients
    else:
        factor = float(loss_bar) if loss_bar.device.type == "cpu" else loss_bar
        made = passes.run(call, wanted).gradients if made is None else made
    like = (call.x, call.linear_weight, call.linear_bias)
    return tuple(_scaled(bar, factor, t) for bar, t in zip(made, like, strict=True))


def _scaled(bar: Tensor | None, factor: Any, like: Tensor | None) -> Tensor | None:
    if bar is None or like is None:
        return None
    scaled = bar if isinstance(factor, float) and factor == 1.0 else bar.mul_(factor)
    return scaled.to(like.dtype)


def _afresh(call: HeadCall, wanted: Wanted, *bars: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients as functions of everything that they depend on."""
    inputs = tuple(
        t
        for t, want in zip((call.x, call.linear_weight, call.linear_bias), wanted[:3], strict=True)
        if want and t is not None
    )
    create = torch.is_grad_enabled()
    with torch.enable_grad():
        result = evaluate(call, return_lse=bars[1] is not None)
        pairs = [(o, b) for o, b in zip(result, bars, strict=False) if o is not None and b is not None]
        grads = torch.autograd.grad(
            [o for o, _ in pairs], inputs, [b for _, b in pairs], create_graph=create, allow_unused=True
        )
    answers = iter(grads)
    return tuple(next(answers) if want else None for want in wanted[:3])


def linear_cross_entropy(call: HeadCall, return_lse: bool, return_accuracy: bool) -> Result:
    """Return the loss and what else is asked for, with the gradients of x, the weights and the bias that are needed."""
    wanted = Wanted.gradients_of(call, lse=return_lse, accuracy=return_accuracy)
    if not wanted.gradient:
        return passes.run(call, wanted).result
    return Result(*_Fused.apply(call.x, call.linear_weight, call.linear_bias, call, wanted))  # type: ignore[no-untyped-call]
