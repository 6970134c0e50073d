"""The truth of a head's rows: those that take part, in the form that a chunk of rows is worked on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crossent import _native
from crossent.arrays import Array, as_array, floating
from crossent.errors import invalid_type, invalid_value
from crossent.targets import Truth, truth_of

Rows = slice | Array


@dataclass(frozen=True, slots=True)
class HeadTruth:
    """The truth of the rows that take part.

    Attributes
    ----------
    classes : int
    rows : slice or int64 array (n,)
        Which rows of x take part; the others have loss 0 and are not computed.
    given : slice or int64 array (n,)
        The rows of the target that these are held against.
    entry_class, entry_value : int64 and float64 arrays (n, k) or None
        Sparse truth: ``entry_value`` at ``entry_class``, 0 elsewhere. A label is one entry, its value None for 1.
    probs : floating array (rows of the target, C) or None
        Distributions, to be read through ``given``.
    class_weight, smoothing, row_weight, z_weight, denominator
        As in :class:`crossent.targets.Truth`; the row weights are those of the n rows.
    """

    classes: int
    rows: Rows
    given: Rows
    entry_class: Array | None
    entry_value: Array | None
    probs: Array | None
    class_weight: Array | None
    smoothing: float
    row_weight: Array | None
    z_weight: Array | None
    denominator: float

    @property
    def count(self) -> int:
        """How many rows take part."""
        return self.rows.stop - self.rows.start if isinstance(self.rows, slice) else len(self.rows)

    def rows_of_x(self, part: slice) -> Rows:
        """Return which rows of x a part of the rows are."""
        return _part(self.rows, part)

    def chunk(
        self,
        part: slice,
        dtype: np.dtype[Any],
        *,
        groups: int,
        z_loss: float,
        scale: float,
        softcap: float | None,
        n_threads: int,
    ) -> _native.HeadRows32 | _native.HeadRows64:
        """Return a part of the rows as the kernels take it."""
        kind = _native.HeadRows64 if dtype == np.float64 else _native.HeadRows32
        probs = None
        if self.probs is not None:
            probs = np.ascontiguousarray(self.probs[_part(self.given, part)], dtype=dtype)
        return kind(
            part.stop - part.start,
            self.classes,
            groups,
            entry_class=_of(self.entry_class, part),
            entry_value=_of(self.entry_value, part),
            probs=probs,
            class_weight=None if self.class_weight is None else self.class_weight.astype(dtype),
            smoothing=self.smoothing,
            row_weight=_of(self.row_weight, part),
            z_weight=_of(self.z_weight, part),
            z_loss=z_loss,
            scale=scale,
            softcap=softcap or 0.0,
            n_threads=n_threads,
        )


def head_truth(
    target: object, row_shape: tuple[int, ...], classes: int, like: Array, *, shift: int = 0, **options: Any
) -> HeadTruth:
    """Return the truth of a head's rows, checked.

    Parameters
    ----------
    target : labels of the rows' shape, distributions with a class axis at the end, or a pair (classes, probabilities)
        of arrays with an axis of k entries at the end.
    row_shape : tuple of int
        The shape of x without its last axis.
    like : array
        Of the dtype of the weight.
    shift : int
        Row t of the last row axis is held against target t + shift.
    **options
        ``weight``, ``sample_weight``, ``label_smoothing`` and ``ignore_index`` of :func:`crossent.cross_entropy`.
    """
    moved = _checked_shift(shift, row_shape)
    if isinstance(target, tuple | list) and len(target) == 2 and _is_pair(target):
        truth, entry_class, entry_value = _sparse(target, row_shape, classes, like, options)
    else:
        shaped = np.broadcast_to(np.zeros((), like.dtype), (*row_shape, classes))
        truth = truth_of(target, shaped.shape, len(row_shape), shaped, name="x · weightᵀ", **options)
        entry_class = None if truth.labels is None else truth.labels.reshape(-1, 1)
        entry_value = None
    total = int(np.prod(row_shape, dtype=np.int64))
    part = np.ones(total, bool)
    if moved:
        part.reshape(row_shape)[..., :moved] = False
    denominator = truth.denominator if not moved else _denominator(truth, part)
    if truth.labels is not None:
        part &= truth.labels >= 0
    if truth.row_weight is not None:
        part &= truth.row_weight != 0
    given = _compact(np.flatnonzero(part))
    rows = _back(given, moved)
    return HeadTruth(
        classes,
        rows,
        given,
        _at(entry_class, given),
        _at(entry_value, given),
        truth.probs,
        truth.class_weight,
        truth.smoothing,
        _at(truth.row_weight, given),
        _at(truth.z_weight, given),
        denominator,
    )


def _is_pair(target: Any) -> bool:
    # A list of two rows of numbers is a target too; a pair of arrays says what it is by its types.
    return isinstance(target, tuple)


def _sparse(
    target: Any, row_shape: tuple[int, ...], classes: int, like: Array, options: dict[str, Any]
) -> tuple[Truth, Array, Array]:
    indices, values = as_array("target[0]", target[0]), floating("target[1]", target[1])
    if indices.dtype.kind not in "iu":
        raise invalid_type("target[0]", target[0], "an array of integers, the classes that have a probability")
    if indices.shape[:-1] != row_shape or indices.ndim != len(row_shape) + 1:
        raise ValueError(f"target[0] has shape {indices.shape}: expected {row_shape} and an axis of classes")
    if values.shape != indices.shape:
        raise ValueError(f"target[1] has shape {values.shape}: expected {indices.shape}, the shape of target[0]")
    k = indices.shape[-1]
    flat = np.ascontiguousarray(indices, dtype=np.int64).reshape(-1, k)
    bad = (flat < 0) | (flat >= classes)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"target[0], row {row}, entry {column} = {flat[row, column]} is outside [0, {classes})")
    ordered = np.sort(flat, axis=1)
    twice = ordered[:, 1:] == ordered[:, :-1]
    if twice.any():
        row, column = (int(i) for i in np.argwhere(twice)[0])
        raise ValueError(f"target[0], row {row} names class {ordered[row, column]} twice: expected each class once")
    probs = np.ascontiguousarray(values, dtype=np.float64).reshape(-1, k)
    wrong = ~((probs >= 0) & (probs < np.inf))
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"target[1], row {row}, entry {column} = {probs[row, column]}: expected a finite number of at least 0"
        )
    # The weights and the smoothing are checked, and the rows counted, as those of a distribution on no class at all.
    nothing = np.broadcast_to(np.zeros((), like.dtype), (*row_shape, classes))
    truth = truth_of(nothing, nothing.shape, len(row_shape), nothing, name="x · weightᵀ", **options)
    without = Truth(
        None, None, truth.class_weight, truth.smoothing, truth.row_weight, truth.z_weight, truth.denominator
    )
    return without, flat, probs


def _checked_shift(shift: int, row_shape: tuple[int, ...]) -> int:
    if isinstance(shift, bool) or not hasattr(shift, "__index__"):
        raise invalid_type("shift", shift, "an integer of at least 0")
    moved = shift.__index__()
    if moved and not row_shape:
        raise invalid_value("shift", shift, "0 for a single row")
    if moved < 0 or (moved and moved > row_shape[-1]):
        limit = row_shape[-1] if row_shape else 0
        raise invalid_value("shift", shift, f"an integer in [0, {limit}], as there are {limit} rows to shift along")
    return moved


def _denominator(truth: Truth, part: Array) -> float:
    kept = part if truth.labels is None else part & (truth.labels >= 0)
    if truth.z_weight is not None:
        weights = truth.z_weight if truth.row_weight is None else truth.z_weight * truth.row_weight
        return float(weights[kept].sum())
    return float(np.count_nonzero(kept) if truth.row_weight is None else truth.row_weight[kept].sum())


def _compact(indices: Array) -> Rows:
    """Return rising indices as a slice where they are without gaps."""
    if len(indices) == 0:
        return slice(0, 0)
    first, last = int(indices[0]), int(indices[-1])
    return slice(first, last + 1) if last - first + 1 == len(indices) else indices


def _back(rows: Rows, by: int) -> Rows:
    if isinstance(rows, slice):
        return slice(max(rows.start - by, 0), max(rows.stop - by, 0))
    return rows - by


def _at(array: Array | None, rows: Rows) -> Array | None:
    return None if array is None else np.ascontiguousarray(array[rows])


def _part(rows: Rows, part: slice) -> Rows:
    return slice(rows.start + part.start, rows.start + part.stop) if isinstance(rows, slice) else rows[part]


def _of(array: Array | None, part: slice) -> Array | None:
    return None if array is None else array[part]


