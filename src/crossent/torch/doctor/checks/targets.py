"""Targets that are no labels of these classes, no distributions, or of the wrong kind or shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from crossent.torch.doctor.advice import finding
from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.findings import Finding, Severity

Weighed = tuple[Finding, float]


def label_out_of_range(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding for labels that name no class."""
    if not call.fits or call.is_soft or call.input.numel() == 0:
        return
    labels, n_classes = call.labels[call.kept], call.n_classes
    if len(labels) == 0:
        return
    bad = (labels < 0) | (labels >= n_classes)
    if not bad.any():
        return
    first = int(np.flatnonzero(call.kept)[np.argmax(bad)])
    low, high = int(labels.min()), int(labels.max())
    numbers = {
        "smallest label": low,
        "largest label": high,
        "classes": n_classes,
        "rows": int(bad.sum()),
        "first": f"target[{first}] = {int(call.labels[first])}",
    }
    fix = None
    if low >= 1 and high == n_classes:
        fix = "target = target - 1  # labels from 0"
    elif (labels[bad] == labels[bad][0]).all() and int(labels[bad][0]) < 0:
        fix = f"loss = F.cross_entropy(logits, target, ignore_index={int(labels[bad][0])})"
    yield finding("label-out-of-range", "error", call.where, numbers, fix), float(bad.sum())


def label_dtype(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding for targets of the wrong kind."""
    if call.function in ("binary_cross_entropy_with_logits", "binary_cross_entropy"):
        yield from _binary(call)
        return
    if call.function not in ("cross_entropy", "nll_loss") or call.input.ndim == 0:
        return
    rows = call.input.shape[: call.axis] + call.input.shape[call.axis + 1 :]
    target, problem = call.target, ""
    is_float = target.is_floating_point()
    if target.shape == rows and target.shape != call.input.shape and (is_float or target.dtype == torch.bool):
        problem = f"class numbers as {_name(target)}"
    elif target.shape == call.input.shape and (not is_float or call.function == "nll_loss"):
        problem = f"one-hot rows as {_name(target)}" if not is_float else "distributions, which nll_loss does not take"
    elif target.shape == rows and not call.is_exact and target.dtype not in (torch.int64, torch.uint8):
        problem = f"class numbers as {_name(target)}, which PyTorch does not take"
    elif target.shape == (*rows, 1) and target.ndim > 1 and target.shape != call.input.shape:
        problem = "a column of class numbers: one axis too many"
    elif call.is_soft and call.n_classes == 1:
        problem = "yes and no for a single output: over one class the loss is always 0"
    elif call.is_soft and _are_class_numbers(call):
        problem = "whole numbers above 1 in place of probabilities: class numbers, taken for one distribution"
    if problem:
        fix = "target = target.squeeze(-1)" if "column" in problem else None
        if "single" in problem:
            fix = "loss = F.binary_cross_entropy_with_logits(logits, target)"
        if "distributions" in problem:
            fix = "loss = F.cross_entropy(logits, target)  # takes distributions"
        yield finding("label-dtype", "error", call.where, _shapes(call) | {"given": problem}, fix), 0.0


def _binary(call: LossCall) -> Iterator[Weighed]:
    target = call.target.detach().double()
    if target.numel() == 0 or call.target.is_complex():
        return
    low, high = float(target.min()), float(target.max())
    if low >= 0 and high <= 1:
        return
    numbers = _shapes(call) | {"smallest target": low, "largest target": high}
    fix = "target = (target > 0).float()  # 0 or 1; of class numbers: F.cross_entropy with C logits"
    yield finding("label-dtype", "error", call.where, numbers | {"given": "targets outside of [0, 1]"}, fix), 0.0


def _are_class_numbers(call: LossCall) -> bool:
    values = call.target.detach()
    whole = bool((values == values.round()).all())
    return values.ndim == 1 and values.numel() > 0 and whole and bool((values > 1).any()) and bool((values >= 0).all())


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shapes(call: LossCall) -> dict[str, Any]:
    return {
        "input": f"{_name(call.input)} {tuple(call.input.shape)}",
        "target": f"{_name(call.target)} {tuple(call.target.shape)}",
    }


def shape_swapped(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding where the classes do not stand on axis 1."""
    if call.function not in ("cross_entropy", "nll_loss"):
        return
    shape, ndim = call.input.shape, call.input.ndim
    by_shape = ndim >= 3 and call.target.shape == shape[:-1] and call.target.shape != (shape[0], *shape[2:])
    origin, axis = call.origin, None if call.origin is None else call.origin.axis
    mixed = origin is not None and origin.kind == "mixed"
    by_origin = ndim >= 3 and axis is not None and axis != 1 - ndim and not call.is_soft
    if by_shape or by_origin or mixed:
        numbers = _shapes(call)
        fix = None
        if mixed and origin is not None:
            numbers["reshaped"] = f"from {origin.shape} at {origin.where}, across classes and positions"
            fix = (
                "loss = F.cross_entropy(logits, target)  # (N, C, d) as it is; or logits.movedim(1, -1).flatten(0, -2)"
            )
        severity: Severity = "error" if by_shape or mixed else "warning"
        yield finding("shape-swapped", severity, call.where, numbers, fix), 0.0


def not_a_distribution(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding for soft targets with negative entries, or rows that do not sum to 1."""
    if call.function == "kl_div":
        if call.log_target or call.target.numel() == 0 or not call.target.is_floating_point():
            return
        low = float(call.target.detach().min())
        if low < 0:
            yield finding("not-a-distribution", "error", call.where, {"smallest entry": low}), -low
        return
    if (
        not call.of_classes
        or not call.is_soft
        or call.n_classes < 2
        or call.target.numel() == 0
        or _are_class_numbers(call)
    ):
        return
    target = LossCall(call.function, call.where, call.target, call.target)
    rows = target.flat_rows(target.some()).double()
    sums = rows.sum(dim=-1)
    low, off = float(rows.min()), float((sums - 1).abs().max())
    allowed = 2e-2 if call.target.dtype.itemsize == 2 else 1e-3
    if low >= 0 and (off <= allowed or call.is_exact):  # crossent's take rows of any mass
        return
    numbers = {"smallest entry": low, "smallest row sum": float(sums.min()), "largest row sum": float(sums.max())}
    grave = low < 0 or off > 0.1
    yield finding("not-a-distribution", "error" if grave else "warning", call.where, numbers), max(off, -low)
