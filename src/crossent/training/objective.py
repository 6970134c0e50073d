"""A linear model's mean log-loss over all rows and its exact gradient: natively, or in blocks of any matrix."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from crossent.loss import cross_entropy_and_grad
from crossent.training.examples import Examples
from crossent.training.problem import Problem

Floats = npt.NDArray[np.float64]
# Numbers that a native batch of rows may take, to stay in the cache, and a block of other rows or its logits.
BATCH_ENTRIES, BLOCK_ENTRIES = 1 << 18, 1 << 20
LEAST_BATCH = 128


class Objective(Protocol):
    """The mean is over the rows' mass, and the rows count minus ``center``, though nothing is subtracted from them."""

    center: Floats

    def __call__(self, weight: Floats, bias: Floats) -> tuple[float, Floats, Floats]:
        """Return the mean log-loss in nats and its slopes in the weights (d, C) and the bias (C,)."""
        ...


class NativeObjective:
    """Dense rows, by the training engine's kernels in the rows' own dtype; sums over batches are in float64."""

    def __init__(self, examples: Examples, *, center: bool, n_threads: int) -> None:
        d = examples.x.shape[1]
        batch = max(LEAST_BATCH, BATCH_ENTRIES // (d + examples.n_classes))
        self._problem = Problem(examples, (), alpha=0.0, batch_size=batch, center=center, n_threads=n_threads)
        mean = self._problem.center
        self.center = np.zeros(d) if mean is None else mean.astype(np.float64)

    def __call__(self, weight: Floats, bias: Floats) -> tuple[float, Floats, Floats]:
        theta = np.concatenate([weight.ravel(), bias]).astype(self._problem.examples.x.dtype)
        loss, grad = self._problem.summed_gradient(theta)
        return loss, grad[: weight.size].reshape(weight.shape), grad[weight.size :]


class BlockObjective:
    """Rows of any matrix, SciPy's CSR included, by products with float64 weights; never made dense or centred."""

    def __init__(self, examples: Examples, *, center: bool | Floats, n_threads: int) -> None:
        self._examples, self._n_threads = examples, n_threads
        mass = examples.row_mass()
        self._total = float(mass.sum())
        d = examples.x.shape[1]
        self._step = max(1, min(BLOCK_ENTRIES // examples.n_classes, BLOCK_ENTRIES // _entries_per_row(examples.x)))
        if isinstance(center, np.ndarray):
            self.center = center
        else:
            self.center = np.asarray(examples.x.T @ mass).ravel() / self._total if center else np.zeros(d)

    def __call__(self, weight: Floats, bias: Floats) -> tuple[float, Floats, Floats]:
        shifted = bias - self.center @ weight
        loss, slope, bias_slope = 0.0, np.zeros_like(weight), np.zeros_like(bias)
        for start in range(0, self._examples.x.shape[0], self._step):
            rows = slice(start, start + self._step)
            x = self._examples.x[rows].astype(np.float64)
            losses, grad = self._rows(np.asarray(x @ weight) + shifted, rows)
            loss += float(losses.sum())
            slope += x.T @ grad
            bias_slope += grad.sum(axis=0)
        slope -= np.outer(self.center, bias_slope)
        return loss / self._total, slope / self._total, bias_slope / self._total

    def _rows(self, logits: Floats, rows: slice) -> tuple[Any, Any]:
        examples = self._examples
        truth = examples.labels if examples.labels is not None else examples.probs
        assert truth is not None
        return cross_entropy_and_grad(
            logits,
            truth[rows],
            weight=examples.class_weight,
            sample_weight=None if examples.sample_weight is None else examples.sample_weight[rows],
            label_smoothing=examples.label_smoothing,
            reduction="none",
            n_threads=self._n_threads,
            out=logits,
        )


def _entries_per_row(x: Any) -> int:
    return max(1, int(getattr(x, "nnz", x.size) // x.shape[0]))
