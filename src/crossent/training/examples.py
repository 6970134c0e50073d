"""The rows to learn from: features, truth and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
    x : (n, d) array of float32 or float64, a row's entries next to each other
        Of ``training.exact`` also CSR.
    n_classes : int
    labels : (n,) array of int64, optional
        The base is 1 at the label. Either this or ``probs``.
    probs : (n, C) array of x's dtype, optional
        The base itself.
    sample_weight : (n,) array of float64, optional
        Multiplies the row's loss.
    class_weight : (C,) array of float64, optional
    label_smoothing : float
    """

    x: npt.NDArray[Any]
    n_classes: int
    labels: npt.NDArray[np.int64] | None = None
    probs: npt.NDArray[Any] | None = None
    sample_weight: Floats | None = None
    class_weight: Floats | None = None
    label_smoothing: float = 0.0

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

    def class_mass(self) -> Floats:
        """Return each class's summed truth over the rows, weighted, (C,)."""
        weight = np.ones(self.x.shape[0]) if self.sample_weight is None else self.sample_weight
        if self.labels is not None:
            base = np.bincount(self.labels, weight, self.n_classes)
        else:
            assert self.probs is not None
            base = weight @ self.probs
        mass = (1 - self.label_smoothing) * base + self.label_smoothing * weight.sum() / self.n_classes
        return np.asarray(mass if self.class_weight is None else mass * self.class_weight, dtype=np.float64)

    def center(self, row_mass: Floats) -> npt.NDArray[Any]:
        """Return the mean row, weighted by the rows' mass, (d,) in x's dtype."""
        total = np.zeros(self.x.shape[1])
        for start in range(0, len(self.x), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            total += row_mass[rows] @ self.x[rows].astype(np.float64, copy=False)
        mean: npt.NDArray[Any] = (total / row_mass.sum()).astype(self.x.dtype)
        return mean
