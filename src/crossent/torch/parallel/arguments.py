"""The arguments of a call on one rank, checked as far as one rank can."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import crossent
from crossent.errors import invalid_choice, invalid_type, invalid_value
from crossent.head.memory import bytes_of
from crossent.head.plan import GRADIENTS
from crossent.torch.call import FLOATS, LABELS
from crossent.torch.call import compute_dtype as compute_dtype_of

REDUCTIONS = ("mean", "sum", "none")


@dataclass(frozen=True)
class Options:
    """What every rank must be given alike; the same names as the arguments."""

    label_smoothing: float
    ignore_index: int
    z_loss: float
    reduction: str
    logit_scale: float
    softcap: float | None
    return_lse: bool
    return_accuracy: bool
    gradient: str
    threshold: float


@dataclass(frozen=True)
class Arguments:
    """A call, with rows flattened.

    Attributes
    ----------
    x : Tensor (n, d)
    weight : Tensor (c, d)
        This rank's classes.
    bias : Tensor (c) or None
    labels : int64 Tensor (n) or None
    probs : Tensor (n, c) or (n, k) or None
        This rank's columns of the distributions, or the probabilities of a few classes.
    indices : int64 Tensor (n, k) or None
        Those classes, among all.
    class_weight : Tensor (c) or (C) or None
        This rank's, or all.
    sample_weight : Tensor (n) or None
    normalizer : float or None
    options : Options
    budget : int
        Bytes.
    row_shape : torch.Size
        The rows' shape before they were flattened.
    check_same : bool
    x_grad : bool
        Whether x needs a gradient, which takes a collective operation: all ranks do or none.
    target_grad : bool
        Whether the distributions do; those of a few classes take part in the same operation.
    class_weight_grad : bool
        Whether the class weights do; those of all classes take part in the same operation.
    needs_grad : bool
        Whether anything that is made of the logits does on this rank.
    seed, first_row : int
        Of the unbiased gradient: this rank's own seed, and the number of its first row among those of all row groups.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    labels: Tensor | None
    probs: Tensor | None
    indices: Tensor | None
    class_weight: Tensor | None
    sample_weight: Tensor | None
    normalizer: float | None
    options: Options
    budget: int
    row_shape: torch.Size
    check_same: bool
    x_grad: bool
    target_grad: bool
    class_weight_grad: bool
    needs_grad: bool
    seed: int
    first_row: int

    @property
    def dtype(self) -> torch.dtype:
        """In which everything is computed."""
        return compute_dtype_of(torch.promote_types(self.x.dtype, self.weight.dtype))

    @property
    def is_spread(self) -> bool:
        """Whether classes beside a label carry truth: smoothed labels are distributions in all but form."""
        return self.labels is None or self.options.label_smoothing > 0.0

    @property
    def probs_dtype(self) -> torch.dtype | None:
        return None if self.probs is None else self.probs.dtype

    @property
    def rows(self) -> int:
        return self.x.shape[0]

    @property
    def seeks_most(self) -> bool:
        """Whether the ranks have to find each row's largest probability: no rank sees a whole distribution."""
        return self.options.return_accuracy and self.probs is not None and self.indices is None

    @property
    def summed_target(self) -> int:
        """How many entries of the target's gradient are summed over the ranks."""
        return 0 if self.indices is None or not self.target_grad else self.indices.numel()

    def fingerprint(self) -> str:
        """Return what the ranks compare before the first call of its kind: all that decides sizes and formulas."""
        return json.dumps(
            {
                "classes": self.weight.shape[0],
                "crossent": crossent.__version__,
                "rows of x": list(self.row_shape),
                "columns of x": self.x.shape[1],
                "dtype of x": str(self.x.dtype),
                "dtype of weight_shard": str(self.weight.dtype),
                "device": self.x.device.type,
                "target": self._kind(),
                "number of class weights": 0 if self.class_weight is None else len(self.class_weight),
                "class weights": self.class_weight is not None,
                "sample_weight": self.sample_weight is not None,
                "check_same": self.check_same,
                "x requires a gradient": self.x_grad,
                "target requires a gradient": self.target_grad,
                "weight requires a gradient": self.class_weight_grad,
                **self.options.__dict__,
            }
        )

    def _kind(self) -> str:
        if self.indices is not None:
            return f"distributions over {self.indices.shape[1]} classes"
        return "labels" if self.probs is None else "distributions"


