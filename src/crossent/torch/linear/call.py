"""A call of the head, checked, in one form: a matrix of rows, a matrix of class weights, and a call of the loss."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crossent.errors import invalid_type, invalid_value
from crossent.torch.call import FLOATS, LABELS, Call, checked_call, compute_dtype


class HeadCall(NamedTuple):
    """The arguments of a head's loss.

    Attributes
    ----------
    x : Tensor (N, D)
    linear_weight : Tensor (C · K, D)
        K places for each class: the product of ``out_features``.
    linear_bias : Tensor (C · K) or None
    loss : Call
        The loss of the logits (N, C, *out_features), which are a stand-in without memory; their class axis is 1.
    indices : Tensor (N, k) or None
        The classes that the distributions in ``loss.target``, then (N, k), are about.
    scale, softcap : float, float or None
        z = scale · (x·w + bias), and softcap · tanh(z / softcap) of it.
    rows : torch.Size
        The shape of the losses of the rows, as the caller sees them.
    max_memory : int or str
        What the chunks may take, in bytes.
    chunk_rows : int or None
        Rows of a chunk, where the caller says.
    threshold, seed : float, int
        Of the unbiased gradient; a threshold of 0 is the exact one.
    """

    x: Tensor
    linear_weight: Tensor
    linear_bias: Tensor | None
    loss: Call
    indices: Tensor | None
    scale: float
    softcap: float | None
    rows: torch.Size
    max_memory: int | str
    chunk_rows: int | None
    threshold: float = 0.0
    seed: int = 0

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of the logits: float32 for the 16-bit ones."""
        return compute_dtype(self.x.dtype)

    @property
    def places(self) -> int:
        """How many losses a row of x has: the product of ``out_features``."""
        return math.prod(self.loss.logits.shape[2:])


def head_call(
    input: Tensor,
    linear_weight: Tensor,
    target: Any,
    linear_bias: Tensor | None,
    *,
    shift: int = 0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    max_memory: int | str = "64MiB",
    chunk_rows: int | None = None,
    ignore_index: int | None = None,
    sample_weight: Tensor | None = None,
    **options: Any,
) -> HeadCall:
    """Return the call in one form, or raise what PyTorch raises for the same arguments."""
    _check_tensors(input, linear_weight, linear_bias)
    input, linear_weight, linear_bias = _autocast(input, linear_weight, linear_bias)
    if shift:
        input, target, sample_weight = shifted(input, target, sample_weight, shift)
    sequences = input.shape[:-1]
    if shift and input.ndim == 3:  # their rows are as good as any
        input, target, sample_weight = (_without_sequences(t) for t in (input, target, sample_weight))
    shape = _logits_shape(input, linear_weight, linear_bias)
    rows = sequences + shape[input.ndim :]
    stand_in = input.new_zeros(()).expand(shape)
    indices, probs = _sparse(target, stand_in) if isinstance(target, tuple | list) else (None, None)
    if probs is not None:
        # The loss sees distributions of the logits' shape; their memory is never there.
        target = probs.new_zeros(()).expand(shape)
    if ignore_index is not None and target.shape == stand_in.shape:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    loss = checked_call(
        stand_in,
        target,
        options.get("weight"),
        -100 if ignore_index is None else ignore_index,
        options.get("reduction", "mean"),
        options.get("label_smoothing", 0.0),
        sample_weight,
        options.get("normalizer"),
        options.get("z_loss", 0.0),
    )
    if probs is not None:
        loss = loss._replace(target=probs)
    if input.ndim == 1:
        input, indices, loss = _as_one_row(input, indices, loss)
    places = math.prod(linear_weight.shape[:-1])
    return HeadCall(
        input,
        linear_weight.reshape(places, linear_weight.shape[-1]),
        None if linear_bias is None else linear_bias.reshape(places),
        loss,
        indices,
        _finite("logit_scale", logit_scale),
        None if softcap is None else _positive("softcap", softcap),
        rows,
        max_memory,
        chunk_rows,
    )


def _check_tensors(input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None) -> None:
    for name, value in (("input", input), ("linear_weight", linear_weight)):
        if not isinstance(value, Tensor):
            raise invalid_type(name, value, "a tensor")
    if not isinstance(linear_bias, Tensor | None):
        raise invalid_type("linear_bias", linear_bias, "a tensor")
    for other in (linear_weight, linear_bias):
        if other is not None and (other.dtype, other.device) != (input.dtype, input.device):
            raise RuntimeError(
                f"expected input, linear_weight and linear_bias of one dtype and device, got {input.dtype} on "
                f"{input.device} and {other.dtype} on {other.device}"
            )
    if input.dtype not in FLOATS:
        raise RuntimeError(f"expected floating point input, got {input.dtype}")


