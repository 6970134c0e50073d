"""What one rank's classes contribute to the rows' losses, in one pass over its logits.

For labels everything is about the other classes: the label's logit is kept apart, so that a confident row keeps its
loss. For distributions, and for smoothed labels, which are some, it is the largest logit that is kept apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crossent.torch.parallel.logits import Logits
from crossent.torch.parallel.truth import Truth


class Statistics:
    """Sums over this rank's classes, for each row that takes part; float64 but for ``top``.

    Attributes
    ----------
    top : Tensor (k)
        The largest logit, the label's not counted; -inf where there is none.
    others : Tensor (k)
        Σ exp(z_c - top), of all classes but the label, or of all but the largest for distributions.
    gap, mass : Tensor (k)
        Σ p_c (top - z_c) and Σ p_c of distributions.
    label_logit : Tensor (k)
        The label's, where this rank holds it, else 0.
    place : int64 Tensor (k)
        The class of the largest logit, counted from this rank's first; for distributions and for the accuracy.
    """

    def __init__(self, logits: Logits, truth: Truth) -> None:
        k, device = len(logits.x), logits.x.device
        zeros = torch.zeros(k, dtype=torch.float64, device=device)
        self.top = logits.x.new_full((k,), -torch.inf)
        self.others, self.gap, self.mass, self.label_logit = zeros, zeros.clone(), zeros.clone(), zeros.clone()
        self.place = torch.zeros(k, dtype=torch.int64, device=device)
        for classes in logits.class_blocks():
            for rows in logits.row_blocks():
                self._add(logits, truth, rows, classes)
        logits.filled()

    @property
    def is_finite(self) -> bool:
        """Whether every logit is finite, or -inf: the class is masked."""
        usable = (self.top < torch.inf) & ~self.others.isnan() & ~self.gap.isnan() & (self.label_logit < torch.inf)
        return bool(usable.all())

    def _add(self, logits: Logits, truth: Truth, rows: slice, classes: slice) -> None:
        uncapped = logits.uncapped(rows, classes)
        z = logits.capped(uncapped)
        # What is kept for backward is not to be overwritten.
        lasting = logits.keeps and z is uncapped
        own = None if truth.is_spread or truth.label is None else truth.within(truth.label, rows, classes)
        if own is not None:
            of_label = z[own]
            self.label_logit[rows][own[0]] = of_label.double()
            z[own] = -torch.inf
        before = self.top[rows]
        if own is not None and not truth.arguments.options.return_accuracy:
            largest, place = z.amax(dim=1), None
        else:
            largest, place = z.max(dim=1)
        top = torch.maximum(before, largest)
        reference = torch.where(top == -torch.inf, 0.0, top)
        below = z - reference.unsqueeze(1) if lasting else z.sub_(reference.unsqueeze(1))
        if own is not None and lasting:
            z[own] = of_label
        if truth.is_spread:
            self._add_gap(truth.probs(rows, classes), rows, below, reference.double() - before.double())
        e = below.exp_()
        shrink = (before.double() - reference.double()).exp()
        if place is not None:
            replaced = largest > before
            self.place[rows] = torch.where(replaced, place + classes.start, self.place[rows])
        if place is None or own is not None:
            self.others[rows] = self.others[rows] * shrink + e.sum(dim=1)
        else:
            self._add_all_but_largest(rows, e, place, replaced, shrink)
        self.top[rows] = top

    def _add_gap(self, p: Tensor, rows: slice, below: Tensor, rise: Tensor) -> None:
        # A class without truth adds nothing, not even at a logit of -inf.
        counted = torch.where(p == 0.0, 0.0, below)
        seen = self.mass[rows]
        self.gap[rows] += torch.where(seen == 0.0, 0.0, seen * rise) - (counted * p).sum(dim=1)
        self.mass[rows] = seen + p.sum(dim=1, dtype=torch.float64)

    def _add_all_but_largest(self, rows: slice, e: Tensor, place: Tensor, replaced: Tensor, shrink: Tensor) -> None:
        place = place.unsqueeze(1)
        e.scatter_(1, place, torch.where(replaced.unsqueeze(1), 0.0, e.gather(1, place)))
        former = torch.where(replaced & (self.top[rows] > -torch.inf), 1.0, 0.0)
        self.others[rows] = (self.others[rows] + former) * shrink + e.sum(dim=1)
