"""A few rows minus their center, in float64, as the measures of a problem need them: sparse ones stay sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

Floats = npt.NDArray[np.float64]


class CentredRows:
    """The matrix ``x - center`` by its products; it is never built where x is sparse.

    >>> from scipy.sparse import csr_array
    >>> rows = CentredRows(csr_array([[0.0, 2.0], [4.0, 0.0]]), np.array([1.0, 1.0]))
    >>> rows.times(np.array([1.0, 10.0])), rows.square_lengths()
    (array([ 9., -7.]), array([ 2., 10.]))
    """

    def __init__(self, x: Any, center: npt.NDArray[Any] | None, *, scale: float = 1.0) -> None:
        self._sparse = issparse(x)
        self._x = x.astype(np.float64) * scale
        self._center = np.zeros(x.shape[1]) if center is None else center.astype(np.float64)
        if not self._sparse:
            # Exact where the center is large beside what is left.
            self._x = self._x - self._center
            self._center = np.zeros(x.shape[1])

    def times(self, vector: Floats) -> Floats:
        """Return the product with a vector or matrix over the features, (n,) or (n, k)."""
        return np.asarray(self._x @ vector - self._center @ vector)

    def transposed_times(self, vector: Floats) -> Floats:
        """Return the transpose's product with a vector over the rows, (d,)."""
        return np.asarray(self._x.T @ vector - self._center * vector.sum())

    def square_lengths(self) -> Floats:
        """Return each row's squared length, (n,)."""
        own = self._x.multiply(self._x).sum(axis=1) if self._sparse else np.einsum("ij,ij->i", self._x, self._x)
        lengths: Any = np.asarray(own).ravel() - 2 * self._x @ self._center + self._center @ self._center
        return np.asarray(lengths)

    def mean_squares(self, mass: Floats) -> Floats:
        """Return each feature's mean square, the rows having shares ``mass`` that sum to 1, (d,)."""
        squares = self._x.multiply(self._x) if self._sparse else self._x**2
        means: Any = squares.T @ mass - 2 * self._center * (self._x.T @ mass) + self._center**2
        return np.asarray(np.maximum(means, 0.0))
