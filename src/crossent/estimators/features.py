"""The features as the engine takes them: float32, float64, bytes or sparse, and finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from crossent.errors import DataError

Array = npt.NDArray[Any]


def engine_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the float type that holds values of dtype exactly where one does: float32 up to 16 bits, else
    float64.

    >>> [engine_dtype(dtype).name for dtype in ("float32", "uint8", "int32", "float64", "longdouble")]
    ['float32', 'float32', 'float64', 'float64', 'float64']
    """
    given = np.dtype(dtype)
    if given.kind not in "fiub":
        return np.dtype(np.float64)
    return np.dtype(np.float32) if np.result_type(given, np.float32) == np.float32 else np.dtype(np.float64)


def check_finite(x: Any, names: Sequence[str] | None, argument: str = "X") -> None:
    """Raise DataError naming the first entry of an array or a sparse matrix that is NaN or infinite."""
    if x.dtype.kind in "biu":
        return
    entries = x.data if issparse(x) else x
    with np.errstate(over="ignore", invalid="ignore"):
        # A sum is finite unless an entry is not, or it overflows: then the slower look decides.
        if np.isfinite(entries.sum()):
            return
    bad = ~np.isfinite(entries)
    if not bad.any():
        return
    if issparse(x):
        # By rows: a compressed column matrix would name the first of its columns.
        stored = x.tocsr().tocoo()
        at = int(np.argmin(np.isfinite(stored.data)))
        row, column, value = int(stored.row[at]), int(stored.col[at]), stored.data[at]
    else:
        row, column = (int(at) for at in np.argwhere(bad)[0])
        value = x[row, column]
    kind = "NaN" if np.isnan(value) else "infinity"
    name = f" (feature {names[column]!r})" if names is not None else ""
    raise DataError(
        f"{argument}[{row}, {column}]{name} is {kind}: expected a finite number; fill or drop missing values"
    )


def as_rows(x: Any, dtype: np.dtype[Any]) -> Any:
    """Return x as the engine reads it: an array in dtype, or a CSR matrix in dtype.

    Nothing is copied that is in dtype already, whatever its order; nor are bytes, which the engine converts as it reads
    them, where dtype is float32. Sparse matrices of another format become CSR, and never dense.
    """
    if issparse(x):
        return x.tocsr().astype(dtype, copy=False)
    x = np.asarray(x)
    if x.dtype != np.uint8 or dtype != np.float32:
        x = np.asarray(x, dtype=dtype)
    whole = all(stride % x.itemsize == 0 for stride in x.strides) and x.flags.aligned
    return x if whole else np.ascontiguousarray(x)


def mean_square_length(x: Any, weight: Array | None = None) -> float | None:
    """Return the mean squared length of a sparse matrix's rows, weighted; None for an array."""
    return float(np.average(square_lengths(x), weights=weight)) if issparse(x) else None


def square_lengths(x: Any) -> Array:
    """Return the squared length of every row of a sparse matrix."""
    return np.asarray(x.multiply(x).sum(axis=1)).ravel()
