"""A change of variables after which the curvature of a linear model's objective is much the same in all directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import issparse

from crossent.training.examples import Examples

Floats = npt.NDArray[np.float64]
# Beyond so many features the Gram matrix costs more than the iterations it saves: its diagonal has to do.
MOST_FEATURES = 2048
ROWS_PER_FEATURE, LEAST_ROWS, BLOCK_ROWS = 16, 4096, 2048
# Half the Gram matrix bounds the curvature (Böhning, "Multinomial logistic regression algorithm", 1992, section 2).
# A fitted model's is lower, its mean q(1 − q) being about this: it matters beside the penalty alone.
CURVATURE = 0.1
RIDGE = 1e-8


class Preconditioner:
    """Weights W = L⁻ᵀ V for new variables V, with L Lᵀ = CURVATURE · Gram(x − center) + alpha, from some of the rows.

    Attributes
    ----------
    mean_squares : (d,) array of float64
        Of the features minus their center.
    """

    def __init__(self, examples: Examples, center: Floats, alpha: float) -> None:
        d = examples.x.shape[1]
        mass = examples.row_mass()
        kept = np.flatnonzero(mass)
        most = max(LEAST_ROWS, ROWS_PER_FEATURE * d)
        rows = kept[np.linspace(0, len(kept) - 1, min(len(kept), most)).astype(np.int64)]
        mass = mass[rows] / mass[rows].sum()
        self._factor: Floats | None = None
        if d > MOST_FEATURES:
            self.mean_squares = _mean_squares(examples.x, rows, mass, center)
            self._scale = np.sqrt(_regular(CURVATURE * self.mean_squares, alpha))[:, None]
        else:
            gram = _gram(examples.x, rows, mass, center)
            self.mean_squares = gram.diagonal().copy()
            matrix = CURVATURE * gram
            np.fill_diagonal(matrix, _regular(matrix.diagonal(), alpha))
            self._factor = cholesky(matrix, lower=True)

    def weights(self, variables: Floats) -> Floats:
        """Return the weights (d, C) that variables (d, C) stand for."""
        if self._factor is None:
            return np.asarray(variables / self._scale)
        return np.asarray(solve_triangular(self._factor, variables, lower=True, trans="T"))

    def variables(self, weights: Floats) -> Floats:
        """Return the variables that stand for weights."""
        return np.asarray(weights * self._scale if self._factor is None else self._factor.T @ weights)

    def slopes(self, slopes: Floats) -> Floats:
        """Return the slopes in the variables, from those in the weights."""
        if self._factor is None:
            return np.asarray(slopes / self._scale)
        return np.asarray(solve_triangular(self._factor, slopes, lower=True))


def _regular(diagonal: Floats, alpha: float) -> Floats:
    # The ridge keeps features that are constant, or multiples of each other, from having no curvature at all.
    return np.asarray(diagonal + (alpha + RIDGE * diagonal.mean() + np.finfo(np.float64).tiny))


def _gram(x: Any, rows: npt.NDArray[np.int64], mass: Floats, center: Floats) -> Floats:
    gram = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(rows), BLOCK_ROWS):
        at = slice(start, start + BLOCK_ROWS)
        block = x[rows[at]]
        dense = (block.toarray() if issparse(block) else block).astype(np.float64) - center
        dense *= np.sqrt(mass[at])[:, None]
        gram += dense.T @ dense
    return gram


def _mean_squares(x: Any, rows: npt.NDArray[np.int64], mass: Floats, center: Floats) -> Floats:
    some = x[rows]
    squares = some.multiply(some) if issparse(some) else some.astype(np.float64) ** 2
    raw, mean = np.asarray(squares.T @ mass).ravel(), np.asarray(some.T @ mass).ravel()
    return np.asarray(np.maximum(raw - center * (2 * mean - center), 0.0))
