"""The text of a CSV: its header, its rows one by one, in pieces that end with a row, and as a frame."""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import polars as pl

from crossent.errors import DataError
from crossent.ranks import Ranks

MISSING_MARKS = ("", "?", "#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")
PIECE_BYTES = 2**22
_FIRST_ROWS = 1000
_BLANK_LINES = re.compile(rb"(\n)(?:\r?\n)+")
_DELIMITERS = ",;\t|"
# A quoted value that spans so many pieces is none: its mark is another one, such as 5" for inches.
_MOST_PIECES = 4


@dataclass(frozen=True)
class CsvText:
    """A CSV file and how it is to be read.

    Attributes
    ----------
    path : Path
    delimiter : str
    names : tuple of str
    missing : frozenset of str
        The marks of a missing value.
    text_columns : frozenset of str
        Columns that stay text where they look like numbers.
    """

    path: Path
    delimiter: str
    names: tuple[str, ...]
    missing: frozenset[str]
    text_columns: frozenset[str]

    @classmethod
    def of(
        cls, path: Path, text_columns: Collection[str], missing: Collection[str], *, errors: str = "strict"
    ) -> CsvText:
        """Read the header; ``errors="replace"`` forgives text that is no UTF-8."""
        delimiter, names = header(path, errors)
        kept = frozenset(name for name in text_columns if name in names)
        return cls(path, delimiter, tuple(names), frozenset({*MISSING_MARKS, *missing}), kept)

    def parse(self, source: Path | bytes, types: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """Return the frame of a text with its header; ``types``, where given, are those of all columns.

        Raises
        ------
        polars.exceptions.PolarsError
        """
        frame = self._frame(source, types)
        # polars takes a blank line for a row of missing values.
        if frame.height and frame.select(pl.all_horizontal(pl.all().is_null()).any()).item():
            with _open_bytes(source) as file:
                frame = self._frame(_BLANK_LINES.sub(rb"\1", file.read()), types)
        return frame

    def _frame(self, source: Path | bytes, types: Mapping[str, Any] | None) -> pl.DataFrame:
        if types is not None:
            return self._read(source, types, infer=0)
        known = dict.fromkeys(self.text_columns, pl.String)
        try:
            # To infer the types from all rows takes several times as long as to read them.
            first = self._read(source, known, infer=_FIRST_ROWS, n_rows=_FIRST_ROWS)
            if first.height and all(column.null_count() < first.height for column in first.iter_columns()):
                return self._read(source, first.schema, infer=0)
        except pl.exceptions.PolarsError:
            pass  # a later row is of another type, or is none
        return self._read(source, known, infer=None)

    def _read(
        self, source: Path | bytes, types: Mapping[str, Any], *, infer: int | None, n_rows: int | None = None
    ) -> pl.DataFrame:
        return pl.read_csv(
            source,
            separator=self.delimiter,
            new_columns=list(self.names),  # polars leaves doubled quotes in a name as they are
            null_values=sorted(self.missing),
            infer_schema_length=infer,
            schema_overrides=types,
            n_rows=n_rows,
        )

    def hides_numbers(self, column: pl.Series) -> bool:
        """Whether a column of text is numbers: "nan", "inf" and quoted numbers leave one so."""
        if column.dtype != pl.String or column.name in self.text_columns:
            return False
        number = column.cast(pl.Float64, strict=False)
        return number.null_count() == column.null_count() < len(column)

    def pieces(self, size: int, span: tuple[int, int] | None = None) -> Iterator[bytes]:
        """Yield the text in pieces of about ``size`` bytes that end with a row, each after a line of names.

        ``span``, where given, says which bytes of the file to read; rows begin and end with it.
        """
        first = f"{self.delimiter.join(f'c{at}' for at in range(len(self.names)))}\n".encode()
        with open_binary(self.path) as file:
            _read_header_line(file)
            left = sys.maxsize
            if span is not None:
                file.seek(span[0])
                left = span[1] - span[0]
            rest = b""
            while piece := file.read(min(size, left)):
                left -= len(piece)
                rest += piece
                end = _end_of_rows(rest)
                if not end and len(rest) > _MOST_PIECES * size:
                    problem = f"a quoted value is longer than {len(rest)} bytes: a quotation mark that nothing closes?"
                    raise DataError(problem, path=self.path)
                if end:
                    yield first + rest[:end]
                    rest = rest[end:]
            if rest.strip():
                yield first + rest

    def span(self, ranks: Ranks) -> tuple[int, int] | None:
        """Return the bytes of this rank's rows of a file that is not compressed; None where it cannot be divided.

        A line ends a row if the quotation marks before it are even in number, which the ranks count together.
        """
        with open_binary(self.path) as file:
            _read_header_line(file)
            header_end, size = file.tell(), file.seek(0, io.SEEK_END)
            begin, end = (header_end + (size - header_end) * at // ranks.size for at in (ranks.rank, ranks.rank + 1))
            marks = ranks.gather_json(_count(file, begin, end))
            if sum(marks) % 2:
                return None  # one of them is no quotation mark, but inches
            begin = _row_end(file, begin, sum(marks[: ranks.rank]) % 2) if begin > header_end else begin
        begins = [*ranks.gather_json(begin), size]
        return begin, begins[ranks.rank + 1]

    def count_rows(self, size: int, span: tuple[int, int]) -> int:
        """Return how many rows there are in a span, without making them."""
        return sum(_count_rows(piece, self) for piece in self.pieces(size, span))

    def rows(self, source: bytes | None = None) -> Iterator[list[str]]:
        """Yield the values of each row that is not blank, of the file or of a piece of it, as far as it is text."""
        with _open_source(self.path if source is None else source) as file:
            rows = csv.reader(file, delimiter=self.delimiter)
            try:
                next(rows)
                yield from (row for row in rows if row)
            except (UnicodeDecodeError, csv.Error):
                return  # polars' own message tells it

    def find_ragged_row(self, source: bytes | None = None, *, short_rows: bool, rows_before: int = 0) -> None:
        """Raise the DataError for the first row with more (or fewer) values than the header."""
        width = len(self.names)
        for row, values in enumerate(self.rows(source), start=rows_before + 1):
            if len(values) > width or (short_rows and len(values) < width):
                raise DataError(f"has {len(values)} values where the header has {width}", path=self.path, row=row)

    def even_rows(self, ragged: dict[int, str], source: bytes | None = None, *, rows_before: int = 0) -> bytes:
        """Return the text, of the file or of a piece of it, without its ragged lines, telling them in ``ragged``."""
        kept = io.StringIO()
        writer = csv.writer(kept, delimiter=self.delimiter)
        width = len(self.names)
        with _open_source(self.path if source is None else source, "replace") as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            try:
                for at, values in enumerate(filter(None, reader)):
                    if at and len(values) != width:
                        ragged[rows_before + at] = f"has {len(values)} values where the header has {width}"
                    elif at and any("\ufffd" in value for value in values):
                        ragged[rows_before + at] = "is not UTF-8 text"
                    else:
                        writer.writerow(values)
            except csv.Error as error:
                raise self.problem(error) from error
        return kept.getvalue().encode()

    def problem(self, error: Exception) -> DataError:
        """Return the error that says what polars found."""
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "utf-8" in text.lower():
            return DataError("is not UTF-8 text: save it as UTF-8", path=self.path)
        return DataError(f"is not a well-formed CSV: {text}", path=self.path)


def header(path: Path, errors: str = "strict") -> tuple[str, list[str]]:
    """Return the delimiter and the names of the columns."""
    try:
        with open_binary(path) as file:
            line = _read_header_line(file).decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text: save it as UTF-8", path=path) from error
    if not line.strip():
        raise DataError("is empty: expected a line of column names first", path=path)
    try:
        delimiter, names = _split_header(path, line)
    except csv.Error as error:
        raise DataError(f"the line of column names is no CSV: {error}", path=path) from error
    seen: set[str] = set()
    for position, name in enumerate(names, start=1):
        if not name.strip():
            raise DataError(f"the header gives column {position} no name", path=path)
        if name in seen:
            raise DataError("the header names this column twice", path=path, column=name)
        seen.add(name)
    return delimiter, names


def _split_header(path: Path, line: str) -> tuple[str, list[str]]:
    if path.with_suffix("").suffix.lower() == ".tsv" or path.suffix.lower() == ".tsv":
        delimiter = "\t"
    else:
        delimiter = max(_DELIMITERS, key=lambda mark: len(next(csv.reader(io.StringIO(line), delimiter=mark))))
    return delimiter, next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter))


