"""The rows of one file read by several processes, each a part of them, one after another."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.data import builtin
from crossent.data.bad_rows import BadRows
from crossent.data.dataset import Dataset, array_dataset, label_text, read_dataset
from crossent.data.streaming import TableStream
from crossent.data.tables import SVMLIGHT, existing_file, read_array_rows, read_svmlight, table_suffix
from crossent.errors import DataError
from crossent.ranks import Ranks


def read_share(
    data: str,
    ranks: Ranks,
    *,
    label: str | None,
    label_probs: Sequence[str],
    weight: str | None,
    drop: Collection[str],
    text_columns: Collection[str],
    missing: Collection[str],
    data_dir: str | Path | None,
    bad_rows: BadRows | None,
) -> Dataset:
    """Return this process's rows, as `read_dataset` has all of them; every process calls it.

    A CSV is divided at its row ends, a libsvm file at its line ends, Parquet, Arrow and .npz files by their rows. What
    cannot be divided, a built-in set or a compressed text, is read by every process, which then keeps its part.

    Raises
    ------
    DataError, RankError
        In every process, with the rows of the file.
    """
    path = Path(data)
    if data not in builtin.NAMES and table_suffix(path) == ".npz":
        return ranks.together(lambda: _of_arrays(data, ranks, weight, drop))
    if data not in builtin.NAMES and table_suffix(path) in SVMLIGHT and path.suffix.lower() != ".gz":
        return _of_lines(path, ranks)
    if data not in builtin.NAMES and TableStream.takes(path):
        stream = ranks.together(
            lambda: TableStream(
                data, label, label_probs, weight, drop, text_columns, missing, bad_rows is not None, ranks=ranks
            )
        )
        if stream.divide():
            stream.survey()
            batches = ranks.together(lambda: list(stream.batches(bad_rows)))
            dataset = Dataset.concatenated(batches)
            _refuse_nothing(dataset, ranks, weight)
            return dataset
    whole = ranks.together(
        lambda: read_dataset(
            data,
            label=label,
            label_probs=label_probs,
            weight=weight,
            drop=drop,
            text_columns=text_columns,
            missing=missing,
            data_dir=data_dir,
            bad_rows=bad_rows,
        )
    )
    if bad_rows is not None and ranks.rank:
        bad_rows.problems.clear()  # the first process counts them
    begin, end = (len(whole) * at // ranks.size for at in (ranks.rank, ranks.rank + 1))
    return whole.take(np.arange(begin, end))


def rows_before(dataset: Dataset, ranks: Ranks) -> tuple[int, int]:
    """Return how many rows the processes before this one have, and all."""
    counts = ranks.gather_json(len(dataset))
    return sum(counts[: ranks.rank]), sum(counts)


def whole_of(dataset: Dataset, ranks: Ranks) -> Dataset:
    """Return the rows of all processes, in every one."""
    weights = None if dataset.weights is None else np.concatenate(ranks.gather(dataset.weights))
    return replace(
        dataset,
        features=_joined(dataset.features, ranks),
        rows=np.concatenate(ranks.gather(dataset.rows)),
        labels=None if dataset.labels is None else _frames(dataset.labels.to_frame("labels"), ranks)["labels"],
        label_probs=None if dataset.label_probs is None else _frames(dataset.label_probs, ranks),
        weights=weights,
    )


def _of_arrays(data: str, ranks: Ranks, weight: str | None, drop: Collection[str]) -> Dataset:
    arrays, length = read_array_rows(data, (ranks.rank, ranks.size))
    begin = length * ranks.rank // ranks.size
    return array_dataset(data, arrays, np.arange(begin + 1, begin + len(arrays["X"]) + 1), weight=weight, drop=drop)


def _of_lines(path: Path, ranks: Ranks) -> Dataset:
    ranks.together(lambda: existing_file(path))
    x, y = ranks.together(lambda: read_svmlight(path, (ranks.rank, ranks.size)))
    told = ranks.gather_json([*x.shape])
    before, total = sum(n for n, _ in told[: ranks.rank]), sum(n for n, _ in told)
    if total == 0:
        raise DataError("holds no rows", path=path)
    x.resize(x.shape[0], max(width for _, width in told))
    # Whether labels are whole numbers is for all of them to say, and text says it row by row.
    labels = label_text(pl.Series("label", y, dtype=pl.Float64))
    return Dataset(str(path), x, np.arange(before + 1, before + len(y) + 1), labels)


def _refuse_nothing(dataset: Dataset, ranks: Ranks, weight: str | None) -> None:
    weighs = dataset.weights is None or bool(dataset.weights.any())
    told = ranks.gather_json([len(dataset), weighs])
    if not any(n for n, _ in told):
        raise DataError("holds bad rows only", path=dataset.name)
    if not any(holds for _, holds in told):
        raise DataError("every sample weight is 0", path=dataset.name, column=weight)


def _joined(features: Any, ranks: Ranks) -> Any:
    if isinstance(features, pl.DataFrame):
        return _frames(features, ranks)
    if isinstance(features, np.ndarray):
        return np.concatenate(ranks.gather(features))
    from scipy.sparse import csr_matrix

    parts: list[NDArray[Any]] = [
        np.concatenate(ranks.gather(np.ascontiguousarray(part)))
        for part in (features.data, features.indices.astype(np.int32), np.diff(features.indptr).astype(np.int64))
    ]
    data, indices, lengths = parts
    return csr_matrix((data, indices, np.concatenate([[0], np.cumsum(lengths)])), (len(lengths), features.shape[1]))


def _frames(frame: pl.DataFrame, ranks: Ranks) -> pl.DataFrame:
    told = io.BytesIO()
    frame.write_ipc(told)
    parts = ranks.gather(np.frombuffer(told.getvalue(), np.uint8))
    return pl.concat([pl.read_ipc(part.tobytes()) for part in parts])
