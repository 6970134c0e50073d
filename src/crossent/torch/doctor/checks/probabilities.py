"""Probabilities in place of logits, of log-probabilities, and logarithms of clipped ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossent.torch.doctor.advice import finding
from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.findings import Finding
from crossent.torch.doctor.provenance import Origin

# How far from 0 the log-sum-exp of a row of log-probabilities may be: clipping and ensembles stay below.
_LSE_TOLERANCE = 0.05
Weighed = tuple[Finding, float]


def sum_tolerance(dtype: torch.dtype) -> float:
    """Return how far from 1 a row of probabilities of this dtype may sum."""
    return 2e-2 if dtype.itemsize == 2 else 1e-4


def are_distributions(rows: Tensor) -> bool:
    """Whether every row, classes last, is a distribution."""
    if rows.numel() == 0 or rows.shape[-1] < 2 or not rows.is_floating_point():
        return False
    values = rows.double()
    inside = bool(((values >= 0) & (values <= 1)).all())
    return inside and bool((values.sum(dim=-1) - 1).abs().max() <= sum_tolerance(rows.dtype))


def double_softmax(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding where probabilities are passed as logits."""
    made = None if call.origin is None else call.origin.find("softmax", "sigmoid")
    if call.function == "binary_cross_entropy_with_logits":
        if made is not None:
            yield finding("double-softmax", "error", call.where, _of(made)), 1.0
        return
    if call.function != "cross_entropy" or not call.fits or call.n_classes < 2:
        return
    rows = call.flat_rows(call.some())
    if not (made is not None or are_distributions(rows)) or len(rows) == 0:
        return
    floor = float(np.log1p((call.n_classes - 1) / np.e))
    numbers: dict[str, Any] = {
        "smallest row sum": float(rows.double().sum(dim=-1).min()),
        "largest row sum": float(rows.double().sum(dim=-1).max()),
        "classes": call.n_classes,
        "least possible loss (nats)": floor,
    }
    yield finding("double-softmax", "error", call.where, numbers | ({} if made is None else _of(made))), 1.0


def _of(made: Origin) -> dict[str, Any]:
    return {"made by": f"{made.kind} at {made.where}"}


def probs_as_log_probs(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding where a loss of log-probabilities is given something else."""
    if call.function in ("nll_loss", "cross_entropy_from_log_probs") and call.fits:
        rows = call.flat_rows(call.some(call.kept if not call.is_soft else None))
    elif call.function == "kl_div" and call.input.shape == call.target.shape and call.input.ndim > 0:
        rows = _kl_rows(call)
    else:
        return
    if len(rows) == 0 or rows.shape[-1] < 2:
        return
    lse = torch.logsumexp(rows.double(), dim=-1)
    finite = torch.isfinite(lse)
    wrong = (lse.abs() > _LSE_TOLERANCE) & finite
    if not bool(finite.any()) or float(wrong.sum()) <= 0.5 * float(finite.sum()):
        return
    given = "probabilities" if are_distributions(rows) else "logits"
    numbers = {
        "given": given,
        "median sum of exp(input)": float(lse[finite].exp().median()),
        "rows": len(rows),
        "largest entry": float(rows.double().max()),
    }
    fix = None
    if call.function == "kl_div":
        fix = 'loss = F.kl_div(F.log_softmax(logits, dim=1), target_probs, reduction="batchmean")'
    yield finding("probs-as-log-probs", "error", call.where, numbers, fix), 1.0


def _kl_rows(call: LossCall) -> Tensor:
    """Return rows of the input along the axis on which the targets sum to 1; none where there is no such axis."""
    target = call.target.detach().exp() if call.log_target else call.target.detach()
    for axis in dict.fromkeys((-1, min(1, target.ndim - 1))):
        rows = target.movedim(axis, -1).reshape(-1, target.shape[axis])[:512].cpu()
        if are_distributions(rows):
            return call.input.movedim(axis, -1).reshape(-1, target.shape[axis])[:512].cpu()
    return torch.empty(0, 1)


def is_probability(origin: Origin | None, tensor: Tensor) -> bool:
    """Whether a tensor came out of a softmax or a sigmoid, or looks like distributions along an axis."""
    if origin is not None and origin.find("softmax", "sigmoid") is not None:
        return True
    if tensor.ndim < 2 or not tensor.is_floating_point() or tensor.numel() == 0:
        return False
    axes = dict.fromkeys((-1, 1))
    return any(are_distributions(tensor.movedim(axis, -1).flatten(0, -2)[:512].cpu()) for axis in axes)


def clipped_log(origin: Origin, picked: Tensor | None) -> Iterator[Weighed]:
    """Yield a finding for the logarithm of clipped or shifted probabilities.

    Parameters
    ----------
    origin : Origin
        Of the logarithm.
    picked : optional
        The probabilities at the labels before the clip, where it is known which entries count.
    """
    clip = None if origin.parent is None else origin.parent.find("clip", "shift")
    if clip is None or clip.source is None or not is_probability(clip.parent, clip.source):
        return
    is_clip = clip.kind == "clip"
    probs = (clip.source if picked is None else picked).detach().double()
    # log(p + eps) is off by more than 1 % of its gradient below 100 eps.
    bound = clip.eps if is_clip else 100 * clip.eps
    per_row = picked is not None or (clip.parent is not None and clip.parent.kind == "pick")
    share = float((probs < bound).double().mean()) if probs.numel() else 0.0
    numbers: dict[str, Any] = {
        "form": f"log(clamp(p, {clip.eps:g}))" if is_clip else f"log(p + {clip.eps:g})",
        "rows" if per_row else "entries": probs.numel(),
        f"share of {'rows' if per_row else 'entries'} "
        + ("whose gradient is 0" if is_clip else "whose gradient is off by more than 1 %"): share,
        "smallest p": float(probs.min()) if probs.numel() else 1.0,
        "largest possible loss (nats)": float(-np.log(clip.eps)),
    }
    severe = per_row and share > 0
    yield finding("clipped-log", "error" if severe else "warning", origin.where, numbers), share + per_row
