"""Call every kernel with arrays that end, or begin, where the process may not read: run as a process of its own.

The name of each case is printed before it runs, so that the last line tells which one touched a forbidden page.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import sys
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

from crossent import _native, arrays
from crossent.cpu import cpu_levels, use_level

CLASSES = range(1, 71)
ROWS = (1, 19)  # fewer and more than are worked on together
CANARY = 0xA5
ROOM = 3 * mmap.PAGESIZE  # between two forbidden pages: more than the largest array here
DTYPES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32), np.dtype(np.float64))
Array = np.ndarray[Any, np.dtype[Any]]
Call = Callable[["Case"], float]

_mprotect = ctypes.CDLL(None, use_errno=True).mprotect
_mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Room:
    """Memory between two pages that may neither be read nor written."""

    def __init__(self) -> None:
        page = mmap.PAGESIZE
        self._mapped = mmap.mmap(-1, ROOM + 2 * page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._mapped))
        self.bytes = np.frombuffer(self._mapped, np.uint8)[page : page + ROOM]
        for forbidden in (start, start + page + ROOM):
            if _mprotect(forbidden, page, 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, array: Array, at_end: bool, step: int | None = None) -> Array:
        """Copy the array to one end of the room, its rows ``step`` elements apart; canaries everywhere else."""
        n, width = array.shape if array.ndim == 2 else (1, array.shape[0])
        step = width if step is None else step
        size = ((n - 1) * step + width) * array.itemsize
        self.bytes[:] = CANARY
        held = self.bytes[ROOM - size :] if at_end else self.bytes[:size]
        flat = held.view(array.dtype)
        strides = (step * array.itemsize, array.itemsize)[2 - array.ndim :]
        placed = np.lib.stride_tricks.as_strided(flat, array.shape, strides)
        placed[...] = array
        return placed

    def changed_outside(self, placed: Array) -> bool:
        """Whether a byte that is no element of the array was written."""
        kept = placed.copy()
        placed.view(f"u{placed.itemsize}")[...] = int.from_bytes(bytes([CANARY]) * placed.itemsize, "little")
        changed = bool((self.bytes != CANARY).any())
        placed[...] = kept
        return changed


class Case:
    """The arrays of one call; given rooms, each lies at one end of its own."""

    def __init__(self, dtype: np.dtype[Any], n: int, classes: int) -> None:
        rng = np.random.default_rng((n, classes))
        wide = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        probs = rng.dirichlet(np.ones(classes), n)
        self.storage = arrays.STORAGES.index(dtype.name)
        self.arrays: dict[str, Array] = {
            "logits": (4 * rng.standard_normal((n, classes))).astype(dtype),
            "grad": np.zeros((n, classes), dtype),
            "loss": np.zeros(n, dtype),
            "label": rng.integers(-1 if n > 1 else 0, classes, n),
            "row_weight": rng.random(n),
            "z_weight": rng.random(n),
            "probs": probs.astype(dtype),
            "wide_probs": probs.astype(wide),
            "class_weight": rng.random(classes).astype(wide),
        }

    def __getitem__(self, name: str) -> Array:
        return arrays.bits(self.arrays[name])

    def moved(self, rooms: dict[str, Room], at_end: bool, gap: int) -> Case:
        moved = object.__new__(Case)
        moved.storage = self.storage
        moved.arrays = {
            name: rooms[name].place(array, at_end, array.shape[1] + gap if array.ndim == 2 else None)
            for name, array in self.arrays.items()
        }
        return moved


def _label(grad: str | None, weighted: bool, z_loss: float = 0.0) -> Call:
    def call(case: Case) -> float:
        weight = case["row_weight"] if weighted else None
        out = None if grad is None else case[grad]
        return _native.label_loss(
            case.storage, case["logits"], case["label"], weight, 0.5, z_loss, case["loss"], out, 1
        )

    return call


def _distribution(grad: str | None, probs: str | None, weighted: bool, smoothing: float = 0.0) -> Call:
    def call(case: Case) -> float:
        truth = None if probs is None else case[probs]
        weights = [case[name] if weighted else None for name in ("class_weight", "row_weight", "z_weight")]
        of_class, of_row, of_z = weights
        label = case["label"] if probs is None else None
        out = None if grad is None else case[grad]
        return _native.distribution_loss(
            *(case.storage, case["logits"], label, truth, probs == "wide_probs", of_class, smoothing),
            *(of_row, 0.5, 0.0, of_z, case["loss"], out, 1),
        )

    return call


CALLS = {
    "label": _label("grad", weighted=False),
    "label, in place": _label("logits", weighted=True),
    "label, z-loss": _label("grad", weighted=True, z_loss=0.1),
    "label, loss only": _label(None, weighted=False),
    "distribution": _distribution("grad", "probs", weighted=False),
    "distribution, in place": _distribution("logits", "wide_probs", weighted=True),
    "distribution, loss only": _distribution(None, "probs", weighted=True),
    "smoothed label": _distribution("grad", None, weighted=True, smoothing=0.1),
}


def combinations() -> Iterator[tuple[np.dtype[Any], int, int]]:
    yield from itertools.product(DTYPES, ROWS, CLASSES)


def same(a: Array, b: Array) -> bool:
    return a.tobytes() == b.tobytes()


def overrun() -> None:
    """Let a kernel read a row that lies behind the end: the process must not survive it."""
    n, classes = 3, 7
    room = Room()
    case = Case(np.dtype(np.float32), n, classes)
    fewer = room.place(case.arrays["logits"][:-1], at_end=True)
    case.arrays["logits"] = np.lib.stride_tricks.as_strided(fewer, (n, classes), fewer.strides)
    print("overrun", flush=True)
    CALLS["label"](case)


def main() -> int:
    failed = 0
    rooms = {name: Room() for name in Case(DTYPES[0], 1, 1).arrays}
    for level, (dtype, n, classes) in itertools.product(cpu_levels(), combinations()):
        with use_level(level):
            for name, call in CALLS.items():
                ordinary = Case(dtype, n, classes)
                expected = call(ordinary)
                for at_end, gap in ((True, 0), (False, 0), (True, 5)):
                    where = f"{level} {dtype} {n}x{classes} {name}, {'end' if at_end else 'start'}, gap {gap}"
                    print(where, flush=True)
                    guarded = Case(dtype, n, classes).moved(rooms, at_end, gap)
                    result = call(guarded)
                    wrong = [key for key in guarded.arrays if not same(guarded.arrays[key], ordinary.arrays[key])]
                    wrong += [] if result == expected else ["sum"]
                    wrong += [f"around {key}" for key in rooms if rooms[key].changed_outside(guarded.arrays[key])]
                    if wrong:
                        failed += 1
                        print(f"FAILED {where}: {', '.join(wrong)}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(overrun() if "--overrun" in sys.argv else main())
