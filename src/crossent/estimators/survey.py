"""The first pass over batches: what the training has to know of all rows before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from scipy.sparse import vstack as sparse_vstack

from crossent.estimators.batches import Batch, Batches, ParquetBatches
from crossent.estimators.truth import Truth, encode
from crossent.training import Examples, Problem
from crossent.training.blocks import shuffled
from crossent.training.network import Array
from crossent.training.problem import Indices

PROBE_ROWS = 8192
PROBE_VALUES = 2**24


@dataclass
class Survey:
    """Counts over all batches, and a sample of their rows.

    Attributes
    ----------
    classes, class_mass : (C,) array
        The labels so far, and each class's summed truth, weighted.
    mass, rows : float, int
        Summed weight, and rows with any.
    mean : (d,) array
        The mean row, weighted.
    block_rows : list of int
        Rows with any weight of each batch.
    x, y, weight : arrays
        The rows with the least of random keys, as they were given.
    """

    classes: Array = field(default_factory=lambda: np.zeros(0))
    class_mass: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    mass: float = 0.0
    rows: int = 0
    mean: npt.NDArray[np.float64] | None = None
    block_rows: list[int] = field(default_factory=list)
    x: Any = None
    y: Any = None
    weight: Any = None
    keys: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add(self, x: Any, y: Any, truth: Truth, weight: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
        """Take in a batch."""
        kept = np.flatnonzero(weight)
        self.block_rows.append(len(kept))
        if not len(kept):
            return
        self._count(truth, weight)
        of_batch = Examples(x, 1, labels=np.zeros(len(weight), np.int64)).center(weight).astype(np.float64)
        total = float(weight.sum())
        self.mass, self.rows = self.mass + total, self.rows + len(kept)
        self.mean = of_batch if self.mean is None else self.mean + (of_batch - self.mean) * (total / self.mass)
        self._sample(x, np.asarray(y), weight, rng.uniform(size=len(kept)), kept)

    def _count(self, truth: Truth, weight: npt.NDArray[np.float64]) -> None:
        if not len(self.classes) or np.array_equal(self.classes, truth.classes):
            before = self.class_mass if len(self.classes) else 0.0
            self.classes, self.class_mass = truth.classes, before + truth.class_mass(weight)
            return
        merged = np.union1d(self.classes, truth.classes)
        mass = np.zeros(len(merged))
        mass[encode(self.classes, merged)] = self.class_mass
        mass[encode(truth.classes, merged)] += truth.class_mass(weight)
        self.classes, self.class_mass = merged, mass

    def _sample(self, x: Any, y: Array, weight: Array, keys: Array, kept: Indices) -> None:
        limit = max(1, min(PROBE_ROWS, PROBE_VALUES // max(x.shape[1], 1)))
        least = np.argsort(keys)[:limit]
        new, self.keys = kept[least], np.concatenate([self.keys, keys[least]])
        taken = np.argsort(self.keys)[:limit]
        self.keys = self.keys[taken]
        if self.x is None:
            self.x, self.y, self.weight = x[new], y[new], weight[new]
        else:
            both = [self.x, x[new]]
            self.x = sparse_vstack(both, format="csr") if issparse(x) else np.concatenate(both)
            self.y, self.weight = np.concatenate([self.y, y[new]]), np.concatenate([self.weight, weight[new]])
        self.x, self.y, self.weight = self.x[taken], self.y[taken], self.weight[taken]


class StreamedBlocks:
    """Batches as the training loop takes them: each a block of its own, read when it is needed.

    Parameters
    ----------
    source : Batches or ParquetBatches
    survey : Survey
    examples : callable
        Turns a batch into Examples.
    problem : callable
        Turns Examples into a Problem.
    """

    def __init__(
        self,
        source: Batches | ParquetBatches,
        survey: Survey,
        examples: Callable[[Batch], Examples],
        problem: Callable[[Examples], Problem],
        probe: Problem,
        batch_size: int,
    ) -> None:
        self._source, self._examples, self._problem = source, examples, problem
        self.probe, self.layer_sizes, self.center = probe, probe.layer_sizes, probe.center
        self.n_rows = survey.rows
        sizes = [rows for rows in survey.block_rows if rows]
        self._sizes, self.n_blocks = sorted(sizes), len(sizes)
        self.n_batches = sum(-(-rows // batch_size) for rows in sizes)

    def epoch(self, seed: int, *, skip: int = 0) -> Iterator[tuple[Problem, Indices]]:
        """Yield each block and the order of its rows."""
        sizes: list[int] = []
        for batch in self._source.read(seed):
            examples = self._examples(batch)
            rows = int(np.count_nonzero(examples.row_mass()))
            if not rows:
                continue
            sizes.append(rows)
            if len(sizes) > self.n_blocks:
                break
            if len(sizes) > skip:
                problem = self._problem(examples)
                yield problem, shuffled(problem, seed, len(sizes) - 1)
        if sorted(sizes) != self._sizes:
            raise ValueError(
                f"batches gave {sum(sizes)} rows in {len(sizes)} batches in this pass, and {self.n_rows} in "
                f"{self.n_blocks} in the first: expected the same in every pass"
            )
