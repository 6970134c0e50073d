"""The tiles of logits that a budget of bytes allows."""

from __future__ import annotations

from typing import NamedTuple

# Narrower tiles leave the matrix product with too little to do for each byte that it reads.
_NARROWEST = 128
# What is computed entry by entry should still lie in the CPU's caches when the next operation reads it.
_CACHED = 8 << 20


class Tiles(NamedTuple):
    """How the (rows, classes) logits of this rank are cut.

    Attributes
    ----------
    rows, classes : int
        Of one tile, at least 1.
    kept : bool
        Whether all logits stay in memory from forward to backward, which saves the product that makes them again.
    """

    rows: int
    classes: int
    kept: bool


def tiles_of(rows: int, classes: int, cell: int, itemsize: int, budget: int, on_cpu: bool) -> Tiles:
    """Return the tiles of (rows, classes) logits within a budget of bytes.

    Parameters
    ----------
    cell : int
        Bytes that one entry of a tile needs while it is worked on.
    itemsize : int
        Bytes of a logit.

    >>> tiles_of(4096, 32000, 8, 4, 64 << 20, True)
    Tiles(rows=4096, classes=256, kept=False)
    """
    working = min(budget, _CACHED) if on_cpu else budget
    width = max(1, min(classes, max(_NARROWEST, working // (cell * max(rows, 1)))))
    height = max(1, min(rows, working // (cell * width)))
    working = height * width * cell
    return Tiles(height, width, rows * classes * itemsize + working <= budget)
