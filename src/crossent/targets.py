"""Every kind of truth, with every kind of weight, in the one form that the kernels take.

The truth of row i is ``p_c = w_c ((1 - ε) base_c + ε / C)``: base is 1 at the label, or a given distribution; w are the
class weights and ε is the label smoothing. The row's loss is multiplied by its weight. The mean divides by the weights
of the kept rows, for labels together with the class weight of the label, as PyTorch does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from crossent.arrays import Array, as_array, as_rows, compute_dtype, contiguous, is_floating
from crossent.conventions import TORCH, Convention
from crossent.errors import invalid_type, invalid_value

IGNORE_INDEX = -100


@dataclass(frozen=True, slots=True)
class Truth:
    """The normal form of a target, for n rows of C classes.

    Attributes
    ----------
    labels : int64 array (n,) or None
        The class of each row, negative for a row that takes no part.
    probs : floating array (n, C) or None
        The distributions, in the storage type of the logits or in the type they are computed in.
    class_weight : array (C,) or None
        In the computing type; None also where ``row_weight`` already holds each label's.
    smoothing : float
    row_weight : float64 array (n,) or None
        Multiplies the row's loss and gradient.
    z_weight : float64 array (n,) or None
        Multiplies the row's z-loss on top of that.
    denominator : float
        What a mean divides by.
    """

    labels: Array | None
    probs: Array | None
    class_weight: Array | None
    smoothing: float
    row_weight: Array | None
    z_weight: Array | None
    denominator: float

    @property
    def is_label(self) -> bool:
        """Whether a label and a weight say everything, so that the simpler kernel can be used."""
        return self.probs is None and self.class_weight is None and self.smoothing == 0


def truth_of(
    target: object,
    shape: tuple[int, ...],
    axis: int,
    logits: Array,
    *,
    weight: object = None,
    sample_weight: object = None,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
    convention: Convention = TORCH,
    name: str = "logits",
) -> Truth:
    """Return the normal form of a target for logits of this shape and class axis; check all of it.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the place in it, the value there and what was expected.
    """
    classes = shape[axis]
    row_shape = shape[:axis] + shape[axis + 1 :]
    smoothing = convention.smoothed(_fraction("label_smoothing", label_smoothing), classes)
    ignored = _integer("ignore_index", ignore_index)
    class_weight = None if weight is None else _weights("weight", weight, (classes,), f"the classes of {name}")
    rows = None
    if sample_weight is not None:
        rows = _weights("sample_weight", sample_weight, row_shape, f"the rows of {name}").reshape(-1)
    if class_weight is not None and convention.weight is None:
        raise ValueError(f'weight: there are no class weights in the convention "{convention.name}"')
    array = as_array("target", target)
    if array.dtype.kind in "iu":
        labels, kept = _labels(array, row_shape, classes, ignored, name)
        if class_weight is not None and convention.weight == "row":
            rows = _row_weights(class_weight[np.maximum(labels, 0)], rows)
            class_weight = None
        truth = _truth_of_labels(labels, kept, class_weight, rows, smoothing, logits)
        if convention.mean == "weights":
            return truth
        return replace(truth, denominator=_total(None, kept if convention.mean == "kept rows" else None, labels.size))
    if not convention.distributions:
        raise TypeError(
            f'target has dtype {array.dtype}: expected integers, the only labels in the convention "{convention.name}"'
        )
    if not is_floating(array):
        raise TypeError(f"target has dtype {array.dtype}: expected integers (labels) or floats (distributions)")
    if array.shape != shape:
        expected = f"{shape}, the shape of {name}, for distributions (labels are integers)"
        raise ValueError(f"target has shape {array.shape}: expected {expected}")
    if ignored >= 0:
        raise invalid_value("ignore_index", ignored, "a negative number with distributions, which have no label")
    probs = _distributions(as_rows(array, axis), logits)
    n = probs.shape[0]
    if class_weight is not None and convention.weight == "row":
        rows = _row_weights(class_weight[probs.argmax(axis=1)], rows)
        class_weight = None
    cast = None if class_weight is None else class_weight.astype(compute_dtype(logits))
    denominator = float(n) if rows is None or convention.mean != "weights" else float(rows.sum())
    return Truth(None, probs, cast, smoothing, rows, None, denominator)


def _row_weights(of_class: Array, rows: Array | None) -> Array:
    return of_class if rows is None else of_class * rows


def _truth_of_labels(
    labels: Array, kept: Array | None, class_weight: Array | None, rows: Array | None, smoothing: float, logits: Array
) -> Truth:
    if class_weight is None:
        denominator = _total(rows, kept, labels.size)
        return Truth(labels, None, None, smoothing, rows, None, denominator)
    of_label = class_weight[np.maximum(labels, 0)]
    combined = _row_weights(of_label, rows)
    denominator = _total(combined, kept, labels.size)
    if smoothing == 0:
        return Truth(labels, None, None, 0.0, combined, None, denominator)
    # Smoothing spreads the truth over classes with weights of their own: they stay with the classes.
    cast = class_weight.astype(compute_dtype(logits))
    return Truth(labels, None, cast, smoothing, rows, of_label, denominator)


def _total(weights: Array | None, kept: Array | None, n: int) -> float:
    if weights is None:
        return float(n if kept is None else np.count_nonzero(kept))
    return float(weights.sum() if kept is None else weights[kept].sum())


def _labels(
    array: Array, row_shape: tuple[int, ...], classes: int, ignored: int, name: str
) -> tuple[Array, Array | None]:
    """Return the labels, -1 where a row is ignored, and which rows are kept: None for all."""
    if array.shape != row_shape:
        raise ValueError(
            f"target has shape {array.shape}: expected {row_shape}, the shape of {name} without its class axis"
        )
    labels = array.reshape(-1)
    if labels.size == 0:
        return labels.astype(np.int64), None
    low, high = int(labels.min()), int(labels.max())
    if low >= 0 and high < classes and not low <= ignored <= high:
        return contiguous(labels, np.int64), None
    is_ignored = labels == ignored
    bad = ~is_ignored & ((labels < 0) | (labels >= classes))
    if bad.any():
        place = _place("target", int(np.argmax(bad)), row_shape)
        raise ValueError(f"{place} = {labels[np.argmax(bad)]} is outside [0, {classes})")
    return np.where(is_ignored, -1, labels).astype(np.int64), ~is_ignored


def _distributions(rows: Array, logits: Array) -> Array:
    # The smallest and the largest entry are NaN if any entry is.
    low = rows.min() if rows.size else 0.0
    high = rows.max() if rows.size else 0.0
    if not (low >= 0 and high < np.inf):
        wrong = ~((rows >= 0) & (rows < np.inf))
        row, column = (int(i) for i in np.unravel_index(np.argmax(wrong), rows.shape))
        raise ValueError(
            f"target, row {row}, class {column} = {rows[row, column]}: expected a finite number of at least 0"
        )
    if rows.dtype == logits.dtype or rows.dtype == compute_dtype(logits):
        return rows if rows.dtype.isnative else rows.astype(rows.dtype.newbyteorder("="))
    return rows.astype(compute_dtype(logits))


def _weights(argument: str, value: object, shape: tuple[int, ...], of: str) -> Array:
    array = as_array(argument, value)
    if array.dtype.kind not in "iuf" and not is_floating(array):
        raise TypeError(f"{argument} has dtype {array.dtype}: expected real numbers")
    if array.shape != shape:
        raise ValueError(f"{argument} has shape {array.shape}: expected {shape}, one for each of {of}")
    weights = contiguous(array, np.float64).reshape(shape)
    good = (weights >= 0) & (weights < np.inf)
    if not good.all():
        first = int(np.argmin(good))
        place = _place(argument, first, shape)
        raise ValueError(f"{place} = {weights.reshape(-1)[first]}: expected a finite number of at least 0")
    return weights


def _place(argument: str, flat: int, shape: tuple[int, ...]) -> str:
    if not shape:
        return argument
    return f"{argument}[{', '.join(str(int(i)) for i in np.unravel_index(flat, shape))}]"


def _fraction(argument: str, value: object) -> float:
    number = real(argument, value)
    if not 0 <= number <= 1:
        raise invalid_value(argument, value, "a number in [0, 1]")
    return number


def _integer(argument: str, value: object) -> int:
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise invalid_type(argument, value, "an integer")
    return int(value.__index__())


def real(argument: str, value: object) -> float:
    """Return ``value`` as a float; a TypeError for anything but one real number."""
    if isinstance(value, bool | np.bool_ | str | bytes) or not hasattr(value, "__float__"):
        raise invalid_type(argument, value, "a real number")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise invalid_type(argument, value, "a real number") from None
