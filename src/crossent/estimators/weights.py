"""Sample weights, and the rows that early stopping holds out by taking their weight away."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from crossent.errors import invalid_value
from crossent.training import Examples


def check_sample_weight(sample_weight: Any, n_rows: int, *, may_be_zero: bool = False) -> npt.NDArray[np.float64]:
    """Return a weight per row, (n,) in float64; one number is every row's weight. All may be 0 where others come."""
    weight = np.array(sample_weight, dtype=np.float64)
    if weight.ndim == 0:
        weight = np.full(n_rows, weight)
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weight.ndim}D array")
    if weight.shape != (n_rows,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n_rows,)}!")
    bad = ~((weight >= 0) & np.isfinite(weight))
    if bad.any():
        row = int(np.argmax(bad))
        raise invalid_value(f"sample_weight[{row}]", float(weight[row]), "a finite number of at least 0")
    if not weight.any() and not may_be_zero:
        raise ValueError("sample_weight is zero in every row: expected a positive weight somewhere")
    return weight


def hold_out(examples: Examples, fraction: float, rng: np.random.Generator) -> tuple[Examples, Examples]:
    """Split off a part, stratified by label; the rows that stay keep their place, the others lose their weight."""
    # It loads a third of scikit-learn, which a fit that holds nothing out can do without.
    from sklearn.model_selection import train_test_split

    weight = np.ones(examples.n_rows) if examples.sample_weight is None else examples.sample_weight.copy()
    rows = np.flatnonzero(weight)
    n_out = math.ceil(fraction * len(rows))
    if n_out == len(rows):
        raise ValueError(
            f"validation_fraction = {fraction} of n_samples = {len(rows)} leaves no row to train on: expected more "
            "rows, or early_stopping=False"
        )
    seed = int(rng.integers(2**31))
    out = np.sort(
        train_test_split(rows, test_size=n_out, random_state=seed, stratify=_strata(examples, rows, n_out))[1]
    )
    weight[out] = 0
    x = examples.x[out]
    held = Examples(
        x if issparse(x) else np.ascontiguousarray(x),
        examples.n_classes,
        labels=None if examples.labels is None else examples.labels[out],
        probs=None if examples.probs is None else examples.probs[out],
    )
    return replace(examples, sample_weight=weight), held


def _strata(examples: Examples, rows: npt.NDArray[np.int64], n_out: int) -> npt.NDArray[np.int64] | None:
    if examples.labels is None:
        return None
    labels = examples.labels[rows]
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    # A class with a single row, or more classes than rows on one side, cannot be on both.
    possible = counts.min() > 1 and len(counts) <= min(n_out, len(rows) - n_out)
    return labels if possible else None
