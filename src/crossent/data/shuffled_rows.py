"""Encoded rows on disk, shuffled: each file holds a random part of all rows that fits into memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import scipy.sparse as sp

PART_ROWS = 2**17
PART_BYTES = 2**25


def uniform(rows: NDArray[np.int64], seed: int, draw: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each row, a hash of its number, the seed and which draw it is (splitmix64).

    It does not hang on the batches that the rows come in.

    >>> uniform(np.arange(1, 4), 0, 0).round(3)
    array([0.023, 0.4  , 0.235])
    """
    start = np.random.SeedSequence([seed, draw]).generate_state(1, np.uint64)[0]
    with np.errstate(over="ignore"):
        mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + start
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53)


class ShuffledRows:
    """Rows with truth and weights, dealt at random to files in a folder as they come.

    Reading the files one after another, and each in a new order, takes the rows in an order that hardly differs from
    a shuffle of all; a buffer that the file runs through would leave one that is sorted nearly so.

    Parameters
    ----------
    folder : Path
        Made anew; what is in it is deleted.
    n_rows : int
        About how many rows will come.
    seed : int
    """

    def __init__(self, folder: Path, n_rows: int, seed: int) -> None:
        self.folder, self._n_expected, self._seed = folder, n_rows, seed
        self.n_rows, self._n_parts = 0, 0
        self._width = 0
        self._kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._is_sparse = False
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def add(
        self,
        rows: NDArray[np.int64],
        x: NDArray[np.float32] | sp.csr_matrix,
        truth: NDArray[np.int64] | NDArray[np.float64],
        weights: NDArray[np.float64] | None,
    ) -> None:
        """Deal out some rows."""
        if len(rows) == 0:
            return
        if not self._n_parts:
            self._begin(x, truth, weights)
        part = (uniform(rows, self._seed, draw=1) * self._n_parts).astype(np.int64)
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(self._n_parts + 1))
        for at in np.flatnonzero(np.diff(bounds)):
            taken = order[bounds[at] : bounds[at + 1]]
            for name, array in self._arrays(x[taken], truth[taken], None if weights is None else weights[taken]):
                with (self.folder / f"{at}.{name}").open("ab") as file:
                    file.write(np.ascontiguousarray(array).data)
        self.n_rows += len(rows)

    def batches(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of each file: features, truth and, where there are any, weights."""
        for at in range(self._n_parts):
            if (self.folder / f"{at}.truth").exists():
                arrays = {name: self._read(at, name) for name in self._kinds}
                x = self._sparse(arrays) if self._is_sparse else arrays["x"]
                yield (x, arrays["truth"], *([arrays["weights"]] if "weights" in arrays else []))

    def delete(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self, x: Any, truth: NDArray[Any], weights: NDArray[Any] | None) -> None:
        self._is_sparse, self._width = not isinstance(x, np.ndarray), x.shape[1]
        arrays = self._arrays(x, truth, weights)
        self._kinds = {name: (array.dtype, array.shape[1:]) for name, array in arrays}
        row_bytes = sum(array.nbytes for _, array in arrays) / x.shape[0]
        part_rows = max(1, min(PART_ROWS, int(PART_BYTES / row_bytes)))
        self._n_parts = -(-max(self._n_expected, x.shape[0]) // part_rows)

    def _arrays(self, x: Any, truth: NDArray[Any], weights: NDArray[Any] | None) -> list[tuple[str, NDArray[Any]]]:
        features = [("x", x)]
        if self._is_sparse:
            features = [
                ("values", x.data),
                ("indices", x.indices.astype(np.int32, copy=False)),
                ("lengths", np.diff(x.indptr).astype(np.int32)),
            ]
        return [*features, ("truth", truth), *([("weights", weights)] if weights is not None else [])]

    def _read(self, part: int, name: str) -> NDArray[Any]:
        dtype, shape = self._kinds[name]
        return np.fromfile(self.folder / f"{part}.{name}", dtype).reshape(-1, *shape)

    def _sparse(self, arrays: dict[str, NDArray[Any]]) -> sp.csr_matrix:
        from scipy.sparse import csr_matrix

        indptr = np.concatenate([[0], np.cumsum(arrays["lengths"], dtype=np.int64)])
        shape = (len(arrays["lengths"]), self._width)
        return csr_matrix((arrays["values"], arrays["indices"], indptr), shape=shape)
