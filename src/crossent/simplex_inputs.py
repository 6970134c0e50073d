"""One prediction and its truth as a caller writes them, checked class by class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossent.errors import invalid_type, invalid_value

FloatArray: TypeAlias = NDArray[np.float64]
Target: TypeAlias = int | str | Mapping[str, float] | ArrayLike
Pay: TypeAlias = int | str | ArrayLike

GENERAL_RULES = ("nobody", "everyone", "in proportion")
SUM_TOLERANCE = 1e-6
_LISTED = 12


def class_names(classes: Iterable[object] | None, n_classes: int) -> tuple[str, ...]:
    """Return one name per class: the given ones, or ``"0"``, ``"1"``, ….

    Raises
    ------
    ValueError
        Fewer than two classes, a wrong count, an empty or repeated name, or the name of a general rule
        (``pay="everyone"`` would have two meanings).
    """
    if n_classes < 2:
        raise invalid_value("the number of classes", n_classes, "at least 2")
    if isinstance(classes, str):
        raise invalid_type("classes", classes, "a sequence of names, one per class")
    names = tuple(str(c) for c in (range(n_classes) if classes is None else classes))
    if len(names) != n_classes:
        raise invalid_value("len(classes)", len(names), f"{n_classes}, one name per class")
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not name.strip():
            raise invalid_value(f"classes[{index}]", name, "a name that is not empty")
        if name in GENERAL_RULES:
            raise invalid_value(f"classes[{index}]", name, "a name that is not a rule of payment")
        if name in seen:
            raise invalid_value(f"classes[{index}]", name, "a name used once")
        seen.add(name)
    return names


def class_index(value: object, classes: Sequence[str], argument: str, also: Sequence[str] = ()) -> int:
    """Return the index of a class given by index or by name; ``also`` lists what else the argument takes."""
    if isinstance(value, (bool, np.bool_)):
        raise invalid_type(argument, value, "a class index or a class name")
    if isinstance(value, (int, np.integer)):
        if not 0 <= value < len(classes):
            raise invalid_value(argument, int(value), f"a class index in [0, {len(classes)})")
        return int(value)
    if isinstance(value, str):
        if value in classes:
            return classes.index(value)
        shown = [repr(name) for name in (*also, *classes[:_LISTED])]
        more = f", … ({len(classes)} classes)" if len(classes) > _LISTED else ""
        raise invalid_value(argument, value, "one of " + ", ".join(shown) + more)
    raise invalid_type(argument, value, "a class index or a class name")


def per_class(values: ArrayLike, argument: str, n_classes: int | None = None) -> FloatArray:
    """Return a float64 copy of one number per class; NaN is refused by `refuse`, not here."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{argument} cannot be read as one number per class: {error}") from None
    if array.ndim != 1:
        raise invalid_value(f"{argument}.shape", array.shape, "one prediction: one number per class, (C,)")
    if array.size == 0:
        raise invalid_value(f"len({argument})", 0, "at least 2, one number per class")
    if n_classes is not None and array.size != n_classes:
        raise invalid_value(f"len({argument})", array.size, f"{n_classes}, one number per class")
    return array


def refuse(bad: NDArray[np.bool_], values: FloatArray, classes: Sequence[str], argument: str, want: str) -> None:
    """Raise for the first class whose value is bad."""
    if bad.any():
        index = int(np.argmax(bad))
        raise invalid_value(f"{argument}[{classes[index]!r}]", float(values[index]), want)


def masses(values: ArrayLike, classes: Sequence[str], argument: str) -> FloatArray:
    """Return non-negative, finite numbers, one per class."""
    array = per_class(values, argument, len(classes))
    refuse(~(np.isfinite(array) & (array >= 0)), array, classes, argument, "a finite number >= 0")
    return array + 0.0  # -0.0 would come back as a sign in the derivatives


def truth_masses(target: Target, classes: Sequence[str]) -> FloatArray:
    """Return the truth as a mass per class: a label is all of mass 1, a mapping may leave classes out."""
    n_classes = len(classes)
    if isinstance(target, Mapping):
        truth = np.zeros(n_classes)
        given = target
        if not given:
            raise invalid_value("target", {}, "a mass for at least one class")
        indices = [class_index(name, classes, "target") for name in given]
        truth[indices] = per_class(list(given.values()), "target")
        return masses(truth, classes, "target")
    if isinstance(target, (int, str, np.integer, bool)) or np.ndim(target) == 0:
        if isinstance(target, np.ndarray):
            target = target[()]
        truth = np.zeros(n_classes)
        truth[class_index(target, classes, "target")] = 1.0
        return truth
    return masses(target, classes, "target")


def sum_of(values: FloatArray) -> float:
    """Return the correctly rounded sum, inf where it is beyond float64."""
    try:
        return math.fsum(values.tolist())
    except OverflowError:
        return math.inf


def payment_weights(pay: Pay, classes: Sequence[str]) -> FloatArray:
    """Return who pays, as weights w that sum to 1: a class, everyone equally, or the weights given."""
    if isinstance(pay, (int, str, np.integer, bool)):
        if pay == "everyone":
            return np.full(len(classes), 1.0 / len(classes))
        weights = np.zeros(len(classes))
        weights[class_index(pay, classes, "pay", GENERAL_RULES)] = 1.0
        return weights
    weights = per_class(pay, "pay", len(classes))
    refuse(~np.isfinite(weights), weights, classes, "pay", "a finite share")
    total = sum_of(weights)
    if abs(total - 1.0) > 1e-9:
        raise invalid_value("the sum of pay", total, "1: what one class gains, the payers give up")
    return weights