def open_binary(path: Path) -> BinaryIO:
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    return cast(BinaryIO, opened(path, "rb"))


def open_text(path: Path, errors: str = "strict") -> TextIO:
    # The wrapper closes the file.
    return io.TextIOWrapper(open_binary(path), encoding="utf-8-sig", errors=errors, newline="")


def _open_bytes(source: Path | bytes) -> BinaryIO:
    return open_binary(source) if isinstance(source, Path) else io.BytesIO(source)


@contextmanager
def _open_source(source: Path | bytes, errors: str = "strict") -> Iterator[Iterable[str]]:
    if isinstance(source, Path):
        with open_text(source, errors) as file:
            yield file
    else:
        yield io.TextIOWrapper(io.BytesIO(source), encoding="utf-8", errors=errors, newline="")


def _read_header_line(file: BinaryIO) -> bytes:
    line = file.readline()
    # A quoted name may go on over the end of a line.
    while line.count(b'"') % 2 and (more := file.readline()):
        line += more
    return line


def _end_of_rows(text: bytes) -> int:
    """Return where the last row that is complete ends; 0 where none does."""
    end = text.rfind(b"\n") + 1
    odd = text.count(b'"', 0, end) % 2
    while end and odd:
        before = text.rfind(b"\n", 0, end - 1) + 1
        odd = (odd - text.count(b'"', before, end)) % 2
        end = before
    return end


def _count(file: BinaryIO, begin: int, end: int) -> int:
    """Return how many quotation marks the bytes from begin to end have."""
    file.seek(begin)
    found = 0
    while begin < end and (piece := file.read(min(PIECE_BYTES, end - begin))):
        found += piece.count(b'"')
        begin += len(piece)
    return found


def _row_end(file: BinaryIO, begin: int, odd: int) -> int:
    """Return where the row before begin ends, or the one that begin lies in; ``odd`` marks are before it."""
    file.seek(begin - 1)
    line = file.readline()
    odd = (odd + line.count(b'"', 1)) % 2
    while odd and (line := file.readline()):
        odd = (odd + line.count(b'"')) % 2
    return file.tell()


def _count_rows(piece: bytes, text: CsvText) -> int:
    if b'"' in piece:
        return sum(1 for _ in text.rows(piece))
    blank = piece.count(b"\n\n") + piece.count(b"\n\r\n")
    if blank:
        return sum(1 for line in piece.split(b"\n")[1:] if line.rstrip(b"\r"))
    return piece.count(b"\n") - piece.endswith(b"\n")
