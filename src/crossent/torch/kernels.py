"""The native kernels on the memory of CPU tensors, without a copy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from crossent import arrays
from crossent.arrays import Array
from crossent.loss import run as run_rows
from crossent.targets import Truth, truth_of
from crossent.torch.call import Call


def as_numpy(tensor: Tensor) -> Array:
    """Return a CPU tensor's memory as a NumPy array."""
    tensor = tensor.detach().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        import ml_dtypes

        return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def as_tensor(array: Array, dtype: torch.dtype) -> Tensor:
    """Return a tensor on the array's memory."""
    return torch.from_numpy(array.view(np.uint16)).view(dtype) if dtype == torch.bfloat16 else torch.from_numpy(array)


def empty_gradient(logits: Tensor) -> Tensor:
    """Return an uninitialised tensor laid out as the logits are; in recycled pages where that is the plain layout."""
    if not logits.is_contiguous():
        return torch.empty_like(logits)
    return as_tensor(arrays.empty(tuple(logits.shape), as_numpy(logits).dtype), logits.dtype)


def truth(call: Call) -> Truth | None:
    """Return the kernels' form of the truth; None for what they do not take: negative, infinite or NaN weights.

    Raises
    ------
    IndexError
        For a label outside [0, C), as PyTorch does.
    """
    z = as_numpy(call.logits)
    try:
        # In NumPy: an operation of torch on many labels would wake its threads, which then spin beside the kernels'.
        return truth_of(
            as_numpy(call.target),
            z.shape,
            call.axis,
            z,
            weight=None if call.weight is None else as_numpy(call.weight),
            sample_weight=None if call.sample_weight is None else as_numpy(call.sample_weight),
            label_smoothing=call.smoothing,
            ignore_index=call.ignore_index,
        )
    except ValueError:  # shapes and types are right: a label is out of range, or a mass is none
        check_labels(call)
        return None


def check_labels(call: Call) -> None:
    """Raise an IndexError for a label outside [0, C), as PyTorch does."""
    if call.is_soft:
        return
    labels, classes = as_numpy(call.target), call.logits.shape[call.axis]
    bad = (labels != call.ignore_index) & ((labels < 0) | (labels >= classes))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        name = f"target[{', '.join(map(str, place))}]" if place else "target"
        value = int(labels[place])
        raise IndexError(f"Target {value} is out of bounds. {name} = {value} is outside [0, {classes})")


def denominator(call: Call, truth: Truth) -> float:
    """Return what the summed loss is divided by; 0 for a mean of nothing."""
    if call.reduction != "mean":
        return 1.0
    return truth.denominator if call.normalizer is None else call.normalizer


def run(call: Call, truth: Truth, *, factor: float | Tensor = 1.0, out: Tensor | None = None) -> Tensor:
    """Return the loss; write the gradient, times ``factor`` (a number, or one for each row), to ``out``.

    ``out`` may be the logits themselves.
    """
    divisor = denominator(call, truth)
    # A mean of nothing is NaN, as PyTorch has it; the gradient of rows that take no part stays 0.
    scale = 1.0 / divisor if divisor != 0 else math.nan
    if isinstance(factor, Tensor):
        truth = _times(truth, as_numpy(factor.double()).reshape(-1))
        factor = 1.0
    total, losses = run_rows(
        as_numpy(call.logits),
        call.axis,
        truth,
        scale=scale * factor,
        z_loss=call.z_loss,
        each=call.reduction == "none",
        out=None if out is None else as_numpy(out),
        n_threads=torch.get_num_threads(),
    )
    if losses is not None:
        return as_tensor(losses, call.logits.dtype).to(call.loss_dtype)
    return torch.tensor(total * scale, dtype=torch.float64).to(call.loss_dtype)


def _times(truth: Truth, factor: Array) -> Truth:
    weight = factor if truth.row_weight is None else truth.row_weight * factor
    return replace(truth, row_weight=np.ascontiguousarray(weight))
