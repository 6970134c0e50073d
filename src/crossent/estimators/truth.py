"""From what ``fit`` is given (labels of any type, or probabilities) to what the engine trains on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from crossent.errors import invalid_type, invalid_value

Array = npt.NDArray[Any]
# Probabilities stored as float16 or with four decimals still sum to 1 within this.
ROW_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Truth:
    """A row's truth is its label, a position in ``classes``, or its row of ``probs``; one of the two is None.

    ``probs`` is an array, or a CSR matrix where probabilities were given as a sparse matrix.
    """

    classes: Array
    labels: npt.NDArray[np.int64] | None = None
    probs: Any = None

    def class_mass(self, weight: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
        """Return each class's summed truth, weighted by row, (C,)."""
        if self.labels is not None:
            return np.bincount(self.labels, weight, len(self.classes)).astype(np.float64)
        assert self.probs is not None
        if weight is None:
            return np.asarray(self.probs.sum(axis=0, dtype=np.float64)).ravel()
        return np.asarray(self.probs.T @ weight)


def read_truth(y: Any, n_rows: int, dtype: Any, *, classes: Any = None, argument: str = "y") -> Truth:
    """Return the truth of ``n_rows`` rows from labels or probabilities, the latter in dtype.

    ``classes`` names and orders the classes; without it they are the sorted labels, or 0 to C-1.
    """
    if y is None:
        raise ValueError(f"fit requires y to be passed, but the target {argument} is None")
    given = y.tocsr() if issparse(y) else np.asarray(y)
    if given.ndim and given.shape[0] != n_rows:
        raise invalid_value(f"len({argument})", given.shape[0], f"{n_rows}, as many as the rows of X")
    if is_soft(given):
        probs = soft_labels(given, dtype, argument)
        names = np.arange(probs.shape[1]) if classes is None else class_names(classes, probs.shape[1])
        return Truth(names, probs=probs)
    if issparse(y):
        raise invalid_type(argument, y, "an array of labels, or probabilities in two columns or more")
    labels = label_vector(given, argument)
    names = np.unique(labels) if classes is None else class_names(classes, None)
    return Truth(names, labels=encode(labels, names, argument))


def is_soft(y: Any) -> bool:
    """Whether y is a matrix of probabilities rather than labels."""
    shape = y.shape if issparse(y) else np.shape(y)
    return len(shape) == 2 and shape[1] > 1


def soft_labels(probs: Any, dtype: Any, argument: str = "y") -> Any:
    """Return probabilities, an (n, C) array or CSR matrix in dtype; every row must be one distribution."""
    if probs.dtype.kind != "f":
        # Two or more columns of integers are several labels per row far more often than certain
        # probabilities.
        raise ValueError(
            f"{argument} has shape {probs.shape} and dtype {probs.dtype}: expected labels of shape (n,), or "
            "probabilities as floats of shape (n, classes); multilabel and multioutput targets are not supported"
        )
    bad = ~((probs.data if issparse(probs) else probs) >= 0)
    if bad.any():
        row, column, value = _first_bad(probs, bad)
        raise invalid_value(f"{argument}[{row}, {column}]", value, "a probability")
    sums = np.asarray(probs.sum(axis=1, dtype=np.float64)).ravel()
    off = ~(np.abs(sums - 1) <= ROW_SUM_TOLERANCE)
    if off.any():
        row = int(np.argmax(off))
        raise invalid_value(f"{argument}[{row}].sum()", float(sums[row]), "probabilities that sum to 1")
    return probs.astype(dtype, copy=False) if issparse(probs) else np.ascontiguousarray(probs, dtype=dtype)


def _first_bad(probs: Any, bad: npt.NDArray[np.bool_]) -> tuple[int, int, float]:
    if issparse(probs):
        at = int(np.argmax(bad))
        row = int(np.searchsorted(probs.indptr, at, side="right")) - 1
        return row, int(probs.indices[at]), float(probs.data[at])
    row, column = (int(index) for index in np.argwhere(bad)[0])
    return row, column, float(probs[row, column])


def label_vector(y: Any, argument: str = "y") -> Array:
    """Return labels as a vector; a column of them is taken with scikit-learn's DataConversionWarning."""
    if y.ndim == 1 and y.dtype.kind in "iu" and len(y) and int(y.max()) - int(y.min()) < len(y) // 2:
        # Whole numbers, and no more of them than classes may be: scikit-learn would find nothing wrong.
        return np.asarray(y)
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import column_or_1d

    labels: Array = column_or_1d(y, warn=True)
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        row = int(np.argmin(np.isfinite(labels)))
        raise invalid_value(f"{argument}[{row}]", float(labels[row]), "a label, not NaN or infinity")
    check_classification_targets(labels)
    return labels


def encode(labels: Array, classes: Array, argument: str = "y") -> npt.NDArray[np.int64]:
    """Return each label's position among the classes, which may be in any order."""
    by_name = np.argsort(classes, kind="stable")
    names = classes[by_name]
    try:
        at = np.minimum(np.searchsorted(names, labels), len(names) - 1)
        known = names[at] == labels
    except TypeError as mixed:
        raise TypeError(f"{argument} has labels of another type than the classes {classes!r}") from mixed
    if not np.all(known):
        row = int(np.argmin(known))
        unknown = labels[row].item() if isinstance(labels[row], np.generic) else labels[row]
        raise invalid_value(f"{argument}[{row}]", unknown, f"one of the classes {classes.tolist()!r}")
    return by_name[at].astype(np.int64, copy=False)


def class_names(classes: Any, n_columns: int | None) -> Array:
    """Return the ``classes`` argument as an array; ``n_columns`` is how many the probabilities have."""
    names = np.asarray(classes)
    if names.ndim != 1 or len(names) == 0:
        raise invalid_value("classes", classes, "a sequence of class labels")
    if len(np.unique(names)) != len(names):
        raise invalid_value("classes", classes, "no class twice")
    if n_columns is not None and len(names) != n_columns:
        raise invalid_value("len(classes)", len(names), f"{n_columns}, the columns of y")
    return names


def class_weights(
    class_weight: Mapping[Any, float] | str | None, classes: Array, class_mass: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64] | None:
    """Return a weight per class; "balanced" gives all classes the same summed weight, and keeps the total.

    ``class_mass`` is the summed truth of each class, sample weights included.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise invalid_value("class_weight", class_weight, "'balanced', a dict, or None")
        present = class_mass > 0
        return np.where(present, class_mass.sum() / (present.sum() * np.where(present, class_mass, 1)), 1.0)
    if not isinstance(class_weight, Mapping):
        raise invalid_type("class_weight", class_weight, "'balanced', a dict of class to weight, or None")
    weights = np.ones(len(classes))
    position = {name: at for at, name in enumerate(classes.tolist())}
    for name, weight in class_weight.items():
        key = name.item() if isinstance(name, np.generic) else name
        if key not in position:
            raise invalid_value(f"class_weight key {key!r}", weight, f"one of the classes {classes.tolist()!r}")
        if not (np.isfinite(weight) and weight >= 0):
            raise invalid_value(f"class_weight[{key!r}]", weight, "a finite number of at least 0")
        weights[position[key]] = weight
    if not (weights * class_mass).any():
        raise invalid_value("class_weight", class_weight, "a positive weight for a class that has rows")
    return weights