def _autocast(*tensors: Tensor | None) -> tuple[Any, ...]:
    """Return the tensors as a linear layer would use them here."""
    device = tensors[0].device.type if tensors[0] is not None else "cpu"
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors)


def shifted(input: Tensor, target: Any, sample_weight: Tensor | None, shift: int) -> tuple[Any, ...]:
    """Return row t beside the target of row t + shift, for sequences along the axis before the features."""
    if isinstance(shift, bool) or not isinstance(shift, int) or shift < 0:
        raise invalid_value("shift", shift, "an integer of at least 0")
    if input.ndim not in (2, 3):
        raise RuntimeError(f"expected input with dimensionality 2 or 3 for shift = {shift}, got {input.ndim}")
    axis = input.ndim - 2

    def later(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.narrow(axis, min(shift, t.shape[axis]), max(t.shape[axis] - shift, 0))

    first = input.shape[axis]
    for name, t in (("target", target), ("sample_weight", sample_weight)):
        for part in t if isinstance(t, tuple | list) else (t,):
            if part is not None and (part.ndim <= axis or part.shape[: axis + 1] != input.shape[: axis + 1]):
                expected = f"it to begin with {tuple(input.shape[: axis + 1])}, the shape of the shifted rows"
                raise ValueError(f"{name} has shape {tuple(part.shape)}: expected {expected}")
    target = tuple(map(later, target)) if isinstance(target, tuple | list) else later(target)
    return input.narrow(axis, 0, max(first - shift, 0)), target, later(sample_weight)


def _without_sequences(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(map(_without_sequences, value))
    return None if value is None else value.flatten(0, 1)


def _logits_shape(input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None) -> torch.Size:
    # PyTorch's words, so that what catches them goes on working.
    if input.dim() < 1 or input.dim() > 2:
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if linear_weight.dim() < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {linear_weight.dim()}")
    if input.shape[-1] != linear_weight.shape[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), "
            f"got {input.shape[-1]} and {linear_weight.shape[-1]}, respectively"
        )
    classes = linear_weight.shape[:-1]
    if linear_bias is not None and linear_bias.shape != classes:
        raise RuntimeError(f"expected linear_bias shape {tuple(classes)}, got {tuple(linear_bias.shape)}")
    if len(classes) > 1 and input.dim() == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires"
            f" batched input, (N, {input.shape[-1]}), got unbatched input with shape {tuple(input.shape)}"
        )
    return input.shape[:-1] + classes


def _sparse(target: Any, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the checked (indices, probabilities) of distributions over a few classes."""
    if len(target) != 2 or not all(isinstance(t, Tensor) for t in target):
        raise invalid_type("target", target, "a tensor, or a pair of tensors (indices, probabilities)")
    indices, probs = target
    if logits.ndim > 2:
        raise ValueError(f"target is sparse: expected linear_weight (C, in_features), got logits {tuple(logits.shape)}")
    if indices.dtype not in LABELS or probs.dtype not in FLOATS:
        raise TypeError(f"target has dtypes {indices.dtype}, {probs.dtype}: expected integers and floats")
    if indices.shape != probs.shape or indices.shape[:-1] != logits.shape[:-1]:
        expected = f"{(*logits.shape[:-1], 'k')} for both"
        raise ValueError(f"target has shapes {tuple(indices.shape)}, {tuple(probs.shape)}: expected {expected}")
    return indices.long(), probs


def _as_one_row(input: Tensor, indices: Tensor | None, loss: Call) -> tuple[Tensor, Tensor | None, Call]:
    loss = loss._replace(
        logits=loss.logits.unsqueeze(0),
        target=loss.target.unsqueeze(0),
        sample_weight=None if loss.sample_weight is None else loss.sample_weight.unsqueeze(0),
        axis=1,
    )
    return input.unsqueeze(0), None if indices is None else indices.unsqueeze(0), loss


def _finite(argument: str, value: float) -> float:
    if not math.isfinite(value):
        raise invalid_value(argument, value, "a finite number")
    return float(value)


def _positive(argument: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise invalid_value(argument, value, "a positive finite number, or None")
    return float(value)
