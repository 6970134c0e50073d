"""Make the kernels do what a sanitizer must notice: run in a process of its own, with a module built for it.

Python's own checks are gone round, and arrays lie about their memory: what goes wrong, goes wrong inside the kernels of
the level that is named.
"""

from __future__ import annotations

import sys
import threading

import numpy as np

from crossent import _native
from crossent.cpu import use_level

FLOAT32 = 2


def _loss(logits: np.ndarray, grad: np.ndarray | None, labels: np.ndarray | None = None) -> None:
    labels = np.zeros(len(logits), np.int64) if labels is None else labels
    _native.label_loss(FLOAT32, logits, labels, None, 1.0, 0.0, None, grad, 1)


def read_behind() -> None:
    """Read a row that lies behind the end of its array."""
    held = np.zeros((40, 10), np.float32)
    _loss(np.lib.stride_tricks.as_strided(held, (41, 10), held.strides), None)


def write_behind() -> None:
    """Write a row behind the end of its array."""
    held = np.zeros((40, 100), np.float32)
    _loss(np.zeros((41, 100), np.float32), np.lib.stride_tricks.as_strided(held, (41, 100), held.strides))


def overflow() -> None:
    """Count elements beyond 2^63: all rows but the last are ignored."""
    held = np.zeros((1, 100), np.float32)
    labels = np.where(np.arange(40) == 39, 0, -1)
    _loss(np.lib.stride_tricks.as_strided(held, (40, 100), (2**62, 4)), None, labels)


def misaligned() -> None:
    """Read floats at an odd address."""
    _loss(np.ndarray((40, 10), np.float32, bytearray(1601), 1), None)


def race() -> None:
    """Write one gradient from two threads."""
    logits, grad = np.zeros((4000, 10), np.float32), np.zeros((4000, 10), np.float32)
    start = threading.Barrier(2)

    def call() -> None:
        start.wait()
        for _ in range(20):
            _loss(logits, grad)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    with use_level(sys.argv[2]):
        globals()[sys.argv[1]]()
    print("not noticed")
