"""The rows to learn from: features, truth and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

Floats = npt.NDArray[np.float64]
# Rows turned into float64 at a time, so that a mean over float32 data is exact enough without a copy of the
# data.
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Examples:
    """Rows with their truth, ``p_c = class_weight_c * ((1 - label_smoothing) * base_c + label_smoothing /
    C)``.

    Attributes
    ----------
    x : (n, d) array of float32, float64 or uint8 in any order, or CSR matrix of float32 or float64
        Read where it lies.
    n_classes : int
    labels : (n,) array of int64, optional
        The base is 1 at the label. Either this or ``probs``.
    probs : (n, C) array or CSR matrix of ``dtype``, optional
        The base itself.
    sample_weight : (n,) array of float64, optional
        Multiplies the row's loss.
    class_weight : (C,) array of float64, optional
    label_smoothing : float
    byte_scale : float
        A feature of uint8 stands for so many times its value: 1 for the value itself, 1/255 for an image's pixels as
        numbers from 0 to 1.
    """

    x: Any
    n_classes: int
    labels: npt.NDArray[np.int64] | None = None
    probs: Any = None
    sample_weight: Floats | None = None
    class_weight: Floats | None = None
    label_smoothing: float = 0.0
    byte_scale: float = 1.0

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return int(self.x.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The float type that the rows are worked on in: float32 for bytes."""
        return np.dtype(np.float32) if self.x.dtype == np.uint8 else np.dtype(self.x.dtype)

    @property
    def scale(self) -> float:
        """What the entries of x are to be multiplied with."""
        return self.byte_scale if self.x.dtype == np.uint8 else 1.0

    def row_mass(self) -> Floats:
        """Return each row's summed truth times its weight: what the row counts for in a mean, (n,)."""
        class_weight = np.ones(self.n_classes) if self.class_weight is None else self.class_weight
        if self.labels is not None:
            base = class_weight[self.labels]
        else:
            assert self.probs is not None
            base = self.probs @ class_weight
        mass = (1 - self.label_smoothing) * base + self.label_smoothing * class_weight.mean()
        return np.asarray(mass if self.sample_weight is None else mass * self.sample_weight, dtype=np.float64)

    def square_mass(self) -> Floats:
        """Return the sum over the classes of each row's squared truth times its squared weight, (n,)."""
        class_weight = np.ones(self.n_classes) if self.class_weight is None else self.class_weight
        squared_weight, share = class_weight**2, self.label_smoothing / self.n_classes
        if self.labels is not None:
            base = squares = squared_weight[self.labels]
        elif issparse(self.probs):
            base, squares = self.probs @ squared_weight, self.probs.multiply(self.probs) @ squared_weight
        else:
            base = self.probs @ squared_weight
            squares = np.einsum("nc,nc,c->n", self.probs, self.probs, squared_weight)
        # Of (1 - label_smoothing) * base + share in every class.
        kept = 1 - self.label_smoothing
        square = kept**2 * squares + 2 * kept * share * base + share**2 * squared_weight.sum()
        return np.asarray(square if self.sample_weight is None else square * self.sample_weight**2, dtype=np.float64)

    def class_mass(self) -> Floats:
        """Return each class's summed truth over the rows, weighted, (C,)."""
        weight = np.ones(self.n_rows) if self.sample_weight is None else self.sample_weight
        if self.labels is not None:
            base = np.bincount(self.labels, weight, self.n_classes)
        else:
            assert self.probs is not None
            base = np.asarray(self.probs.T @ weight)
        mass = (1 - self.label_smoothing) * base + self.label_smoothing * weight.sum() / self.n_classes
        return np.asarray(mass if self.class_weight is None else mass * self.class_weight, dtype=np.float64)

    def center(self, row_mass: Floats) -> npt.NDArray[Any]:
        """Return the mean row, weighted by the rows' mass, (d,) in x's dtype."""
        mean: npt.NDArray[Any] = (self.summed(row_mass) / row_mass.sum()).astype(self.dtype)
        return mean

    def summed(self, row_mass: Floats) -> Floats:
        """Return the sum of the rows, each times its mass, (d,)."""
        total = np.zeros(self.x.shape[1])
        for start in range(0, self.n_rows, BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            total += self.x[rows].astype(np.float64, copy=False).T @ row_mass[rows]
        return total * self.scale
