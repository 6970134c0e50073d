"""Arrays in, from whichever library, without a copy; the storage types that the kernels know."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossent import _native
from crossent.errors import invalid_type

Array = NDArray[Any]

# The order of native/job.hpp.
STORAGES = ("float16", "bfloat16", "float32", "float64")
_INDEX = {"e": 0, "f": 2, "d": 3}  # by NumPy's character: a dtype's name takes a microsecond to put together
# Below this, NumPy's own allocation is as quick as recycled pages.
_PAGES_FROM = 1 << 20


def as_array(argument: str, value: object) -> Array:
    """Return ``value`` as a NumPy array that shares its memory where it can.

    Takes NumPy arrays, anything with DLPack (PyTorch's CPU tensors, JAX, CuPy's host arrays, bfloat16 included) or the
    buffer protocol, and nested sequences of numbers.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise invalid_type(argument, value, "an array without a mask (the mask would be lost)")
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__dlpack__") and not isinstance(value, np.generic):
        return _from_dlpack(argument, value)
    array = np.asarray(value)
    if array.dtype == object:
        raise invalid_type(argument, value, "an array of numbers")
    return array


def _from_dlpack(argument: str, value: Any) -> Array:
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        if "bfloat16" in str(getattr(value, "dtype", "")) and hasattr(value, "view"):
            import ml_dtypes

            # NumPy's DLPack does not know bfloat16: the same memory is taken as 16-bit integers.
            bits = getattr(__import__(type(value).__module__.partition(".")[0]), "uint16", "uint16")
            return np.from_dlpack(value.view(bits)).view(ml_dtypes.bfloat16)
        raise TypeError(f"{argument} is a {type(value).__name__} that DLPack does not hand over: {error}") from error


def floating(argument: str, value: object) -> Array:
    """Return ``value`` as an array of one of the storage types, in native byte order."""
    array = as_array(argument, value)
    if not is_floating(array):
        raise TypeError(f"{argument} has dtype {array.dtype}: expected one of {', '.join(STORAGES)}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def is_floating(array: Array) -> bool:
    """Return whether the array's dtype is one of the storage types, in either byte order."""
    return array.dtype.char in _INDEX or array.dtype.name in STORAGES


def storage_of(array: Array) -> int:
    """Return the index by which the kernels know the array's dtype."""
    index = _INDEX.get(array.dtype.char)
    return STORAGES.index(array.dtype.name) if index is None else index


def compute_dtype(array: Array) -> np.dtype[Any]:
    """Return the dtype in which rows of this storage are computed: float32 for the 16-bit ones."""
    return np.dtype(np.float64 if array.dtype == np.float64 else np.float32)


def bits(array: Array) -> Array:
    """Return the array as the kernels take it: bfloat16, which has no buffer protocol, as its 16-bit patterns."""
    return array.view(np.uint16) if array.dtype.itemsize == 2 else array


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an uninitialised array; a large one in recycled huge pages, which are several times cheaper to fill."""
    size = math.prod(shape)
    if size * dtype.itemsize < _PAGES_FROM:
        return np.empty(shape, dtype)
    pages = _native.take_pages(size * dtype.itemsize)
    return np.frombuffer(pages, np.uint8).view(dtype).reshape(shape)  # type: ignore[call-overload, no-any-return]


def as_rows(array: Array, axis: int) -> Array:
    """Return the array as (rows, classes), the classes of a row contiguous; a view where the layout allows one."""
    if array.ndim == 2 and axis == 1:
        rows = array
    else:
        moved = np.moveaxis(array, axis, -1)
        rows = moved.reshape(math.prod(moved.shape[:-1]), moved.shape[-1])
    regular = rows.flags.aligned and (rows.shape[1] <= 1 or rows.strides[1] == rows.itemsize)
    if regular and (rows.shape[0] <= 1 or rows.strides[0] % rows.itemsize == 0):
        return rows
    return contiguous(rows)


def contiguous(array: Array, dtype: Any = None) -> Array:
    """Return the array in C order and at an address that its dtype may have, itself where it is so already."""
    ordered = np.ascontiguousarray(array, dtype)
    return ordered if ordered.flags.aligned else ordered.copy()
