"""The loss as operators that torch.compile and torch.export take as they are: opaque, with shapes and derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crossent.torch import formulas, kernels
from crossent.torch.call import Call, checked_call, row_shape

# In the operators' schemas, which know no other names than torch's own types.
_OPTIONS = (
    "Tensor? weight, Tensor? sample_weight, int ignore_index, float label_smoothing, float z_loss, "
    "float? normalizer, str reduction"
)


def _call(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    normalizer: float | None,
    reduction: str,
) -> Call:
    return checked_call(
        logits, target, weight, ignore_index, reduction, label_smoothing, sample_weight, normalizer, z_loss
    )


@torch.library.custom_op(
    "crossent::cross_entropy", mutates_args=(), schema=f"(Tensor logits, Tensor target, {_OPTIONS}) -> Tensor"
)
def loss(*arguments: Any) -> Tensor:
    call = _call(*arguments)
    truth = kernels.truth(call) if call.logits.device.type == "cpu" else None
    return formulas.cross_entropy(call) if truth is None else kernels.run(call, truth)


@torch.library.custom_op(
    "crossent::cross_entropy_backward",
    mutates_args=(),
    schema=f"(Tensor loss_bar, Tensor logits, Tensor target, {_OPTIONS}) -> Tensor",
)
def backward(loss_bar: Tensor, *arguments: Any) -> Tensor:
    return gradient(_call(*arguments), loss_bar)


def gradient(call: Call, loss_bar: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the gradient for a cotangent of the loss, computed afresh, rounded once."""
    truth = kernels.truth(call) if call.logits.device.type == "cpu" else None
    if truth is None:
        with torch.enable_grad():
            z = call.logits.detach().requires_grad_()
            (grad,) = torch.autograd.grad(formulas.cross_entropy(call._replace(logits=z)), z, loss_bar)
        return grad
    out = kernels.empty_gradient(call.logits) if out is None else out
    kernels.run(call, truth, factor=loss_bar if call.reduction == "none" else float(loss_bar), out=out)
    return out


@loss.register_fake
def _(*arguments: Any) -> Tensor:
    call = _call(*arguments)
    shape = row_shape(call.logits, call.axis) if call.reduction == "none" else ()
    return call.logits.new_empty(shape, dtype=call.loss_dtype)


@backward.register_fake
def _(loss_bar: Tensor, logits: Tensor, *arguments: Any) -> Tensor:
    return torch.empty_like(logits)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.options = inputs[4:]


def _backward(ctx: Any, loss_bar: Tensor) -> tuple[Tensor | None, ...]:
    grad = torch.ops.crossent.cross_entropy_backward(loss_bar, *ctx.saved_tensors, *ctx.options)
    return grad, *(None,) * (len(ctx.saved_tensors) - 1 + len(ctx.options))


loss.register_autograd(_backward, setup_context=_save)


def _each(operator: Any, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
    """Run the operator for each place of the mapped dimension."""
    results = [
        operator(*(a if d is None else a.select(d, i) for a, d in zip(arguments, in_dims, strict=True)))
        for i in range(info.batch_size)
    ]
    return torch.stack(results), 0


@loss.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
    return _each(torch.ops.crossent.cross_entropy, info, in_dims, *arguments)


@backward.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
    return _each(torch.ops.crossent.cross_entropy_backward, info, in_dims, *arguments)


def operator(call: Call) -> Tensor:
    """Return the loss by the operator."""
    result: Tensor = torch.ops.crossent.cross_entropy(
        call.logits,
        call.target,
        call.weight,
        call.sample_weight,
        call.ignore_index,
        call.smoothing,
        call.z_loss,
        call.normalizer,
        call.reduction,
    )
    return result
