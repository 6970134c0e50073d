"""Means that are not the mean the user thinks of: over parts of a batch, over ranks, with weights, with smoothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from crossent import reference
from crossent.torch.doctor.advice import finding
from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.findings import Finding, Severity

Weighed = tuple[Finding, float]

# A last part that is a little shorter is below it.
_TOLERATED = 0.05
# From this share of the gradient's weight on that falls to the wrong rows, the gradient is wrong, not just uneven.
_WRONG = 0.05


def is_mean(call: LossCall) -> bool:
    """Whether the call divides by its own count of rows."""
    return call.reduction in ("mean", "batchmean") and call.normalizer is None


def row_shares(parts: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """Return by what factor a row of each part weighs more than in the mean over all rows.

    Parameters
    ----------
    parts : sequence of (factor, count)
        What each part's mean is multiplied by before the parts are added, and what it divides by.

    Examples
    --------
    >>> row_shares([(0.5, 10.0), (0.5, 30.0)])
    (2.0, 0.6666666666666666)
    """
    total = sum(count for _, count in parts)
    scale = sum(factor for factor, _ in parts)
    return tuple(factor * total / (count * scale) for factor, count in parts)


def misplaced(parts: Sequence[tuple[float, float]]) -> float:
    """Return the share of the gradient's weight that falls to other rows than in the mean over all rows.

    The total variation between the two weightings of the rows: half the sum of what each row weighs too much or too
    little.

    Examples
    --------
    >>> misplaced([(0.5, 10.0), (0.5, 30.0)])
    0.25
    """
    total = sum(count for _, count in parts)
    scale = sum(factor for factor, _ in parts)
    return 0.5 * sum(abs(factor / scale - count / total) for factor, count in parts)


def _uneven(parts: Sequence[tuple[float, float]]) -> tuple[dict[str, Any], Severity, float] | None:
    """Return the numbers, how severe they are, and by how much a row weighs too much or too little at worst."""
    shares = row_shares(parts)
    worst = max(max(shares), 1 / min(shares)) - 1
    if worst <= _TOLERATED:
        return None
    wrong = misplaced(parts)
    numbers: dict[str, Any] = {
        "counts": [count for _, count in parts[:16]],
        "a row weighs, in terms of the batch's mean, at least": min(shares),
        "and at most": max(shares),
        "share of the gradient's weight on the wrong rows": wrong,
    }
    return numbers, "error" if wrong >= _WRONG else "warning", worst


def accumulation_mean(parts: list[tuple[LossCall, float]]) -> Iterator[Weighed]:
    """Yield a finding where gradients of means over different counts were added before one step of the optimizer.

    Parameters
    ----------
    parts : list of (call, factor)
        The calls of one place, one for each backward.
    """
    if len(parts) < 2 or not all(is_mean(call) and call.denominator > 0 and factor > 0 for call, factor in parts):
        return
    uneven = _uneven([(factor, call.denominator) for call, factor in parts])
    if uneven is None:
        return
    numbers, severity, worst = uneven
    counts = [call.denominator for call, _ in parts]
    losses = [_value(call) for call, _ in parts]
    if all(np.isfinite(losses)):
        factors = [factor for _, factor in parts]
        numbers["mean of the means (nats)"] = float(np.average(losses, weights=factors))
        numbers["mean of the batch (nats)"] = float(np.average(losses, weights=counts))
    yield finding("accumulation-mean", severity, parts[0][0].where, {"parts": len(parts)} | numbers), worst


def _value(call: LossCall) -> float:
    return float("nan") if call.output is None or call.output.numel() != 1 else float(call.output)


def mean_over_ranks(where: str, parts: Sequence[tuple[float, float]]) -> Iterator[Weighed]:
    """Yield a finding where the ranks' means divide by different counts.

    Parameters
    ----------
    parts : sequence of (factor, count)
        Of each rank.
    """
    if len(parts) < 2 or not all(factor > 0 and count > 0 for factor, count in parts):
        return
    uneven = _uneven(parts)
    if uneven is not None:
        numbers, severity, worst = uneven
        yield finding("mean-over-ranks", severity, where, {"ranks": len(parts)} | numbers), worst


def weighted_mean(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding for class weights with distributions, whose mean divides by the number of rows."""
    weights = call.class_weights
    if call.function != "cross_entropy" or weights is None or not (call.fits and call.is_soft and is_mean(call)):
        return
    if call.input.numel() == 0:
        return
    target = LossCall(call.function, call.where, call.target, call.target)
    rows = target.flat_rows(target.some()).double().numpy()
    n, summed = float(len(rows)), float((rows @ weights).sum())
    if abs(summed / n - 1) > 0.01:
        numbers = {
            "it divides by the rows": n,
            "labels divide by the summed weights": summed,
            "ratio": summed / n,
        }
        yield finding("weighted-mean", "warning", call.where, numbers), abs(summed / n - 1)


def smoothing_convention(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding for smoothing with class weights, and a hint for smoothing with ignored rows."""
    if call.smoothing <= 0 or not call.fits or call.function != "cross_entropy" or call.input.numel() == 0:
        return
    weights = call.class_weights
    ignored = 0 if call.is_soft else int((~call.kept).sum())
    numbers: dict[str, Any] = {"smoothing": call.smoothing, "ignored rows": ignored}
    if weights is None or np.ptp(weights) == 0:
        if ignored and call.reduction == "mean":
            yield finding("smoothing-convention", "note", call.where, numbers), 0.0
        return
    numbers |= {"smallest weight": float(weights.min()), "largest weight": float(weights.max())}
    if not call.is_soft:
        rows, labels = call.sample
        if len(labels):
            z = rows.double().numpy()
            here = reference.cross_entropy(z, labels, weight=weights, label_smoothing=call.smoothing)
            each = reference.cross_entropy(z, labels, label_smoothing=call.smoothing, reduction="none")
            numbers["loss here (nats)"] = float(here)
            numbers["loss with only the label's weight (nats)"] = float(np.average(each, weights=weights[labels]))
    yield finding("smoothing-convention", "warning", call.where, numbers), 0.0
