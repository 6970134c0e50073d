"""Changes of variables after which the curvature of a linear model's objective is much the same in all directions."""

from __future__ import annotations

from typing import Protocol

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
# The Hessian at a point is worth its price for so few parameters; it is taken from so many rows.
MOST_PARAMETERS, HESSIAN_ROWS = 512, 8192
# A row that is all but certain has no curvature; this share of the draws keeps every row in.
EVEN_SHARE = 0.1


class Preconditioner(Protocol):
    """A linear change of variables, for rows minus the center."""

    def variables(self, weight: Floats, bias: Floats) -> Floats:
        """Return the variables, one vector, that stand for weights (d, C) and biases (C,)."""
        ...

    def parameters(self, variables: Floats, n_classes: int) -> tuple[Floats, Floats]:
        """Return the weights and biases that variables stand for."""
        ...

    def slopes(self, weight_slopes: Floats, bias_slopes: Floats) -> Floats:
        """Return the slopes in the variables, from those in the weights and biases."""
        ...


class GramPreconditioner:
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


class HessianPreconditioner:
    """Variables Lᵀ (W, b), with L Lᵀ the objective's Hessian at given parameters, from the rows that bend it most.

    The Hessian of a row's loss is (diag(q) − q qᵀ) ⊗ x xᵀ. Rows are drawn with a chance that grows with its trace over
    the classes, 1 − |q|², and their share in the sum is divided by it, evenly spaced so that nothing is random.
    """

    def __init__(self, examples: Examples, center: Floats, alpha: float, weight: Floats, bias: Floats) -> None:
        from scipy.special import softmax

        self._shape = d, c = weight.shape
        mass = examples.row_mass()
        probs = np.empty((examples.n_rows, c), examples.dtype)
        turned = (weight * examples.scale).astype(examples.dtype)
        for start in range(0, len(probs), BLOCK_ROWS):
            at = slice(start, start + BLOCK_ROWS)
            probs[at] = softmax(examples.x[at] @ turned + (bias - center @ weight).astype(probs.dtype), axis=1)
        rows, mass = _drawn(mass / mass.sum(), 1 - np.einsum("ic,ic->i", probs, probs))
        x, q = np.ones((len(rows), d + 1)), probs[rows].astype(np.float64)
        block = examples.x[rows]
        x[:, :d] = (block.toarray() if issparse(block) else block) * examples.scale - center
        q /= q.sum(axis=1, keepdims=True)
        outer = (q[:, :, None] * (np.sqrt(mass)[:, None] * x)[:, None, :]).reshape(len(rows), -1)
        hessian = -(outer.T @ outer)
        for k in range(c):
            at = slice(k * (d + 1), (k + 1) * (d + 1))
            hessian[at, at] += x.T @ (x * (mass * q[:, k])[:, None])
        # Moving all classes by one vector changes no probability: of it the biases' penalty-free part is flat.
        np.fill_diagonal(hessian, _regular(hessian.diagonal(), alpha))
        self._factor = cholesky(hessian, lower=True)

    def variables(self, weight: Floats, bias: Floats) -> Floats:
        """Return the variables, one vector, that stand for weights (d, C) and biases (C,)."""
        return np.asarray(self._factor.T @ _by_class(weight, bias))

    def parameters(self, variables: Floats, n_classes: int) -> tuple[Floats, Floats]:
        """Return the weights and biases that variables stand for."""
        found = solve_triangular(self._factor, variables, lower=True, trans="T").reshape(n_classes, -1)
        return np.ascontiguousarray(found[:, :-1].T), found[:, -1].copy()

    def slopes(self, weight_slopes: Floats, bias_slopes: Floats) -> Floats:
        """Return the slopes in the variables, from those in the weights and biases."""
        return np.asarray(solve_triangular(self._factor, _by_class(weight_slopes, bias_slopes), lower=True))


def _by_class(weight: Floats, bias: Floats) -> Floats:
    return np.concatenate([weight, bias[None]]).T.ravel()


def _drawn(mass: Floats, bend: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return rows and the mass that each stands for: all where they are few."""
    kept = np.flatnonzero(mass)
    if len(kept) <= HESSIAN_ROWS:
        return kept, mass[kept]
    chance = mass * np.maximum(bend, 0)
    chance = (1 - EVEN_SHARE) * chance / (chance.sum() or 1.0) + EVEN_SHARE * mass
    chance /= chance.sum()
    draws = np.searchsorted(np.cumsum(chance), (np.arange(HESSIAN_ROWS) + 0.5) / HESSIAN_ROWS)
    rows, times = np.unique(np.minimum(draws, kept[-1]), return_counts=True)
    return rows, mass[rows] * times / (HESSIAN_ROWS * chance[rows])


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
