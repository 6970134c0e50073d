"""A call of the loss, checked, in one form; what PyTorch refuses is refused by PyTorch itself."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional

from crossent.errors import invalid_type, invalid_value

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LABELS = (torch.int64, torch.int32, torch.uint8, torch.int16, torch.int8)
REDUCTIONS = ("mean", "sum", "none", "log-mean")


class Call(NamedTuple):
    """The arguments of a loss.

    Attributes
    ----------
    logits : Tensor (C), (N, C) or (N, C, d1, …)
    target : Tensor
        Labels of the rows' shape, or distributions of the logits' shape where ``is_soft``.
    weight, sample_weight : Tensor or None
        Per class, and of the rows' shape.
    axis : int
        The class axis.
    loss_dtype : torch.dtype
        What PyTorch would return: the logits' dtype, promoted with soft targets' and their weights'; under autocast
        float32 for 16 bits.
    """

    logits: Tensor
    target: Tensor
    weight: Tensor | None
    sample_weight: Tensor | None
    ignore_index: int
    smoothing: float
    z_loss: float
    normalizer: float | None
    reduction: str
    axis: int
    is_soft: bool
    loss_dtype: torch.dtype


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which rows of this one are computed: float32 for the 16-bit ones."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def row_shape(logits: Tensor, axis: int) -> torch.Size:
    """Return the logits' shape without the class axis."""
    return logits.shape[:axis] + logits.shape[axis + 1 :]


def is_transformed() -> bool:
    """Whether torch.func or forward-mode differentiation is at work: the formulas know all of their derivatives."""
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


# A compiler traces one transform or another: asked while it traces, the answer is part of the program. This is what
# torch.compiler.assume_constant_result does after it has imported the compiler, a second that most programs do without.
is_transformed._dynamo_marked_constant = True  # type: ignore[attr-defined]


def checked_call(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    sample_weight: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    z_loss: float = 0.0,
) -> Call:
    """Return the call in one form, or raise what PyTorch raises for the same arguments."""
    if not (isinstance(logits, Tensor) and isinstance(target, Tensor) and isinstance(weight, Tensor | None)):
        _refuse_as_pytorch(logits, target, weight, ignore_index, reduction, label_smoothing)
    device = logits.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if not _is_valid(logits, target, weight, ignore_index, label_smoothing, autocast):
        _refuse_as_pytorch(logits, target, weight, ignore_index, reduction, label_smoothing)
    if reduction not in REDUCTIONS:
        # PyTorch's words, so that what catches them goes on working.
        raise ValueError(f"{reduction} is not a valid value for reduction: expected one of {', '.join(REDUCTIONS)}")
    axis = min(1, logits.ndim - 1)
    if sample_weight is not None:
        _check_sample_weight(sample_weight, row_shape(logits, axis))
    is_soft = target.is_floating_point()
    loss_dtype = compute_dtype(logits.dtype) if autocast else logits.dtype
    if is_soft:
        loss_dtype = torch.promote_types(loss_dtype, target.dtype)
        loss_dtype = loss_dtype if weight is None else torch.promote_types(loss_dtype, weight.dtype)
    return Call(
        logits,
        target,
        weight,
        sample_weight,
        ignore_index,
        max(float(label_smoothing), 0.0) if label_smoothing > 0 else 0.0,
        _non_negative("z_loss", z_loss),
        None if normalizer is None else _positive("normalizer", normalizer, reduction),
        reduction,
        axis,
        is_soft,
        loss_dtype,
    )


def _is_valid(
    logits: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, smoothing: float, autocast: bool
) -> bool:
    if logits.ndim == 0 or logits.dtype not in FLOATS or logits.device != target.device or smoothing > 1:
        return False
    axis = min(1, logits.ndim - 1)
    classes = logits.shape[axis]
    if classes == 0:
        return False
    soft = target.shape == logits.shape
    if soft:
        if target.dtype not in FLOATS or ignore_index >= 0:
            return False
    elif target.dtype not in LABELS or target.shape != row_shape(logits, axis):
        return False
    if weight is None:
        return True
    same = soft or autocast or weight.dtype == logits.dtype
    return weight.shape == (classes,) and weight.device == logits.device and weight.dtype in FLOATS and same


def _refuse_as_pytorch(
    logits: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float
) -> None:
    if isinstance(target, Tensor) and target.dtype in LABELS:
        target = target.long()
    reduction = reduction if reduction != "log-mean" else "mean"
    functional.cross_entropy(
        logits, target, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=smoothing
    )
    shapes = f"logits {tuple(logits.shape)} {logits.dtype}, target {tuple(target.shape)} {target.dtype}"
    raise ValueError(f"{shapes}: expected floating logits with at least one class, and labels or distributions")


def _check_sample_weight(sample_weight: Tensor, shape: torch.Size) -> None:
    if not isinstance(sample_weight, Tensor):
        raise invalid_type("sample_weight", sample_weight, "a tensor")
    if sample_weight.shape != shape:
        raise ValueError(
            f"sample_weight has shape {tuple(sample_weight.shape)}: expected {tuple(shape)}, one for each row"
        )


def _non_negative(argument: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise invalid_value(argument, value, "a finite number of at least 0")
    return float(value)


def _positive(argument: str, value: float | Tensor, reduction: str) -> float:
    if reduction not in ("mean", "log-mean"):
        raise invalid_value(argument, value, f'None with reduction="{reduction}", as only a mean divides')
    number = float(value)
    if not 0 < number < math.inf:
        raise invalid_value(argument, number, "a positive finite number")
    return number
