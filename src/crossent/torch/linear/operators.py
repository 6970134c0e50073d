"""The head as operators that torch.compile and torch.export take as they are: opaque, with shapes and a derivative."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crossent.head.memory import bytes_of
from crossent.torch.call import Call
from crossent.torch.linear import fused, passes
from crossent.torch.linear.call import HeadCall
from crossent.torch.linear.results import Wanted
from crossent.torch.linear.rows import Result

# In the operators' schemas, which know no other names than torch's own types. `wanted` is a Wanted.
_INPUTS = (
    "Tensor x, Tensor linear_weight, Tensor? linear_bias, Tensor target, Tensor? indices, Tensor? weight, "
    "Tensor? sample_weight, int[] places, int ignore_index, float label_smoothing, float z_loss, float? normalizer, "
    "str reduction, ScalarType loss_dtype, float scale, float? softcap, SymInt max_memory, SymInt? chunk_rows, "
    "bool[] wanted"
)


def _packed(call: HeadCall, wanted: Wanted) -> tuple[Any, ...]:
    loss = call.loss
    return (
        call.x,
        call.linear_weight,
        call.linear_bias,
        loss.target,
        call.indices,
        loss.weight,
        loss.sample_weight,
        list(loss.logits.shape[2:]),
        loss.ignore_index,
        loss.smoothing,
        loss.z_loss,
        loss.normalizer,
        loss.reduction,
        loss.loss_dtype,
        call.scale,
        call.softcap,
        bytes_of("max_memory", call.max_memory),
        call.chunk_rows,
        list(wanted),
    )


def _unpacked(*arguments: Any) -> tuple[HeadCall, Wanted]:
    x, linear_weight, linear_bias, target, indices, weight, sample_weight, places, *options, wanted = arguments
    ignore_index, smoothing, z_loss, normalizer, reduction, loss_dtype, scale, softcap, max_memory, chunk_rows = options
    classes = linear_weight.shape[0]
    for place in places:
        classes = classes // place
    stand_in = x.new_zeros(()).expand(x.shape[0], classes, *places)
    is_soft = target.is_floating_point()
    loss = Call(
        stand_in,
        target,
        weight,
        sample_weight,
        ignore_index,
        smoothing,
        z_loss,
        normalizer,
        reduction,
        1,
        is_soft,
        loss_dtype,
    )
    call = HeadCall(x, linear_weight, linear_bias, loss, indices, scale, softcap, x.shape[:1], max_memory, chunk_rows)
    return call, Wanted(*wanted)


def _or_empty(tensor: Tensor | None, like: Tensor) -> Tensor:
    return like.new_empty(0) if tensor is None else tensor


@torch.library.custom_op(
    "crossent::linear_cross_entropy",
    mutates_args=(),
    schema=f"({_INPUTS}) -> (Tensor loss, Tensor accuracy, Tensor x_bar, Tensor weight_bar, Tensor bias_bar)",
)
def head(*arguments: Any) -> tuple[Tensor, ...]:
    call, wanted = _unpacked(*arguments)
    done = passes.run(call, _now(call, wanted))
    result = done.result
    return tuple(_or_empty(t, call.x) for t in (result.loss, result.accuracy, *done[1:]))


def _now(call: HeadCall, wanted: Wanted) -> Wanted:
    """Return what is computed beside the loss: the gradients too, unless backward knows more about them."""
    later = call.loss.reduction == "none"
    return wanted.without_gradients() if later else wanted


@torch.library.custom_op(
    "crossent::linear_cross_entropy_backward",
    mutates_args=(),
    schema=f"(Tensor loss_bar, {_INPUTS}) -> (Tensor x_bar, Tensor weight_bar, Tensor bias_bar)",
)
def backward(loss_bar: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    call, wanted = _unpacked(*arguments)
    with torch.no_grad():
        bars = fused.gradients(call, wanted, loss_bar, None)
    return tuple(_or_empty(t, call.x) for t in bars)


@head.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    call, wanted = _unpacked(*arguments)
    x, dtype = call.x, call.compute_dtype
    rows = (x.shape[0], *call.loss.logits.shape[2:])
    loss = x.new_empty(rows if call.loss.reduction == "none" else (), dtype=call.loss.loss_dtype)
    accuracy = x.new_empty((), dtype=torch.float32) if wanted.accuracy else x.new_empty(0)
    now = _now(call, wanted)
    return loss, accuracy, *_empty_bars(call, now, dtype)


@backward.register_fake
def _(loss_bar: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    call, wanted = _unpacked(*arguments)
    return _empty_bars(call, wanted, call.x.dtype)


def _empty_bars(call: HeadCall, wanted: Wanted, dtype: torch.dtype) -> tuple[Tensor, ...]:
    weight = call.linear_weight
    shapes = (call.x.shape, weight.shape, weight.shape[:1])
    return tuple(
        call.x.new_empty(shape, dtype=dtype) if want else call.x.new_empty(0)
        for shape, want in zip(shapes, wanted[:3], strict=True)
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.options = inputs[7:]
    # Detached: with their history they would hold the node that holds them.
    ctx.bars = tuple(bar.detach() for bar in output[2:])
    ctx.save_for_backward(*inputs[:7])


def _backward(ctx: Any, loss_bar: Tensor | None, *bars: Tensor | None) -> tuple[Any, ...]:
    inputs = (*ctx.saved_tensors, *ctx.options)
    call, wanted = _unpacked(*inputs)
    if any(bar is not None for bar in bars):
        raise RuntimeError("crossent::linear_cross_entropy has one derivative: the eager function has all")
    if loss_bar is None:
        shape = call.x.shape[:1] + call.loss.logits.shape[2:] if call.loss.reduction == "none" else ()
        loss_bar = call.x.new_zeros(shape, dtype=call.loss.loss_dtype)
    if _now(call, wanted).gradient:
        like = (call.x, call.linear_weight, call.x)
        grads = tuple((bar * loss_bar).to(t.dtype) for bar, t in zip(ctx.bars, like, strict=True))
    else:
        grads = torch.ops.crossent.linear_cross_entropy_backward(loss_bar, *inputs)
    given = tuple(g if want else None for g, want in zip(grads, wanted[:3], strict=True))
    return *given, *(None,) * (len(inputs) - 3)


head.register_autograd(_backward, setup_context=_save)


def linear_cross_entropy(call: HeadCall, return_accuracy: bool) -> Result:
    """Return the result by the operator."""
    wanted = Wanted.gradients_of(call, accuracy=return_accuracy)
    loss, accuracy, *_ = torch.ops.crossent.linear_cross_entropy(*_packed(call, wanted))
    return Result(loss, None, accuracy.detach() if return_accuracy else None)
