"""Predictions and their truths as a caller writes them, checked row by row and class by class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossent.errors import invalid_type, invalid_value

FloatArray: TypeAlias = NDArray[np.float64]
Array: TypeAlias = NDArray[Any]
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
        raise invalid_value(argument, str(value), "one of " + ", ".join(shown) + more)
    raise invalid_type(argument, value, "a class index or a class name")


def row_name(argument: str, row: Iterable[int]) -> str:
    """Return the argument's name with the row in it: ``probs[3]``, or ``probs`` for one prediction."""
    inside = ", ".join(str(int(i)) for i in row)
    return f"{argument}[{inside}]" if inside else argument


def per_class(values: ArrayLike, argument: str, shape: tuple[int, ...] | None = None, *, exact: bool = False) -> Array:
    """Return a copy with one number per class along the last axis; NaN is refused by `refuse`, not here.

    The numbers are float64, or fractions where ``exact`` is set. ``shape`` is the one expected.
    """
    if exact:
        array = _fractions(values, argument)
    else:
        try:
            array = np.array(np.asarray(values), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{argument} cannot be read as one number per class: {error}") from None
        except OverflowError:
            raise ValueError(f"{argument} holds a whole number beyond the range of float64") from None
    if array.ndim == 0:
        raise invalid_value(f"{argument}.shape", array.shape, "one number per class, (C,), or rows of them, (..., C)")
    if array.shape[-1] == 0:
        raise invalid_value(f"len({argument})", 0, "at least 2, one number per class")
    if shape is not None and array.shape != shape:
        if array.ndim == len(shape) == 1:
            raise invalid_value(f"len({argument})", array.size, f"{shape[0]}, one number per class")
        raise invalid_value(f"{argument}.shape", array.shape, f"{shape}, one number per class")
    return array


def refuse(bad: NDArray[np.bool_], values: Array, classes: Sequence[str], argument: str, want: str) -> None:
    """Raise for the first number that is bad, naming its row and class."""
    if bad.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
        inside = ", ".join([*map(str, place[:-1]), repr(classes[place[-1]])])
        raise invalid_value(f"{argument}[{inside}]", float(values[place]), want)


def masses(
    values: ArrayLike, classes: Sequence[str], argument: str, shape: tuple[int, ...], *, exact: bool = False
) -> Array:
    """Return non-negative, finite numbers, one per class."""
    array = per_class(values, argument, shape, exact=exact)
    good = np.asarray((array >= 0) & (array < math.inf), dtype=bool)
    refuse(~good, array, classes, argument, "a finite number >= 0")
    return array if exact else array + 0.0  # -0.0 would come back as a sign in the derivatives


def truth_masses(target: Target, classes: Sequence[str], lead: tuple[int, ...] = (), *, exact: bool = False) -> Array:
    """Return the truth as masses (*lead, C): a label is all of mass 1, a mapping may leave classes out."""
    shape = (*lead, len(classes))
    if isinstance(target, Mapping):
        if lead:
            raise invalid_type("target", target, f"labels of shape {lead} or masses of shape {shape}, for rows")
        return _masses_by_name(target, classes, exact=exact)
    try:
        given = np.asarray(target)
    except ValueError as error:
        raise TypeError(f"target cannot be read as labels or masses: {error}") from None
    if given.ndim == 0 and not lead:
        return _one_hot(np.array(class_index(given[()], classes, "target")), shape, exact=exact)
    if lead and given.shape == lead:
        return _one_hot(_labels(given, classes), shape, exact=exact)
    if lead and given.shape != shape:
        raise invalid_value("target.shape", given.shape, f"{lead}, one label per row, or {shape}, masses")
    return masses(target, classes, "target", shape, exact=exact)


def _masses_by_name(target: Mapping[str, Any], classes: Sequence[str], *, exact: bool) -> Array:
    if not target:
        raise invalid_value("target", {}, "a mass for at least one class")
    given = per_class(list(target.values()), "target", exact=exact)
    truth = np.full(len(classes), Fraction(0) if exact else 0.0, dtype=given.dtype)
    truth[[class_index(name, classes, "target") for name in target]] = given
    return masses(truth, classes, "target", truth.shape, exact=exact)


def _labels(given: Array, classes: Sequence[str]) -> NDArray[np.int64]:
    if given.dtype.kind in "iu" and given.size and given.min() >= 0 and given.max() < len(classes):
        return given.astype(np.int64)
    labels = np.empty(given.shape, dtype=np.int64)
    for row in np.ndindex(given.shape):
        labels[row] = class_index(given[row], classes, row_name("target", row))
    return labels


def _one_hot(labels: NDArray[Any], shape: tuple[int, ...], *, exact: bool) -> Array:
    truth = np.zeros(shape)
    np.put_along_axis(truth, labels[..., None], 1.0, axis=-1)
    return _fractions(truth.astype(int), "target") if exact else truth


def has_fractions(values: object) -> bool:
    """Return whether a `fractions.Fraction` is among the numbers."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return False
    return any(isinstance(value, Fraction) for value in np.asarray(values, dtype=object).flat)


def fraction(value: object, argument: str) -> Fraction:
    """Return a fraction or an integer as a fraction; a TypeError for a float, whose digits would be made up."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Fraction, int, np.integer)):
        raise invalid_type(argument, value, "a Fraction or an int, as probs are exact")
    return Fraction(value) if isinstance(value, Fraction) else Fraction(int(value))


def _fractions(values: ArrayLike, argument: str) -> Array:
    given = np.array(values, dtype=object)
    out = np.empty(given.shape, dtype=object)
    for place in np.ndindex(given.shape):
        out[place] = fraction(given[place], row_name(argument, place))
    return out


def sum_of(values: Array) -> float:
    """Return the correctly rounded sum, inf where it is beyond float64."""
    try:
        return math.fsum(values.tolist())
    except OverflowError:
        return math.inf


def wrong_sum(of: str, total: Any, expected: str) -> ValueError:
    """Return (to raise) the error for a sum, fractions as they are written."""
    shown = str(total) if isinstance(total, Fraction) else repr(float(total))
    return ValueError(f"the sum of {of} = {shown}: expected {expected}")


def payment_weights(pay: Pay, classes: Sequence[str], *, exact: bool = False) -> Array:
    """Return who pays, as weights w (C,) that sum to 1: a class, everyone equally, or the weights given."""
    one = Fraction(1) if exact else 1.0
    if isinstance(pay, (int, str, np.integer, bool)):
        if pay == "everyone":
            return np.full(len(classes), one / len(classes))
        weights = np.full(len(classes), one * 0)
        weights[class_index(pay, classes, "pay", GENERAL_RULES)] = one
        return weights
    weights = per_class(pay, "pay", (len(classes),), exact=exact)
    bad = np.asarray(~((weights > -math.inf) & (weights < math.inf)), dtype=bool)
    refuse(bad, weights, classes, "pay", "a finite share")
    total = sum(weights.tolist()) if exact else sum_of(weights)
    if abs(total - 1) > (0 if exact else 1e-9):
        raise wrong_sum("pay", total, "1: what one class gains, the payers give up")
    return weights
