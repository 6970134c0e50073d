"""Read a table from a file, with errors that say where: file, column, row."""

from __future__ import annotations

import csv
import itertools
import math
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.data.csv_text import CsvText, header, open_text
from crossent.data.npz import read_npz
from crossent.errors import DataError

if TYPE_CHECKING:
    import scipy.sparse as sp

_LONGEST = 300  # characters of another library's message
_DIGITS = 100
_MOST_FEATURES = 2**31 - 1
CSV = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
SVMLIGHT = (".svm", ".libsvm", ".svmlight")
# polars panics at some damaged files, which is no Exception; the program goes on all the same.
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError, zlib.error)
FORMATS = (
    "CSV (.csv, .tsv, .txt, also .gz), Parquet (.parquet), Arrow (.arrow, .feather), NumPy (.npz) or libsvm (.svm, "
    ".libsvm, also .gz)"
)


def read_table(
    path: str | Path,
    *,
    text_columns: Collection[str] = (),
    missing: Collection[str] = (),
    ragged: dict[int, str] | None = None,
) -> pl.DataFrame:
    """Read a CSV, Parquet or Arrow file into a frame.

    Parameters
    ----------
    path : path-like
        The suffix says the format; a CSV may be gzipped, its delimiter is found in the header.
    text_columns : collection of str
        CSV columns to read as text even where they look like numbers (``007`` stays ``007``).
    missing : collection of str
        Marks of a missing value in a CSV, added to the usual ones (empty, ``NA``, ``?``, …).
    ragged : dict of int to str, optional
        Takes, by row, what is wrong with the lines of a CSV that have more or fewer values than the header or are no
        UTF-8, which are then left out; without it the first of them is an error.

    Raises
    ------
    DataError
        A file that is absent, empty, damaged or of no known format.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "pets.csv")
    >>> _ = path.write_text("weight,kind\\n4.1,cat\\nNA,dog\\n")
    >>> read_table(path).rows()
    [(4.1, 'cat'), (None, 'dog')]
    """
    path = existing_file(path)
    suffix = table_suffix(path)
    try:
        if suffix in CSV:
            frame = _read_csv(path, text_columns, missing, ragged)
        elif suffix in PARQUET:
            frame = pl.read_parquet(path, glob=False)
        elif suffix in ARROW:
            frame = pl.read_ipc(path)
        else:
            raise DataError(f"cannot read a {suffix or 'nameless'} file as a table: expected {FORMATS}", path=path)
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(first_line(error), path=path) from error
    if frame.height == 0:
        raise DataError("holds no rows", path=path)
    return frame


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read the arrays ``X`` and, where there is one, ``y`` of an ``.npz`` file; nothing is ever unpickled."""
    return read_array_rows(path)[0]


def read_array_rows(path: str | Path, part: tuple[int, int] | None = None) -> tuple[dict[str, NDArray[Any]], int]:
    """Read the arrays of an ``.npz`` file, or of their rows the k-th of n equal parts with ``part=(k, n)``.

    Returns them, and how many rows the file has.
    """
    path = existing_file(path)
    arrays, names, lengths = read_npz(path, ("X", "y"), part)
    if "X" not in arrays:
        found = ", ".join(names[:12]) or "(none)"
        raise DataError(f"holds the arrays {found}: expected X, and y for the labels", path=path)
    x = arrays["X"]
    if x.ndim not in (2, 3) or x.dtype.kind not in "buif":
        problem = f"X is {x.dtype} of shape {x.shape}: expected numbers, (rows, features) or (rows, height, width)"
        raise DataError(problem, path=path)
    length = lengths["X"]
    if length == 0:
        raise DataError("holds no rows", path=path)
    y = arrays.get("y")
    if y is not None and (lengths["y"], *y.shape[1:]) != (length,):
        shape = (lengths["y"], *y.shape[1:])
        raise DataError(f"y has shape {shape}: expected ({length},), one label per row of X", path=path)
    return arrays, length


def read_svmlight(path: str | Path, part: tuple[int, int] | None = None) -> tuple[sp.csr_matrix, NDArray[np.float64]]:
    """Read a libsvm file, lines of ``LABEL INDEX:VALUE INDEX:VALUE …``, into float32 features and their labels.

    The feature of an index is the column of that number, whether the file counts from 0 or from 1: so files of the
    same data agree, whichever features occur in them. ``part=(k, n)`` takes the lines that begin in the k-th of n
    equal parts of a file that is not compressed.

    Raises
    ------
    DataError
        Naming the row, for a line that is none of that form.
    """
    from scipy.sparse import csr_matrix
    from sklearn.datasets import load_svmlight_file

    path = existing_file(path)
    where: dict[str, int] = {}
    if part is not None:
        size = path.stat().st_size
        begin, end = (size * at // part[1] for at in (part[0], part[0] + 1))
        if begin == end:
            return csr_matrix((0, 0), dtype=np.float32), np.zeros(0)
        where = {"offset": begin, "length": end - begin, "n_features": _MOST_FEATURES}
    try:
        x, y = load_svmlight_file(str(path), dtype=np.float32, zero_based=True, **where)
    except (ValueError, OverflowError, OSError, EOFError, zlib.error) as error:
        _find_bad_line(path)
        raise DataError(f"is not a readable libsvm file: {first_line(error)}", path=path) from error
    if part is not None:
        x = csr_matrix((x.data, x.indices, x.indptr), (x.shape[0], int(x.indices.max(initial=-1)) + 1))
    if x.shape[0] == 0 and part is None:
        raise DataError("holds no rows", path=path)
    if not (np.isfinite(x.data).all() and np.isfinite(y).all()):
        _find_bad_line(path)
        raise DataError("holds a value beyond float32's range", path=path)
    return x, y


def existing_file(path: str | Path) -> Path:
    """Return the path, or raise the DataError for one that is no file."""
    path = Path(path)
    if path.is_dir():
        raise DataError("is a folder: expected a file", path=path)
    if not path.exists():
        raise DataError("no such file", path=path)
    return path


def table_suffix(path: Path) -> str:
    """Return the suffix that says the format, ``.gz`` taken off."""
    return path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _read_csv(
    path: Path, text_columns: Collection[str], missing: Collection[str], ragged: dict[int, str] | None
) -> pl.DataFrame:
    text = CsvText.of(path, text_columns, missing, errors="strict" if ragged is None else "replace")
    try:
        frame = text.parse(path if ragged is None else text.even_rows(ragged))
    except pl.exceptions.PolarsError as error:
        text.find_ragged_row(short_rows=False)
        raise text.problem(error) from error
    # polars fills a row that ends early with missing values: a file cut off in the middle would pass unseen.
    if ragged is None and frame.height and frame[:, -1].null_count():
        text.find_ragged_row(short_rows=True)
    return frame.with_columns(
        column.cast(pl.Float64, strict=False) for column in frame.iter_columns() if text.hides_numbers(column)
    )


def _find_bad_line(path: Path) -> None:
    """Raise the DataError for the first line of a libsvm file that is not ``LABEL INDEX:VALUE …``."""
    with open_text(path, "replace") as file:
        lines = (line.partition("#")[0].split() for line in file)
        for row, words in enumerate(filter(None, lines), start=1):
            if not _is_finite(words[0]):
                raise DataError(f"the label {words[0][:60]!r} is not a finite number", path=path, row=row)
            previous = -1
            for word in words[1:]:
                index, colon, value = word.partition(":")
                if index == "qid":
                    continue
                if not (colon and index.isdecimal() and _is_finite(value)):
                    raise DataError(f"{word[:60]!r} is not INDEX:VALUE with a finite value", path=path, row=row)
                # Python refuses to read a number of thousands of digits.
                if len(index) > _DIGITS or not previous < int(index) < 2**31:
                    raise DataError(
                        f"the index of {word[:60]!r} does not rise within 0 to 2147483647", path=path, row=row
                    )
                previous = int(index)


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def line_of_row(path: Path, row: int) -> int | None:
    """Return the line of a CSV or libsvm file on which a row ends, both counted from 1, or None if there is none."""
    suffix = table_suffix(path)
    if suffix not in (*CSV, *SVMLIGHT) or not path.is_file():
        return None
    with open_text(path, "replace") as file:
        if suffix in SVMLIGHT:
            filled = (number for number, line in enumerate(file, start=1) if line.partition("#")[0].strip())
            return next(itertools.islice(filled, row - 1, None), None)
        rows = csv.reader(file, delimiter=header(path, "replace")[0])
        try:
            return next((rows.line_num for at, _ in enumerate(filter(None, rows)) if at == row), None)
        except csv.Error:
            return None


def first_line(error: BaseException) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
