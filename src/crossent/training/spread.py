"""Rows that are spread over processes: the same steps as on all of them at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from crossent.ranks import Ranks
from crossent.training.centred import CentredRows
from crossent.training.examples import Examples
from crossent.training.network import Array, native_rows
from crossent.training.problem import HeldOut, Indices, Problem

Floats = npt.NDArray[np.float64]
T = TypeVar("T")


class SpreadProblem(Problem):
    """A `Problem` of which every rank holds a part; the rows are numbered through in the order of the ranks.

    Every method is called on all ranks together, with the same arguments, and returns the same. A rank needs its own
    rows, a number per row of all, and what each row of the few that the measures look at costs.
    """

    def __init__(
        self,
        examples: Examples,
        hidden_layer_sizes: Sequence[int],
        *,
        alpha: float,
        batch_size: int,
        center: bool,
        n_threads: int,
        ranks: Ranks,
    ) -> None:
        own_mass = examples.row_mass()
        parts = ranks.gather(own_mass)
        self._ranks, self._own_mass = ranks, own_mass
        self._begin = sum(map(len, parts[: ranks.rank]))
        row_mass = np.concatenate(parts)
        mean: bool | Array = False
        if center:
            total = examples.summed(own_mass)
            ranks.sum(total)
            mean = total / row_mass.sum()
        self._interrupted = False
        self._per_row = self._features_per_row(examples, len(row_mass))
        super().__init__(
            examples,
            hidden_layer_sizes,
            alpha=alpha,
            batch_size=batch_size,
            center=mean,
            n_threads=n_threads,
            row_mass=row_mass,
        )

    is_spread = True

    def together(self, work: Callable[[], T]) -> T:
        """Return what the work gives; an error on one rank is one on all."""
        return self._ranks.together(work)

    def anywhere(self, holds: bool) -> bool:
        """Whether it holds on any rank."""
        count = np.array([holds], np.int64)
        self._ranks.sum(count)
        return bool(count[0])

    def _features_per_row(self, examples: Examples, n_rows: int) -> float:
        entries = np.array([examples.x.nnz if hasattr(examples.x, "nnz") else examples.x.size], np.float64)
        self._ranks.sum(entries)
        return float(entries[0] / max(n_rows, 1))

    def features_per_row(self) -> float:
        """Return how many features a row has, on average over all rows."""
        return self._per_row

    def class_mass(self) -> Floats:
        """Return each class's summed truth over all ranks' rows."""
        mass = self.examples.class_mass()
        self._ranks.sum(mass)
        return mass

    def truth_noise(self) -> float:
        """Return the truths' mean squared length over all ranks' rows, relative to their mean mass squared."""
        square = np.array([self.examples.square_mass().sum()])
        self._ranks.sum(square)
        return float(square[0] / len(self.kept) / self.row_mass[self.kept].mean() ** 2)

    def descend(
        self,
        theta: Array,
        state: Array,
        order: Indices,
        bounds: Indices,
        learning_rate: Floats,
        **options: Any,
    ) -> tuple[int, float]:
        """Take a step per batch, one sum over the ranks in each; else as `Problem.descend`."""
        at, own = self._own(order[bounds[0] : bounds[-1]], self._begin, self.examples.n_rows)
        own_bounds = np.searchsorted(at, bounds - bounds[0])
        steps, loss = super().descend(
            theta,
            state,
            own,
            own_bounds,
            learning_rate,
            **options,
            sum=self._sum_of_step,
            batch_rows=np.diff(bounds),
            place=at - np.repeat(bounds[:-1] - bounds[0], np.diff(own_bounds)),
        )
        if steps < len(learning_rate) and self.anywhere(self._interrupted):
            raise KeyboardInterrupt
        return steps, loss

    def _sum_of_step(self, values: Array) -> None:
        if self._interrupted:
            values[-1] = np.nan  # the loss: no rank takes this step
        self._ranks.sum(values)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C on any rank be a KeyboardInterrupt on all, before the same step; a second one acts at once."""
        before = signal.getsignal(signal.SIGINT)
        if before in (None, signal.SIG_IGN) or threading.current_thread() is not threading.main_thread():
            yield  # not heard here, or not by Python
            return

        def note(*_: Any) -> None:
            self._interrupted = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def loss(self, theta: Array, order: Indices) -> float:
        """Return the mean log-loss of some of all ranks' rows."""
        own = self._own(order, self._begin, self.examples.n_rows)[1]
        total = np.array([self._network.evaluate(self._rows, own, theta)[0]])
        self._ranks.sum(total)
        return float(total[0] / self.row_mass[order].sum())

    def batch_gradient(self, theta: Array, order: Indices, *, out: Array | None = None) -> Array:
        """Return the gradient of a batch's loss, as a step takes it."""
        grad = np.empty_like(theta) if out is None else out
        own = self._own(order, self._begin, self.examples.n_rows)[1]
        self._network.gradient(self._rows, own, theta, 1 / (self._mass_per_row * len(order)), grad)
        self._ranks.sum(grad)
        return grad

    def centred(self, rows: Indices, factors: Floats | None = None) -> CentredRows:
        """Return a few of all rows minus the center, the same on every rank."""
        at, own = self._own(rows, self._begin, self.examples.n_rows)
        x = self.examples.x[own]
        everything = self._gathered_sparse(at, x, len(rows)) if self.is_sparse else self._gathered(at, x, len(rows))
        return CentredRows(everything, self.center, scale=self.examples.scale, factors=factors)

    def _gathered(self, at: Indices, x: Array, n: int) -> Array:
        everything = np.zeros((n, x.shape[1]), x.dtype)
        for where, part in zip(self._ranks.gather(at), self._ranks.gather(np.ascontiguousarray(x)), strict=True):
            everything[where] = part
        return everything

    def _gathered_sparse(self, at: Indices, x: Any, n: int) -> csr_array:
        entries = x.tocoo()
        row = at[entries.coords[0] if hasattr(entries, "coords") else entries.row]
        column = (entries.coords[1] if hasattr(entries, "coords") else entries.col).astype(np.int64)
        rows, columns, values = (
            np.concatenate(self._ranks.gather(np.ascontiguousarray(part))) for part in (row, column, entries.data)
        )
        return csr_array((values, (rows, columns)), shape=(n, x.shape[1]))

    def feature_range(self, most_rows: int) -> Floats:
        """Return the greatest minus the least value of each feature, over about so many of all rows."""
        looked_at = self.kept[:: max(1, len(self.kept) // most_rows)]
        x = self.examples.x[self._own(looked_at, self._begin, self.examples.n_rows)[1]]
        ends = np.full((2, self.layer_sizes[0]), -np.inf)
        if len(x):
            ends[0], ends[1] = x.max(axis=0), -x.min(axis=0).astype(np.float64)
        self._ranks.most(ends)
        spread: Floats = (ends[0] + ends[1]) * self.examples.scale
        return spread

    def held_out(self, examples: Examples) -> HeldOut:
        """Return all ranks' other rows, of which each evaluates its own."""
        lengths = np.zeros(self._ranks.size, np.int64)
        lengths[self._ranks.rank] = examples.n_rows
        self._ranks.sum(lengths)
        begin = int(lengths[: self._ranks.rank].sum())
        return HeldOut(native_rows(examples, self.center), int(lengths.sum()), examples.n_rows, begin)

    def evaluate(self, theta: Array, held_out: HeldOut, order: Indices) -> tuple[float, float]:
        """Return the mean log-loss and the accuracy on some of all ranks' other rows."""
        own = self._own(order, held_out.begin, held_out.n_own)[1]
        found = np.array(self._network.evaluate(held_out.rows, own, theta), np.float64)
        self._ranks.sum(found)
        return float(found[0] / len(order)), float(found[1] / len(order))

    @staticmethod
    def _own(order: Indices, begin: int, count: int) -> tuple[Indices, Indices]:
        """Return where in an order of all rows a rank's are, and which of its own they are."""
        local = order - begin
        at = np.flatnonzero((local >= 0) & (local < count))
        return at, local[at]
