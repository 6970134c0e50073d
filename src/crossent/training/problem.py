"""A network and the rows it learns from, joined: what a step, a loss and a gradient are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from crossent.training.centred import CentredRows
from crossent.training.examples import Examples
from crossent.training.network import Array, initial_parameters, layers, native_network, native_rows

Indices = npt.NDArray[np.int64]
# Rows evaluated at a time where batches are smaller, and at most so many outputs.
EVALUATION_ROWS = 256
EVALUATION_ENTRIES = 2**22
FLOPS_PER_PARAMETER = 6
FLOPS_PER_ROW = 1000
T = TypeVar("T")


class HeldOut(NamedTuple):
    """Rows that are not learnt from.

    Attributes
    ----------
    rows : native rows
    n_rows : int
        In all; ``n_own`` of them are here, those from ``begin`` on.
    """

    rows: Any
    n_rows: int
    n_own: int
    begin: int = 0


class Problem:
    """Minimise the mean log-loss of the examples plus ``alpha/2 * |W|^2`` over the parameters of a network.

    The mean is over the rows' mass: weight times summed truth. A row of weight 2 is the same as two rows.
    ``center`` and ``mass_per_row`` may be given: those of all the rows, where these are a part of them.

    Attributes
    ----------
    layer_sizes : tuple of int
        Features, hidden widths, classes.
    kept : (n,) array of int
        The rows with any mass. The others take no part: not in a batch, not in a mean.
    bounds : (n_batches + 1,) array of int
        Where an epoch's batches begin: all of one size but for one row, so that no step is a noisy one.
    most_rows : int
        That a gradient can be of at once.
    center : (d,) array or None
        The mean row, subtracted from every row.
    """

    def __init__(
        self,
        examples: Examples,
        hidden_layer_sizes: Sequence[int],
        *,
        alpha: float,
        batch_size: int,
        center: bool | Array,
        n_threads: int = 1,
        mass_per_row: float | None = None,
        row_mass: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self.examples, self.alpha = examples, alpha
        self.layer_sizes = (examples.x.shape[1], *hidden_layer_sizes, examples.n_classes)
        self.row_mass = examples.row_mass() if row_mass is None else row_mass
        self.kept = np.flatnonzero(self.row_mass)
        self.n_batches = -(-len(self.kept) // batch_size)
        self.bounds = np.arange(self.n_batches + 1) * len(self.kept) // self.n_batches
        self.batch_rows = int(np.diff(self.bounds).max())
        if isinstance(center, np.ndarray):
            self.center: Array | None = center.astype(examples.dtype)
        else:
            self.center = examples.center(self.row_mass) if center else None
        self._mass_per_row = float(self.row_mass[self.kept].mean()) if mass_per_row is None else mass_per_row
        self._rows = native_rows(examples, self.center)
        evaluated = min(EVALUATION_ROWS, 1 + EVALUATION_ENTRIES // max(self.layer_sizes[1:]))
        self.most_rows = max(self.batch_rows, evaluated)
        self._network = native_network(self.layer_sizes, examples.dtype, max_rows=self.most_rows, n_threads=n_threads)

    def initial_parameters(self, rng: np.random.Generator) -> Array:
        """Return the parameters before the first step."""
        return initial_parameters(self.layer_sizes, self.class_mass(), rng, self.examples.dtype)

    # Where the rows are spread over processes, one and the same must come of all of them.
    is_spread = False

    def together(self, work: Callable[[], T]) -> T:
        """Return what the work gives; an error in one process is one in all."""
        return work()

    def interruptible(self) -> AbstractContextManager[None]:
        """Let Ctrl-C be a KeyboardInterrupt in all processes at one place of the descent."""
        return nullcontext()

    def anywhere(self, holds: bool) -> bool:
        """Whether it holds in any process."""
        return holds

    def class_mass(self) -> npt.NDArray[np.float64]:
        """Return each class's summed truth over all rows, weighted, (C,)."""
        return self.examples.class_mass()

    def truth_noise(self) -> float:
        """Return the mean over the rows of their truths' squared lengths, relative to their mean mass squared.

        1 for labels of one weight. More where weights differ; less where a row's truth is shared by several classes,
        of which a batch then has all at once.
        """
        return float(self.examples.square_mass()[self.kept].mean() / self.row_mass[self.kept].mean() ** 2)

    def descend(
        self,
        theta: Array,
        state: Array,
        order: Indices,
        bounds: Indices,
        learning_rate: npt.NDArray[np.float64],
        *,
        momentum: float,
        nesterov: bool = False,
        loss_limit: float = np.inf,
        optimizer: int = 0,
        rate_scale: npt.NDArray[np.float64] | None = None,
        feature_rate: npt.NDArray[np.float64] | None = None,
        average: Array | None = None,
        l1: float = 0.0,
        dropout: float = 0.0,
        seed: int = 0,
        feature_scale: float = 1.0,
        steps_before: int = 0,
        weight_before: float = 0.0,
        averaged_before: int = 0,
        sum: Callable[[Array], None] | None = None,
        batch_rows: Indices | None = None,
        place: Indices | None = None,
    ) -> tuple[int, float]:
        """Take a step per batch, in place; return the steps taken and the sum of the batches' mean losses.

        Stops before the step of a batch whose mean loss is over the limit or NaN. What the later arguments mean is
        said in ``training.optimizer``. With rows that others hold too, ``sum`` replaces values by their sums over
        all, ``batch_rows`` has how many rows each batch has in all, and ``place`` which of them those in order are.
        """
        steps, loss = self._network.train(
            self._rows,
            order,
            bounds,
            learning_rate,
            theta,
            state,
            average=average,
            rate_scale=np.ones(2 * len(self.layer_sizes) - 2) if rate_scale is None else rate_scale,
            feature_rate=feature_rate,
            optimizer=optimizer,
            momentum=momentum,
            nesterov=nesterov,
            l2=self.alpha,
            l1=l1,
            dropout=dropout,
            seed=seed,
            mass_per_row=self._mass_per_row,
            loss_limit=loss_limit,
            feature_scale=feature_scale,
            steps_before=steps_before,
            weight_before=weight_before,
            averaged_before=averaged_before,
            sum=sum,
            batch_rows=batch_rows,
            place=place,
        )
        return steps, loss / self._mass_per_row

    def loss(self, theta: Array, order: Indices) -> float:
        """Return the mean log-loss of the rows in order, in nats, without the penalty."""
        total, _ = self._network.evaluate(self._rows, order, theta)
        return float(total / self.row_mass[order].sum())

    def gradient(self, theta: Array) -> tuple[float, Array]:
        """Return the mean log-loss of all rows and its gradient, without the penalty.

        One batch only: build the problem with ``batch_size`` at least the number of rows.
        """
        grad = np.empty_like(theta)
        total_mass = self.row_mass.sum()
        total = self._network.gradient(self._rows, self.kept, theta, 1 / total_mass, grad)
        return float(total / total_mass), grad

    def summed_gradient(self, theta: Array) -> tuple[float, npt.NDArray[np.float64]]:
        """Return what ``gradient`` does, batch by batch, summed in float64."""
        part, total, grad = np.empty_like(theta), 0.0, np.zeros(theta.size)
        total_mass = float(self.row_mass.sum())
        for begin, end in pairwise(self.bounds):
            total += self._network.gradient(self._rows, self.kept[begin:end], theta, 1 / total_mass, part)
            grad += part
        return total / total_mass, grad

    def batch_gradient(self, theta: Array, order: Indices, *, out: Array | None = None) -> Array:
        """Return the gradient of a batch's loss, as a step takes it."""
        grad = np.empty_like(theta) if out is None else out
        self._network.gradient(self._rows, order, theta, 1 / (self._mass_per_row * len(order)), grad)
        return grad

    @property
    def step_flops(self) -> float:
        """About how many operations a step takes: of sparse rows' features only those that a row has count."""
        _, *outputs = self.layer_sizes
        parameters = sum((size + 1) * units for size, units in pairwise([self.features_per_row(), *outputs]))
        return float(self.batch_rows * (FLOPS_PER_PARAMETER * parameters + FLOPS_PER_ROW))

    def features_per_row(self) -> float:
        """Return how many features a row has, on average where they are sparse."""
        if issparse(self.examples.x):
            return float(self.examples.x.nnz / max(self.examples.n_rows, 1))
        return float(self.examples.x.shape[1])

    @property
    def is_sparse(self) -> bool:
        """Whether the features are kept as a sparse matrix."""
        return bool(issparse(self.examples.x))

    def centred(self, rows: Indices, factors: npt.NDArray[np.float64] | None = None) -> CentredRows:
        """Return a few rows minus the center, their features multiplied with factors if there are any."""
        return CentredRows(self.examples.x[rows], self.center, scale=self.examples.scale, factors=factors)

    def feature_range(self, most_rows: int) -> npt.NDArray[np.float64]:
        """Return the greatest minus the least value of each feature of dense rows, over about so many kept ones."""
        step = max(1, len(self.kept) // most_rows)
        x = self.examples.x[::step] if len(self.kept) == self.examples.n_rows else self.examples.x[self.kept[::step]]
        spread: npt.NDArray[np.float64] = x.max(axis=0).astype(np.float64) - x.min(axis=0)
        return spread * self.examples.scale

    def idle_share(self, theta: Array, rows: Indices) -> float:
        """Return the greatest share, over the hidden layers, of units that are 0 on all of a few rows."""
        weights, biases = layers(theta, self.layer_sizes)
        out, share = self.centred(rows).times(weights[0].astype(np.float64)), 0.0
        for layer, bias in enumerate(biases[:-1]):
            out = np.maximum(out + bias, 0)
            share = max(share, float((out == 0).all(axis=0).mean()))
            out = out @ weights[layer + 1]
        return share

    def constant_loss(self) -> float:
        """Return the mean log-loss of predicting the classes' shares for every row, in nats."""
        share = self.class_mass() / self.row_mass.sum()
        share = share[share > 0]
        return float(-(share * np.log(share)).sum())

    def held_out(self, examples: Examples) -> HeldOut:
        """Return other rows, to evaluate on."""
        return HeldOut(native_rows(examples, self.center), examples.n_rows, examples.n_rows)

    def evaluate(self, theta: Array, held_out: HeldOut, order: Indices) -> tuple[float, float]:
        """Return the mean log-loss and the accuracy on some of other rows, whose weight is 1."""
        total, correct = self._network.evaluate(held_out.rows, order, theta)
        return float(total / len(order)), correct / len(order)
