"""Where an epoch's rows come from: all at once from memory, or block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from crossent.training.network import Array
from crossent.training.problem import Indices, Problem


class Blocks(Protocol):
    """Rows to learn from, in one block or several; every pass gives the same blocks in size and order of size.

    Attributes
    ----------
    layer_sizes : tuple of int
    n_batches : int
        Of a whole epoch.
    n_rows : int
        With any mass, in a whole epoch.
    n_blocks : int
    center : array or None
    probe : Problem
        Rows to measure on; the only block, or a sample of all.
    """

    layer_sizes: tuple[int, ...]
    n_batches: int
    n_rows: int
    n_blocks: int
    center: Array | None
    probe: Problem

    def epoch(self, seed: int, *, skip: int = 0) -> Iterator[tuple[Problem, Indices]]:
        """Yield each block and the order of its rows, as the seed has it, without the first ``skip`` blocks."""
        ...


class InMemory:
    """All rows as one block."""

    def __init__(self, problem: Problem) -> None:
        self.probe = problem
        self.layer_sizes, self.center = problem.layer_sizes, problem.center
        self.n_batches, self.n_rows, self.n_blocks = problem.n_batches, len(problem.kept), 1

    def epoch(self, seed: int, *, skip: int = 0) -> Iterator[tuple[Problem, Indices]]:
        """Yield the block."""
        if not skip:
            yield self.probe, shuffled(self.probe, seed, 0)


def shuffled(problem: Problem, seed: int, block: int) -> Indices:
    """Return the order of a block's rows in an epoch; it hangs on nothing but the seed and the block's number."""
    rng = np.random.default_rng([seed, block])
    return problem.kept[rng.permutation(len(problem.kept))]