def checked(
    x: Tensor,
    weight_shard: Tensor,
    target: Any,
    *,
    bias_shard: Tensor | None,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    z_loss: float,
    normalizer: float | Tensor | None,
    reduction: str,
    logit_scale: float,
    softcap: float | None,
    return_lse: bool,
    return_accuracy: bool,
    gradient: str,
    threshold: float,
    generator: torch.Generator | None,
    max_memory: int | str,
    check_same: bool,
    first_row: int,
) -> Arguments:
    """Return the arguments in one form.

    Raises
    ------
    TypeError, ValueError
    """
    _matrices(x, weight_shard, bias_shard)
    rows = x.shape[:-1]
    labels, probs, indices = _target(target, rows, weight_shard, ignore_index)
    truth = labels if probs is None else probs
    _same_device(x, weight_shard=weight_shard, target=truth, bias_shard=bias_shard, sample_weight=sample_weight)
    seed = _seed(x, gradient, generator)
    if weight is not None:
        _tensor("weight", weight, 1)
    if sample_weight is not None:
        _shape("sample_weight", sample_weight, rows, "one for each row of x")
    if reduction not in REDUCTIONS:
        raise invalid_choice("reduction", reduction, REDUCTIONS)
    if normalizer is not None and reduction != "mean":
        raise invalid_value("normalizer", normalizer, f'None with reduction="{reduction}", as only a mean divides')
    options = Options(
        _number("label_smoothing", label_smoothing, 0.0, 1.0, "a number in [0, 1]"),
        ignore_index,
        _number("z_loss", z_loss, 0.0, math.inf, "a finite number of at least 0"),
        reduction,
        _number("logit_scale", logit_scale, -math.inf, math.inf, "a finite number"),
        None if softcap is None else _positive("softcap", softcap),
        bool(return_lse),
        bool(return_accuracy),
        gradient,
        _positive("threshold", threshold, 1.0, "a number in (0, 1]"),
    )
    recorded = [t for t in (x, weight_shard, bias_shard, probs, weight) if t is not None and torch.is_grad_enabled()]
    return Arguments(
        x.reshape(math.prod(rows), x.shape[-1]),
        weight_shard,
        bias_shard,
        labels,
        probs,
        indices,
        weight,
        None if sample_weight is None else sample_weight.reshape(-1),
        None if normalizer is None else _positive("normalizer", normalizer),
        options,
        bytes_of("max_memory", max_memory),
        rows,
        bool(check_same),
        torch.is_grad_enabled() and x.requires_grad,
        torch.is_grad_enabled() and probs is not None and probs.requires_grad,
        torch.is_grad_enabled() and weight is not None and weight.requires_grad,
        any(t.requires_grad for t in recorded),
        seed,
        first_row,
    )


def _matrices(x: Tensor, weight_shard: Tensor, bias_shard: Tensor | None) -> None:
    _tensor("weight_shard", weight_shard, 2)
    if not isinstance(x, Tensor):
        raise invalid_type("x", x, "a tensor")
    if x.ndim == 0 or x.dtype not in FLOATS:
        raise ValueError(f"x has shape {tuple(x.shape)} and dtype {x.dtype}: expected floats, one row for each target")
    if x.shape[-1] != weight_shard.shape[1]:
        raise ValueError(
            f"x has shape {tuple(x.shape)}: expected rows of {weight_shard.shape[1]} columns, as weight_shard has"
        )
    if bias_shard is not None:
        _shape("bias_shard", bias_shard, weight_shard.shape[:1], "one for each row of weight_shard")


