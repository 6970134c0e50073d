"""A change of variables after which the curvature of a linear model's objective is much the same in all directions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import issparse

from crossent.training.centred import CentredRows
from crossent.training.examples import Examples

Floats = npt.NDArray[np.float64]
# Beyond so many features the Gram matrix costs more than the iterations it saves: its diagonal has to do.
MOST_FEATURES = 2048
ROWS_PER_FEATURE, LEAST_ROWS, BLOCK_ROWS = 16, 4096, 2048
# Half the Gram matrix bounds the curvature (Böhning, "Multinomial logistic regression algorithm", 1992, section 2).
# A fitted model has less, its mean q(1 − q) being near this: it matters beside the penalty alone. A curvature for each
# class, from its share, takes five times the iterations where classes are rare.
CURVATURE = 0.1
BIAS_SCALE = CURVATURE**0.5
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
            self.mean_squares = CentredRows(examples.x[rows], center, scale=examples.scale).mean_squares(mass)
            self._scale = np.sqrt(_regular(CURVATURE * self.mean_squares, alpha))[:, None]
        else:
            gram = _gram(examples, rows, mass, center)
            self.mean_squares = gram.diagonal().copy()
            gram *= CURVATURE
            np.fill_diagonal(gram, _regular(gram.diagonal(), alpha))
            self._factor = cholesky(gram, lower=True)

    def variables(self, weight: Floats, bias: Floats) -> Floats:
        """Return the variables, one vector, that stand for weights (d, C) and biases (C,)."""
        turned = weight * self._scale if self._factor is None else self._factor.T @ weight
        return np.concatenate([turned.ravel(), bias * BIAS_SCALE])

    def parameters(self, variables: Floats, n_classes: int) -> tuple[Floats, Floats]:
        """Return the weights and biases that variables stand for."""
        turned = variables[:-n_classes].reshape(-1, n_classes)
        if self._factor is None:
            weight = turned / self._scale
        else:
            weight = solve_triangular(self._factor, turned, lower=True, trans="T")
        return weight, variables[-n_classes:] / BIAS_SCALE

    def slopes(self, weight_slopes: Floats, bias_slopes: Floats) -> Floats:
        """Return the slopes in the variables, from those in the weights and biases."""
        if self._factor is None:
            turned = weight_slopes / self._scale
        else:
            turned = solve_triangular(self._factor, weight_slopes, lower=True)
        return np.concatenate([turned.ravel(), bias_slopes / BIAS_SCALE])


def _regular(diagonal: Floats, alpha: float) -> Floats:
    # The ridge keeps features that are constant, or multiples of each other, from having no curvature at all.
    return np.asarray(diagonal + (alpha + RIDGE * diagonal.mean() + np.finfo(np.float64).tiny))


def _gram(examples: Examples, rows: npt.NDArray[np.int64], mass: Floats, center: Floats) -> Floats:
    gram = np.zeros((center.size, center.size))
    for start in range(0, len(rows), BLOCK_ROWS):
        at = slice(start, start + BLOCK_ROWS)
        block = examples.x[rows[at]]
        dense = (block.toarray() if issparse(block) else block).astype(np.float64) * examples.scale - center
        dense *= np.sqrt(mass[at])[:, None]
        gram += dense.T @ dense
    return gram
