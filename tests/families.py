"""The logits on which accuracy is judged: what training meets, and what breaks the textbook forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
FLOAT16 = np.dtype(np.float16)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = (FLOAT32, FLOAT64, FLOAT16, BFLOAT16)

MARGINS = (1.0, 5.0, 10.0, 15.0, 17.0, 20.0, 30.0, 37.0, 50.0, 80.0, 100.0)
# Only float64 reaches so far; its exact values leave the normal range at 708.
FAR_MARGINS = (300.0, 700.0, 720.0)


class Family(NamedTuple):
    name: str
    logits: NDArray[Any]
    label: NDArray[np.int64]


def leading_by(z: NDArray[Any], winner: NDArray[np.int64], margin: float) -> NDArray[Any]:
    """Put the winner's logit the margin above the largest of the others."""
    rows = np.arange(len(z))
    z = z.copy()
    z[rows, winner] = -np.inf
    z[rows, winner] = z.max(axis=1) + margin
    return z


def families(dtype: Any, n: int, classes: int, rng: np.random.Generator) -> Iterator[Family]:
    """Yield each family with n rows of this many classes; its logits are rounded to the dtype first."""
    dtype = np.dtype(dtype)
    label = rng.integers(0, classes, n)
    other = (label + rng.integers(1, classes, n)) % classes

    def normal() -> NDArray[Any]:
        return rng.standard_normal((n, classes))

    def family(name: str, z: NDArray[Any]) -> Family:
        return Family(name, z.astype(dtype), label)

    for scale in (0.01, 1.0, 10.0, 100.0):
        yield family(f"normal, scale {scale:g}", scale * normal())
    for margin in MARGINS + (FAR_MARGINS if dtype == FLOAT64 else ()):
        yield family(f"right by {margin:g}", leading_by(normal(), label, margin))
        yield family(f"wrong by {margin:g}", leading_by(normal(), other, margin))
    yield family("offset 1e4", 1e4 + normal())
    if dtype != FLOAT16:
        yield family("offset 1e8", 1e8 + normal())
        # Spread as wide as the spacing at 1e8, so that rows differ in float32 too.
        yield family("offset 1e8, scale 20", 1e8 + 20.0 * normal())
    yield family("near-equal 1e-3", 1.0 + 1e-3 * normal())
    yield family("near-equal 1e-6", 1e-6 * normal())
    yield family("all equal", np.full((n, classes), 3.0))
    masked = np.where(rng.random((n, classes)) < 0.5, -np.inf, 5.0 * normal())
    masked[np.arange(n), label] = rng.standard_normal(n)
    yield family("half masked by -inf", masked)
