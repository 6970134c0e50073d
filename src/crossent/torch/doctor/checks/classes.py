"""What the targets say about the classes: never seen, very unequal, or padding; and how the model starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crossent.torch.doctor.advice import finding
from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.findings import Finding

Weighed = tuple[Finding, float]

# Vocabularies have words that no batch names, and frequencies as unequal as language.
_MOST_CLASSES = 1000
_ROWS_PER_CLASS = 20


def initial_loss(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding where the first loss of a place is far above log C."""
    loss = None if call.output is None or call.output.numel() != 1 else float(call.output.detach())
    counted = call.fits and not call.is_soft and call.reduction == "mean" and call.normalizer is None
    if loss is None or not counted or call.z_loss > 0 or call.n_classes < 2:
        return
    kept, expected = int(call.kept.sum()), float(np.log(call.n_classes))
    # A few rows scatter more.
    slack = max(1.0, 0.5 * expected) * (1.0 if kept >= 16 else 2.0)
    if kept and np.isfinite(loss) and loss > expected + slack:
        numbers: dict[str, Any] = {"first loss (nats)": loss, "log C (nats)": expected, "classes": call.n_classes}
        rows, _ = call.sample
        if call.function == "cross_entropy" and len(rows):
            numbers["standard deviation of the logits"] = float(rows.double().std())
        yield finding("initial-loss", "warning", call.where, numbers), 0.0


@dataclass
class _Site:
    n_classes: int
    counts: NDArray[np.int64]
    first_probs: NDArray[np.float64] | None
    first_rows: int
    ignored: set[int]
    weighted: bool = False
    calls: int = 0


@dataclass
class ClassCounts:
    """How often each place's targets named each class, and what the model predicted at first."""

    _sites: dict[str, _Site] = field(default_factory=dict)

    def see(self, call: LossCall) -> None:
        if not (call.trains and call.fits) or call.function not in ("cross_entropy", "nll_loss"):
            return
        if call.is_soft or call.n_classes > _MOST_CLASSES or call.n_classes < 2:
            return
        labels = call.labels[call.kept]
        labels = labels[(labels >= 0) & (labels < call.n_classes)]
        counts = np.bincount(labels, minlength=call.n_classes)
        ignored = {call.ignore_index} & set(range(call.n_classes))
        site = self._sites.get(call.where)
        if site is None or site.n_classes != call.n_classes:
            site = _Site(call.n_classes, np.zeros_like(counts), _mean_prediction(call), len(labels), ignored)
            self._sites[call.where] = site
        site.counts = site.counts + counts
        site.weighted = site.weighted or call.weight is not None
        site.calls += 1

    def findings(self) -> Iterator[Finding]:
        """Yield what the counts show by now."""
        for where, site in self._sites.items():
            n = int(site.counts.sum())
            if n < max(_ROWS_PER_CLASS * site.n_classes, 50):
                continue
            unused = np.setdiff1d(np.flatnonzero(site.counts == 0), list(site.ignored))
            if len(unused):
                numbers = {"classes": site.n_classes, "never named": unused[:20].tolist(), "how many": len(unused)}
                one = finding("unused-class", "note", where, numbers | {"targets": n})
                yield one
            yield from _imbalance(where, site, n)


def _mean_prediction(call: LossCall) -> NDArray[np.float64] | None:
    rows, _ = call.sample
    if len(rows) == 0:
        return None
    rows = rows.double()
    probs = rows.exp() if call.function == "nll_loss" else torch.softmax(rows, dim=-1)
    mean: NDArray[np.float64] = probs.mean(dim=0).numpy()
    return mean if np.isfinite(mean).all() else None


def _imbalance(where: str, site: _Site, n: int) -> Iterator[Finding]:
    seen = site.counts > 0
    if site.weighted or site.first_probs is None or seen.sum() < 2:
        return
    share = site.counts / n
    ratio = float(share.max() / share[seen].min())
    guess = np.maximum(site.first_probs, 1e-12)
    excess = float((share[seen] * np.log(share[seen] / guess[seen])).sum())
    # One class holds most of the targets, or the frequencies are a long tail; letters of a text are neither.
    if ratio < 9 or not ((share.max() >= 0.4 and excess >= 0.3) or excess >= 1.0):
        return
    numbers = {
        "most frequent": f"class {int(share.argmax())}, {share.max():.3g} of {n} targets",
        "least frequent": f"class {int(np.where(seen, share, 2).argmin())}, {share[seen].min():.3g}",
        "nats a row that the first predictions lose to the frequencies": excess,
        "first mean prediction of the most frequent": float(guess[share.argmax()]),
    }
    yield finding("imbalance", "note", where, numbers)


def padding_counted(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding where one class fills the ends of the rows of targets."""
    if not call.fits or call.is_soft or not call.of_classes:
        return
    target = call.target
    made = call.target_origin
    shape = tuple(target.shape)
    if target.ndim == 1 and made is not None and made.kind == "reshape" and len(made.shape) == 2:
        shape = made.shape
    if len(shape) != 2 or shape[0] < 4 or shape[1] < 4 or len(call.labels) != shape[0] * shape[1]:
        return
    labels = call.labels.reshape(shape)
    ends, counts = np.unique(labels[:, -1], return_counts=True)
    pad = int(ends[counts.argmax()])
    if pad == call.ignore_index:
        return
    is_pad = labels == pad
    # Length of the run of pads at the end of each row.
    runs = np.where(is_pad.all(axis=1), shape[1], (~is_pad[:, ::-1]).argmax(axis=1))
    inside = int(is_pad.sum() - runs.sum())
    share, long = float(runs.sum() / labels.size), float((runs >= 2).mean())
    ragged = len(np.unique(runs)) > 1
    if share < 0.1 or long < 0.25 or not ragged or inside > 0.01 * labels.size or runs.min() == shape[1]:
        return
    numbers: dict[str, Any] = {
        "class": pad,
        "share of the targets": share,
        "rows that end in it": float((runs >= 1).mean()),
        "longest run at a row's end": int(runs.max()),
        "targets of it elsewhere": inside,
    }
    fix = f"loss = F.cross_entropy(logits, target, ignore_index={pad})"
    yield finding("padding-counted", "warning", call.where, numbers, fix), share
