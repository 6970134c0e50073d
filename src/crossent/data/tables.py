"""Read a table from a file, with errors that say where: file, column, row."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.errors import DataError

MISSING_MARKS = ("", "?", "#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")
_DELIMITERS = ",;\t|"
_CSV = (".csv", ".tsv", ".txt")
_PARQUET = (".parquet", ".pq")
_ARROW = (".arrow", ".feather", ".ipc")
FORMATS = "CSV (.csv, .tsv, .txt, also .gz), Parquet (.parquet), Arrow (.arrow, .feather) or NumPy (.npz)"


def read_table(path: str | Path, *, text_columns: Collection[str] = (), missing: Collection[str] = ()) -> pl.DataFrame:
    """Read a CSV, Parquet or Arrow file into a frame.

    Parameters
    ----------
    path : path-like
        The suffix says the format; a CSV may be gzipped, its delimiter is found in the header.
    text_columns : collection of str
        CSV columns to read as text even where they look like numbers (``007`` stays ``007``).
    missing : collection of str
        Marks of a missing value in a CSV, added to the usual ones (empty, ``NA``, ``?``, …).

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
        if suffix in _CSV:
            frame = _read_csv(path, text_columns, {*MISSING_MARKS, *missing})
        elif suffix in _PARQUET:
            frame = pl.read_parquet(path, glob=False)
        elif suffix in _ARROW:
            frame = pl.read_ipc(path)
        else:
            raise DataError(f"cannot read a {suffix or 'nameless'} file as a table: expected {FORMATS}", path=path)
    except DataError:
        raise
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:
        raise DataError(_first_line(error), path=path) from error
    if frame.height == 0:
        raise DataError("holds no rows", path=path)
    return frame


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read the arrays ``X`` and, where there is one, ``y`` of an ``.npz`` file; nothing is ever unpickled."""
    path = existing_file(path)
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError("is a single array: expected an .npz with the arrays X and y", path=path)
        with archive:
            arrays: dict[str, NDArray[Any]] = {name: archive[name] for name in archive.files if name in ("X", "y")}
            found = ", ".join(archive.files)
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise DataError("holds Python objects, which are never unpickled", path=path) from error
        raise DataError(f"is not a readable .npz file: {_first_line(error)}", path=path) from error
    if "X" not in arrays:
        raise DataError(f"holds the arrays {found or '(none)'}: expected X, and y for the labels", path=path)
    x = arrays["X"]
    if x.ndim not in (2, 3) or x.dtype.kind not in "buif":
        problem = f"X is {x.dtype} of shape {x.shape}: expected numbers, (rows, features) or (rows, height, width)"
        raise DataError(problem, path=path)
    if len(x) == 0:
        raise DataError("holds no rows", path=path)
    y = arrays.get("y")
    if y is not None and y.shape != (len(x),):
        raise DataError(f"y has shape {y.shape}: expected ({len(x)},), one label per row of X", path=path)
    return arrays


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


def _read_csv(path: Path, text_columns: Collection[str], missing: set[str]) -> pl.DataFrame:
    delimiter, names = _header(path)
    try:
        frame = pl.read_csv(
            path,
            separator=delimiter,
            new_columns=names,  # polars leaves doubled quotes in a name as they are
            null_values=sorted(missing),
            infer_schema_length=None,
            schema_overrides={name: pl.String for name in text_columns if name in names},
        )
    except pl.exceptions.PolarsError as error:
        _find_ragged_row(path, delimiter, len(names), short_rows=False)
        raise DataError(_csv_problem(error), path=path) from error
    # polars fills a row that ends early with missing values: a file cut off in the middle would pass unseen.
    if frame.height and frame[:, -1].null_count():
        _find_ragged_row(path, delimiter, len(names), short_rows=True)
    return frame.with_columns(
        # Only "nan", "inf" and quoted numbers can leave a column of numbers as text here.
        number
        for column in frame.iter_columns()
        if column.dtype == pl.String and column.name not in text_columns
        for number in [column.cast(pl.Float64, strict=False)]
        if number.null_count() == column.null_count() < len(column)
    )


def _header(path: Path) -> tuple[str, list[str]]:
    try:
        with _open_text(path) as file:
            line = file.readline()
            # A quoted name may go on over the end of a line.
            while line.count('"') % 2 and (more := file.readline()):
                line += more
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text: save it as UTF-8", path=path) from error
    if not line.strip():
        raise DataError("is empty: expected a line of column names first", path=path)
    if table_suffix(path) == ".tsv":
        delimiter = "\t"
    else:
        delimiter = max(_DELIMITERS, key=lambda mark: len(next(csv.reader(io.StringIO(line), delimiter=mark))))
    names = next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter))
    seen: set[str] = set()
    for position, name in enumerate(names, start=1):
        if not name.strip():
            raise DataError(f"the header gives column {position} no name", path=path)
        if name in seen:
            raise DataError("the header names this column twice", path=path, column=name)
        seen.add(name)
    return delimiter, names


def _open_text(path: Path) -> TextIO:
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    binary = cast(BinaryIO, opened(path, "rb"))  # closed by the wrapper
    return io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")


def _find_ragged_row(path: Path, delimiter: str, width: int, *, short_rows: bool) -> None:
    """Raise the DataError for the first row with more (or fewer) values than the header."""
    for row, values in enumerate(_csv_rows(path, delimiter), start=1):
        if len(values) > width or (short_rows and len(values) < width):
            raise DataError(f"has {len(values)} values where the header has {width}", path=path, row=row)


def _csv_rows(path: Path, delimiter: str) -> Iterator[list[str]]:
    with _open_text(path) as file:
        rows = csv.reader(file, delimiter=delimiter)
        next(rows)
        try:
            yield from (row for row in rows if row)
        except (UnicodeDecodeError, csv.Error):
            return  # polars' own message tells it


def _csv_problem(error: Exception) -> str:
    text = _first_line(error)
    if "utf-8" in text.lower():
        return "is not UTF-8 text: save it as UTF-8"
    return f"is not a well-formed CSV: {text}"


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
