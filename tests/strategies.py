"""Random rows for the property tests, of lengths on both sides of every vector width and block."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
LENGTHS = (*range(1, 10), 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 255, 257, 513, 1025)


class Rows(NamedTuple):
    logits: NDArray[Any]
    label: NDArray[np.int64]
    probs: NDArray[Any]
    rng: np.random.Generator


def _spread(rng: np.random.Generator, shape: tuple[int, int], scale: float, masked: float) -> NDArray[np.float64]:
    z = scale * rng.standard_normal(shape)
    mask = rng.random(shape) < masked
    mask[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = False
    return np.where(mask, -np.inf, z)


@st.composite
def rows(draw: st.DrawFn, *, dtypes: tuple[Any, ...] = FLOATS, masks: bool = False, least: int = 1) -> Rows:
    """Draw n rows with labels that are not masked, and distributions without truth on masked classes."""
    dtype = draw(st.sampled_from(dtypes))
    n = draw(st.integers(1, 20))
    classes = draw(st.sampled_from([length for length in LENGTHS if length >= least]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.0, 1e-3, 1.0, 10.0, 60.0]))
    z = _spread(rng, (n, classes), scale, draw(st.sampled_from([0.0, 0.3, 0.9])) if masks else 0.0)
    free = z > -np.inf
    label = np.where(free, rng.random((n, classes)), -1.0).argmax(axis=1)
    probs = np.where(free & (rng.random((n, classes)) < 0.7), rng.random((n, classes)), 0.0)
    return Rows(z.astype(dtype), label, probs.astype(dtype), rng)


def any_finite(dtype: Any, *, classes: int | None = None) -> st.SearchStrategy[NDArray[Any]]:
    """Rows of any finite numbers whatever, the largest of the dtype and subnormals included."""
    width = 8 * np.dtype(dtype).itemsize
    shape = st.tuples(st.integers(1, 3), st.integers(1, 20) if classes is None else st.just(classes))
    elements = st.floats(width=width, allow_nan=False, allow_infinity=False)
    return hnp.arrays(dtype, shape, elements=elements)
