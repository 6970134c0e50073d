"""What the losses take: checked where values are known, as they are outside of ``jax.jit``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from crossent.errors import invalid_choice, invalid_type, invalid_value

FLOATS = ("float16", "bfloat16", "float32", "float64")
REDUCTIONS = ("mean", "sum", "none")


def is_known(value: object) -> bool:
    """Return whether a value can be looked at: not under jit, vmap or a derivative of it."""
    return not isinstance(value, jax.core.Tracer)


def floating(argument: str, value: ArrayLike) -> Array:
    """Return ``value`` as an array of floats; a TypeError for any other dtype."""
    array = jnp.asarray(value)
    if array.dtype.name not in FLOATS:
        raise TypeError(f"{argument} has dtype {array.dtype}: expected one of {', '.join(FLOATS)}")
    return array


def compute_dtype(dtype: Any) -> Any:
    """Return what logits of this dtype are computed in: float32 for the 16-bit ones."""
    return jnp.dtype(jnp.float32) if dtype.itemsize < 4 else dtype


def class_axis(axis: int, logits: Array) -> int:
    """Return the class axis counted from the front; an error where there is none or it is empty."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise invalid_type("axis", axis, "an integer")
    if logits.ndim == 0:
        raise ValueError("logits has shape (): expected at least a class axis")
    if not -logits.ndim <= axis < logits.ndim:
        expected = f"a number in [{-logits.ndim}, {logits.ndim}) for an array of shape {logits.shape}"
        raise invalid_value("axis", axis, expected)
    place = axis.__index__() % logits.ndim
    if logits.shape[place] == 0:
        raise ValueError(f"logits has shape {logits.shape}: expected at least one class on axis {axis}")
    return place


def check_labels(labels: Array, classes: int, ignore_index: int | None = None) -> None:
    """Raise a ValueError for a known label outside [0, C) that is not ignored."""
    if not is_known(labels):
        return
    values = np.asarray(labels)
    bad = (values < 0) | (values >= classes)
    if ignore_index is not None:
        bad &= values != ignore_index
    if bad.any():
        place = [int(i) for i in np.argwhere(bad)[0]]
        where = f"target{place}" if place else "target"
        raise ValueError(f"{where} = {values[tuple(place)]} is outside [0, {classes})")


def is_integer(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.integer))


def check_non_negative(argument: str, array: Array) -> None:
    """Raise a ValueError for a known entry that is negative, infinite or NaN."""
    if not is_known(array):
        return
    values = np.asarray(array)
    good = (values >= 0) & (values < np.inf)
    if not good.all():
        place = [int(i) for i in np.argwhere(~good)[0]]
        raise ValueError(f"{argument}{place or ''} = {values[tuple(place)]}: expected a finite number of at least 0")


def weights(argument: str, value: ArrayLike, shape: tuple[int, ...], of: str, dtype: Any) -> Array:
    """Return checked weights of this shape in the dtype."""
    array = jnp.asarray(value)
    if not (is_integer(array.dtype) or jnp.issubdtype(array.dtype, jnp.floating)):
        raise TypeError(f"{argument} has dtype {array.dtype}: expected real numbers")
    if array.shape != shape:
        raise ValueError(f"{argument} has shape {array.shape}: expected {shape}, one for each of {of}")
    check_non_negative(argument, array)
    return array.astype(dtype)


def number(argument: str, value: Any, low: float, high: float, expected: str) -> Any:
    """Return a number, checked to lie in [low, high] and to be finite where it is known."""
    if not is_known(value):
        return value
    if isinstance(value, bool | np.bool_ | str | bytes) or not hasattr(value, "__float__") or np.ndim(value) > 0:
        raise invalid_type(argument, value, "a real number")
    if not (low <= float(value) <= high and float(value) < np.inf):
        raise invalid_value(argument, value, expected)
    return float(value)


def check_reduction(reduction: str, normalizer: object) -> None:
    if reduction not in REDUCTIONS:
        raise invalid_choice("reduction", reduction, REDUCTIONS)
    if normalizer is not None and reduction != "mean":
        raise ValueError(f'normalizer: expected None with reduction="{reduction}", as only a mean divides')
