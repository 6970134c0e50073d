"""Rows that take no part: batches without any other, and those that send NaN all the same."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from crossent.torch.doctor.advice import finding
from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.findings import Finding

Weighed = tuple[Finding, float]


def all_ignored(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding where a mean is taken of no row at all."""
    if not call.fits or call.reduction not in ("mean", "log-mean") or call.normalizer is not None:
        return
    if call.is_soft:
        if call.input.numel() == 0:
            yield finding("all-ignored", "error", call.where, {"rows": 0}), 0.0
    elif call.denominator == 0.0:
        n = len(call.labels)
        numbers = {"rows": n, "ignored": int((~call.kept).sum()), "ignore_index": call.ignore_index}
        yield finding("all-ignored", "error", call.where, numbers), float(n)


def ignored_nan(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding where an ignored row, or a masked class without truth, gives NaN."""
    if not call.fits or call.is_exact or call.function != "cross_entropy" or not call.input.is_floating_point():
        return
    if call.is_soft:
        yield from _masked_classes(call)
        return
    if call.kept.all():
        return
    rows = call.flat_rows(call.some(~call.kept)).float()
    bad = torch.isnan(rows).any(-1) | (rows == torch.inf).any(-1) | (rows == -torch.inf).all(-1)
    if bool(bad.any()):
        yield _finding(call.where, int(bad.sum()), len(rows), "ignored rows with NaN, inf or no class left")


def _masked_classes(call: LossCall) -> Iterator[Weighed]:
    if call.input.ndim == 0 or call.input.numel() == 0:
        return
    rows = call.some()
    masked = call.flat_rows(rows) == -torch.inf
    truth = LossCall(call.function, call.where, call.target, call.target).flat_rows(rows)
    bad = (masked & (truth == 0)).any(-1)
    if bool(bad.any()):
        yield _finding(call.where, int(bad.sum()), len(rows), "rows with a class at -inf whose truth is 0: 0 · inf")


def masked_rows(where: str, losses: Tensor, kept: Tensor) -> Iterator[Weighed]:
    """Yield a finding where losses of rows are masked by hand, and a masked one is not finite."""
    if kept.shape != losses.shape:
        return
    bad = ~torch.isfinite(losses) & (kept == 0)
    if bool(bad.any()):
        yield _finding(where, int(bad.sum()), losses.numel(), "masked rows whose loss is not finite")


def _finding(where: str, bad: int, n: int, what: str) -> Weighed:
    return finding("ignored-nan", "error", where, {"rows": bad, "of": n, "what": what}), float(bad)
