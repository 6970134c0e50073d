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
    indices, few : Tensor (k, few classes) or None
        The classes of distributions over a few, counted likewise, and their probabilities.
    class_weight : Tensor (c) or None
        This rank's, in the computing dtype.
    """

    def __init__(self, arguments: Arguments, layout: Layout) -> None:
        self.arguments, self.layout = arguments, layout
        self.smoothing, self.is_spread = arguments.options.label_smoothing, arguments.is_spread
        self.class_weight = self._class_weight()
        self.rows = self._rows()
        self.label: Tensor | None = None
        self.indices: Tensor | None = None
        if arguments.labels is not None:
            self.label = self.kept(arguments.labels) - layout.start
        elif arguments.probs is not None:
            self._check_probs(arguments.probs)
            if arguments.indices is not None:
                self._check_indices(arguments.indices)
                self.indices = self.kept(arguments.indices) - layout.start
                self.few = self.kept(arguments.probs.detach()).to(arguments.dtype)

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
        place = ((column >= 0) & (column < self._width(classes))).nonzero().squeeze(1)
        return place, column[place]

    def few_within(self, rows: slice, classes: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return row, column and place among the few of the entries that a tile has of distributions over a few."""
        assert self.indices is not None
        column = self.indices[rows] - classes.start
        row, place = ((column >= 0) & (column < self._width(classes))).nonzero(as_tuple=True)
        return row, column[row, place], place

    def _width(self, classes: slice) -> int:
        return int(min(classes.stop, self.layout.counts[self.layout.rank]) - classes.start)

    def probs(self, rows: slice, classes: slice, weighted: bool = True) -> Tensor:
        """Return p of a tile, in the computing dtype; or what the class weights multiply to give it."""
        arguments, total = self.arguments, self.layout.total
        if self.label is not None:
            shape = len(self.label[rows]), self._width(classes)
            p = arguments.x.new_full(shape, self.smoothing / total, dtype=arguments.dtype)
            p[self.within(self.label, rows, classes)] += 1.0 - self.smoothing
        elif self.indices is not None:
            shape = len(self.few[rows]), self._width(classes)
            p = arguments.x.new_full(shape, self.smoothing / total, dtype=arguments.dtype)
            row, column, place = self.few_within(rows, classes)
            p.index_put_((row, column), self.few[rows][row, place] * (1.0 - self.smoothing), accumulate=True)
        else:
            assert arguments.probs is not None
            block = slice(rows.start, min(rows.stop, arguments.rows))
            given = arguments.probs.detach()
            p = given[block if self.rows is None else self.rows[rows], classes].to(arguments.dtype)
            if self.smoothing:
                p = p * (1.0 - self.smoothing) + self.smoothing / total
        return p if self.class_weight is None or not weighted else p * self.class_weight[classes]

    def own_labels(self) -> tuple[Tensor, Tensor]:
        """Return which rows have their label on this rank, and where."""
        assert self.label is not None
        held = ((self.label >= 0) & (self.label < self.layout.counts[self.layout.rank])).nonzero().squeeze(1)
        return held, self.label[held]

    def label_weight(self) -> Tensor | None:
        """Return the class weight of the labels that this rank holds, 0 for others', (k) float64."""
        if self.label is None or self.class_weight is None:
            return None
        weights = torch.zeros(len(self.label), dtype=torch.float64, device=self.label.device)
        held, label = self.own_labels()
        weights[held] = self.class_weight[label].double()
        return weights

    def best(self) -> Tensor | None:
        """Return the class that a row should be given, counted like the labels: of some equal ones the first.

        None for distributions of which a rank sees its own columns only.
        """
        if self.indices is None:
            return self.label
        if self.indices.shape[1] == 0:
            return self.indices.new_zeros(len(self.indices)) - self.layout.start
        # A class may be there more than once.
        total = torch.stack(
            [
                torch.where(self.indices == self.indices[:, i : i + 1], self.few, 0.0).sum(dim=1)
                for i in range(self.indices.shape[1])
            ],
            dim=1,
        )
        most = total == total.amax(dim=1, keepdim=True)
        return torch.where(most, self.indices, torch.iinfo(torch.int64).max).amin(dim=1)

    def most(self) -> Tensor:
        """Return the largest probability among this rank's columns; -inf without any."""
        assert self.arguments.probs is not None
        p = self.kept(self.arguments.probs.detach()).to(self.arguments.dtype)
        return p.amax(dim=1) if p.shape[1] else p.new_full((len(p),), -torch.inf)

    def probs_at(self, place: Tensor) -> Tensor:
        """Return the probabilities as they were given of one of this rank's classes for each row."""
        assert self.arguments.probs is not None
        p = self.kept(self.arguments.probs.detach())
        if not p.shape[1]:
            return p.new_full((len(p),), -torch.inf, dtype=self.arguments.dtype)
        return p.gather(1, place.unsqueeze(1)).squeeze(1).to(self.arguments.dtype)

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
        if self.arguments.class_weight_grad and not layout.shares_weights and len(given) != layout.counts[layout.rank]:
            raise ValueError(
                f"weight has {len(given)} entries and requires a gradient: expected all classes' on every rank, or on "
                "every rank its own"
            )
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
            where = f"class {column + self.layout.start}" if self.arguments.indices is None else f"entry {column}"
            raise invalid_value(f"target, row {row}, {where}", value, "a finite number of at least 0")

    def _check_indices(self, indices: Tensor) -> None:
        bad = self.kept((indices < 0) | (indices >= self.layout.total))
        if bad.any():
            row, place = (int(i) for i in bad.nonzero()[0])
            row = row if self.rows is None else int(self.rows[row])
            value = indices[row, place].item()
            raise ValueError(f"target, row {row}, entry {place}: class {value} is outside [0, {self.layout.total})")
