"""Hold out a part of the rows, every class in proportion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratified_holdout(
    labels: NDArray[np.int64], fraction: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split the rows into a kept and a held-out part, both sorted.

    Within the rows ordered by class, every ``1/fraction``-th is held out: each class gives its share to
    within one row, however many classes there are and however few rows each has. A class never gives its
    last row, so that every class is known in training.

    Parameters
    ----------
    labels : integer array of shape (n,)
    fraction : float in [0, 1)
    rng : numpy.random.Generator

    Returns
    -------
    kept, held_out : integer arrays of row indices

    Examples
    --------
    >>> labels = np.array([0] * 90 + [1] * 10)
    >>> kept, held_out = stratified_holdout(labels, 0.1, np.random.default_rng(0))
    >>> np.bincount(labels[held_out]).tolist()
    [9, 1]
    """
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    steps = np.floor(np.arange(len(labels) + 1) * fraction + rng.random())
    chosen = np.diff(steps) > 0
    sorted_labels = labels[by_class]
    first = np.flatnonzero(np.r_[True, sorted_labels[1:] != sorted_labels[:-1]]) if len(labels) else np.empty(0, int)
    for start, stop in zip(first, np.r_[first[1:], len(labels)]):
        if chosen[start:stop].all():
            chosen[start] = False
    return np.sort(by_class[~chosen]), np.sort(by_class[chosen])