def _target(
    target: Any, rows: torch.Size, weight_shard: Tensor, ignore_index: int
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, int):
        raise invalid_type("ignore_index", ignore_index, "an integer")
    if isinstance(target, tuple | list):
        indices, probs = _few_classes(target, rows)
        _no_label_to_ignore(ignore_index)
        return None, probs, indices
    if not isinstance(target, Tensor):
        raise invalid_type("target", target, "a tensor, or a pair of tensors (indices, probabilities)")
    if target.dtype in LABELS:
        if target.shape != rows:
            raise ValueError(f"target has shape {tuple(target.shape)}: expected {tuple(rows)}, a label for each row")
        return target.reshape(-1).to(torch.int64), None, None
    if target.dtype not in FLOATS:
        raise TypeError(f"target has dtype {target.dtype}: expected integers (labels) or floats (distributions)")
    classes = weight_shard.shape[0]
    if target.shape != (*rows, classes):
        raise ValueError(
            f"target has shape {tuple(target.shape)}: expected {(*rows, classes)}, the columns of this rank's classes"
        )
    _no_label_to_ignore(ignore_index)
    return None, target.reshape(math.prod(rows), classes), None


def _few_classes(target: Any, rows: torch.Size) -> tuple[Tensor, Tensor]:
    if len(target) != 2 or not all(isinstance(t, Tensor) for t in target):
        raise invalid_type("target", target, "a tensor, or a pair of tensors (indices, probabilities)")
    indices, probs = target
    if indices.dtype not in LABELS or probs.dtype not in FLOATS:
        raise TypeError(f"target has dtypes {indices.dtype}, {probs.dtype}: expected integers and floats")
    if indices.shape != probs.shape or indices.shape[:-1] != rows or indices.ndim == 0:
        shapes = f"{tuple(indices.shape)}, {tuple(probs.shape)}"
        raise ValueError(f"target has shapes {shapes}: expected {(*rows, 'k')!s} for both")
    if indices.device != probs.device:
        raise ValueError(f"target is on {indices.device}, {probs.device}: expected one device")
    flat = (math.prod(rows), indices.shape[-1])
    return indices.reshape(flat).to(torch.int64), probs.reshape(flat)


def _no_label_to_ignore(ignore_index: int) -> None:
    if ignore_index >= 0:
        raise invalid_value("ignore_index", ignore_index, "a negative number with distributions, which have no label")


def _tensor(name: str, value: Any, ndim: int) -> None:
    if not isinstance(value, Tensor):
        raise invalid_type(name, value, "a tensor")
    if value.ndim != ndim or value.dtype not in FLOATS:
        dimensions = "one dimension" if ndim == 1 else f"{ndim} dimensions"
        raise ValueError(
            f"{name} has shape {tuple(value.shape)} and dtype {value.dtype}: expected floats, {dimensions}"
        )


def _shape(name: str, value: Any, shape: torch.Size, meaning: str) -> None:
    if not isinstance(value, Tensor):
        raise invalid_type(name, value, "a tensor")
    if value.shape != shape or value.dtype not in FLOATS:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)} and dtype {value.dtype}: expected floats of shape {tuple(shape)}, "
            f"{meaning}"
        )


def _same_device(x: Tensor, **others: Tensor | None) -> None:
    for name, value in others.items():
        if value is not None and value.device != x.device:
            raise ValueError(f"{name} is on {value.device}: expected {x.device}, where x is")


def _number(name: str, value: Any, low: float, high: float, expected: str) -> float:
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise invalid_type(name, value, "a real number")
    number = float(value)
    if not low <= number <= high or math.isinf(number):
        raise invalid_value(name, number, expected)
    return number


def _positive(name: str, value: Any, high: float = math.inf, expected: str = "a positive finite number") -> float:
    number = _number(name, value, 0.0, high, expected)
    if number == 0.0:
        raise invalid_value(name, number, expected)
    return number


def _seed(x: Tensor, gradient: str, generator: Any) -> int:
    """Return the seed of this rank's roundings, drawn where there are any."""
    if gradient not in GRADIENTS:
        raise invalid_choice("gradient", gradient, GRADIENTS)
    if not isinstance(generator, torch.Generator | None):
        raise invalid_type("generator", generator, "a torch.Generator, or None")
    if gradient == "exact":
        return 0
    if x.device.type != "cpu":
        raise ValueError(f'gradient="unbiased": x is on {x.device}: expected CPU tensors')
    return int(torch.randint(2**63 - 1, (), generator=generator))
