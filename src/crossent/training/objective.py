"""A linear model's mean log-loss over all rows and its exact gradient, natively or all in float64."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from crossent.loss import cross_entropy_and_grad
from crossent.training.examples import Examples
from crossent.training.problem import Problem

Floats = npt.NDArray[np.float64]
# Numbers that a native batch of rows may take, to stay in the cache, and a block of rows in float64 or its logits.
BATCH_ENTRIES, BLOCK_ENTRIES = 1 << 18, 1 << 20
LEAST_BATCH = 128


class Objective(Protocol):
    """The mean is over the rows' mass, and the rows count minus ``center``, though nothing is subtracted from them."""

    center: Floats

    def __call__(self, weight: Floats, bias: Floats) -> tuple[float, Floats, Floats]:
        """Return the mean log-loss in nats and its slopes in the weights (d, C) and the bias (C,)."""
        ...


class NativeObjective:
    """By the training engine's kernels, in the rows' own dtype; sums over batches are in float64."""

    def __init__(self, examples: Examples, *, center: bool, n_threads: int) -> None:
        d = examples.x.shape[1]
        batch = max(LEAST_BATCH, BATCH_ENTRIES // (_entries_per_row(examples.x) + examples.n_classes))
        self._problem = Problem(examples, (), alpha=0.0, batch_size=batch, center=center, n_threads=n_threads)
        mean = self._problem.center
        self.center = np.zeros(d) if mean is None else mean.astype(np.float64)

    def __call__(self, weight: Floats, bias: Floats) -> tuple[float, Floats, Floats]:
        theta = np.concatenate([weight.ravel(), bias]).astype(self._problem.examples.dtype)
        loss, grad = self._problem.summed_gradient(theta)
        return loss, grad[: weight.size].reshape(weight.shape), grad[weight.size :]


class DoubleObjective:
    """By products in float64 with blocks of the rows: what a narrower dtype leaves to be done."""

    def __init__(self, examples: Examples, *, center: Floats, n_threads: int) -> None:
        self.center, self._examples, self._n_threads = center, examples, n_threads
        self._total = float(examples.row_mass().sum())
        self._step = max(1, BLOCK_ENTRIES // max(_entries_per_row(examples.x), examples.n_classes))

    def __call__(self, weight: Floats, bias: Floats) -> tuple[float, Floats, Floats]:
        examples, shifted = self._examples, bias - self.center @ weight
        loss, slope, bias_slope = 0.0, np.zeros_like(weight), np.zeros_like(bias)
        for start in range(0, examples.n_rows, self._step):
            rows = slice(start, start + self._step)
            x = examples.x[rows].astype(np.float64) * examples.scale
            losses, grad = self._rows(np.ascontiguousarray(x @ weight) + shifted, rows)
            loss += float(losses.sum())
            slope += x.T @ grad
            bias_slope += grad.sum(axis=0)
        slope -= np.outer(self.center, bias_slope)
        return loss / self._total, slope / self._total, bias_slope / self._total

    def _rows(self, logits: Floats, rows: slice) -> tuple[Any, Any]:
        examples = self._examples
        truth: Any = examples.labels[rows] if examples.labels is not None else examples.probs[rows]
        return cross_entropy_and_grad(
            logits,
            truth.toarray() if issparse(truth) else truth,
            weight=examples.class_weight,
            sample_weight=None if examples.sample_weight is None else examples.sample_weight[rows],
            label_smoothing=examples.label_smoothing,
            reduction="none",
            n_threads=self._n_threads,
            out=logits,
        )


def _entries_per_row(x: Any) -> int:
    return max(1, int(x.nnz // x.shape[0])) if issparse(x) else int(x.shape[1])
