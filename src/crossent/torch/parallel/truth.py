"""The truth of the rows that take part, seen by the rank that holds some of the classes."""

from __future__ import annotations

import torch
from torch import Tensor

from crossent.errors import invalid_value
from crossent.torch.parallel.arguments import Arguments
from crossent.torch.parallel.layout import Layout


class Truth:
    """p_c = w_c ((1 - ε) base_c + ε / C), as :mod:`crossent.targets` has it, for this rank's classes.

    Attributes
    ----------
    rows : int64 Tensor (k) or None
        The rows that take part; None for all.
    label : int64 Tensor (k) or None
        Counted from this rank's first class: those of other ranks are negative or beyond its last.
    class_weight : Tensor (c) or None
        This rank's, in the computing dtype.
    """

    def __init__(self, arguments: Arguments, layout: Layout) -> None:
        self.arguments, self.layout = arguments, layout
        self.smoothing, self.is_spread = arguments.options.label_smoothing, arguments.is_spread
        self.class_weight = self._class_weight()
        self.rows = self._rows()
        self.label: Tensor | None = None
        if arguments.labels is not None:
            self.label = self.kept(arguments.labels) - layout.start
        elif arguments.probs is not None:
            self._check_probs(arguments.probs)

    def kept(self, values: Tensor) -> Tensor:
        """Return the entries of the rows that take part."""
        return values if self.rows is None else values[self.rows]

    def spread(self, values: Tensor, fill: float = 0.0) -> Tensor:
        """Return values of the rows that take part as values of all rows."""
        if self.rows is None:
            return values
        return values.new_full((self.arguments.rows,), fill).index_copy_(0, self.rows, values)

    def within(self, column: Tensor, rows: slice, classes: slice) -> tuple[Tensor, Tensor]:
        """Return which rows of a tile have their column in it, and where."""
        column = column[rows] - classes.start
        width = min(classes.stop, self.layout.counts[self.layout.rank]) - classes.start
        place = ((column >= 0) & (column < width)).nonzero().squeeze(1)
        return place, column[place]

    def probs(self, rows: slice, classes: slice) -> Tensor:
        """Return p of a tile, in the computing dtype."""
        arguments, total = self.arguments, self.layout.total
        if self.label is not None:
            width = min(classes.stop, self.layout.counts[self.layout.rank]) - classes.start
            height = len(self.label[rows])
            p = arguments.x.new_full((height, width), self.smoothing / total, dtype=arguments.dtype)
            p[self.within(self.label, rows, classes)] += 1.0 - self.smoothing
        else:
            assert arguments.probs is not None
            block = slice(rows.start, min(rows.stop, arguments.rows))
            p = arguments.probs[block if self.rows is None else self.rows[rows], classes].to(arguments.dtype)
            if self.smoothing:
                p = p * (1.0 - self.smoothing) + self.smoothing / total
        return p if self.class_weight is None else p * self.class_weight[classes]

    def label_weight(self) -> Tensor | None:
        """Return the class weight of the labels that this rank holds, 0 for others', (k) float64."""
        if self.label is None or self.class_weight is None:
            return None
        weights = torch.zeros(len(self.label), dtype=torch.float64, device=self.label.device)
        held = ((self.label >= 0) & (self.label < len(self.class_weight))).nonzero().squeeze(1)
        weights[held] = self.class_weight[self.label[held]].double()
        return weights

    def _class_weight(self) -> Tensor | None:
        given, layout = self.arguments.class_weight, self.layout
        if given is None:
            return None
        if len(given) not in (layout.total, layout.counts[layout.rank]):
            raise ValueError(
                f"weight has {len(given)} entries: expected {layout.total}, one for each class, or "
                f"{layout.counts[layout.rank]}, one for each class of this rank"
            )
        whole = len(given) == layout.total
        own = given.detach()[layout.own] if whole else given.detach()
        bad = ~((own >= 0) & (own < torch.inf))
        if bad.any():
            place = int(bad.nonzero()[0])
            name = f"weight[{place + (layout.start if whole else 0)}]"
            raise invalid_value(name, own[place].item(), "a finite number of at least 0")
        return own.to(self.arguments.dtype)

    def _rows(self) -> Tensor | None:
        arguments = self.arguments
        part = torch.ones(arguments.rows, dtype=torch.bool, device=arguments.x.device)
        if arguments.sample_weight is not None:
            s = arguments.sample_weight
            bad = ~((s >= 0) & (s < torch.inf))
            if bad.any():
                place = int(bad.nonzero()[0])
                raise invalid_value(f"sample_weight[{place}]", s[place].item(), "a finite number of at least 0")
            part &= s != 0
        if arguments.labels is not None:
            labels = arguments.labels
            kept = labels != arguments.options.ignore_index
            bad = kept & ((labels < 0) | (labels >= self.layout.total))
            if bad.any():
                place = int(bad.nonzero()[0])
                raise ValueError(f"target[{place}] = {labels[place].item()} is outside [0, {self.layout.total})")
            part &= kept
        return None if part.all() else part.nonzero().squeeze(1)

    def _check_probs(self, probs: Tensor) -> None:
        bad = ~((probs >= 0) & (probs < torch.inf))
        if self.rows is not None:
            bad = bad[self.rows]
        if bad.any():
            row, column = (int(i) for i in bad.nonzero()[0])
            row = row if self.rows is None else int(self.rows[row])
            value = probs[row, column].item()
            raise invalid_value(
                f"target, row {row}, class {column + self.layout.start}", value, "a finite number of at least 0"
            )
