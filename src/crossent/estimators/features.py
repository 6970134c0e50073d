"""The features as the engine takes them: float32 or float64, finite, a row's entries next to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

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


def check_finite(x: Array, names: Sequence[str] | None, argument: str = "X") -> None:
    """Raise DataError naming the first entry that is NaN or infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        # A sum is finite unless an entry is not, or it overflows: then the slower look decides.
        if np.isfinite(x.sum()):
            return
    bad = ~np.isfinite(x)
    if not bad.any():
        return
    row, column = (int(at) for at in np.argwhere(bad)[0])
    kind = "NaN" if np.isnan(x[row, column]) else "infinity"
    name = f" (feature {names[column]!r})" if names is not None else ""
    raise DataError(
        f"{argument}[{row}, {column}]{name} is {kind}: expected a finite number; fill or drop missing values"
    )


def as_rows(x: Array, dtype: np.dtype[Any]) -> Array:
    """Return x in dtype with each row's entries next to each other; no copy where it is so already."""
    x = np.asarray(x, dtype=dtype)
    gapless = x.shape[1] <= 1 or x.strides[1] == x.itemsize
    whole = x.strides[0] % x.itemsize == 0 and x.flags.aligned
    return x if gapless and whole else np.ascontiguousarray(x)
