"""What an error says: the argument, the value it had, and what was expected."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_LONGEST = 4000  # characters of a message


def invalid_value(argument: str, value: object, expected: str) -> ValueError:
    """Return (to raise) the error for a value that no call accepts.

    >>> raise invalid_value("label_smoothing", 1.5, "a number in [0, 1]")
    Traceback (most recent call last):
    ValueError: label_smoothing = 1.5: expected a number in [0, 1]
    """
    return ValueError(f"{argument} = {value!r}: expected {expected}")


def invalid_type(argument: str, value: object, expected: str) -> TypeError:
    """Return (to raise) the error for an argument of the wrong type."""
    return TypeError(f"{argument} is a {type(value).__name__}: expected {expected}")


def invalid_choice(argument: str, value: object, choices: Iterable[object]) -> ValueError:
    """Return (to raise) the error for a value that is not one of a few."""
    return invalid_value(argument, value, "one of " + ", ".join(repr(choice) for choice in choices))


class DataError(ValueError):
    """A table, model or other file that cannot be used; the message says where: file, column, row.

    Parameters
    ----------
    problem : str
        What is wrong, with the value where there is one.
    path : path-like, optional
    column : str, optional
    row : int, optional
        Counted from 1, the header not included.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | Path | None = None,
        column: str | None = None,
        row: int | None = None,
    ) -> None:
        where = [str(path)] if path is not None else []
        if column is not None:
            where.append(f"column {column!r}")
        if row is not None:
            where.append(f"row {row}")
        self.problem, self.path, self.column, self.row = problem, path, column, row
        told = f"{', '.join(where)}: {problem}" if where else problem
        # What it quotes may be of any length.
        super().__init__(told if len(told) <= _LONGEST else f"{told[: _LONGEST // 2]} … {told[-_LONGEST // 2 :]}")
