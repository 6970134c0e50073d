"""JSON and tensors of a file that may have been cut off, altered, or made by somebody to do harm."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from crossent.errors import DataError

# What a value of the right form and the wrong content can raise where it is used.
MISFITS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


def read_json(path: Path, problem: str = "is no JSON: cut off or altered") -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises
    ------
    DataError
        The file is missing, no JSON, nested deeper than Python can read, holds no object, or text that is none.
    """
    try:
        data = read_bytes(path)
        document = json.loads(data.decode())
        if b"\\ud" in data.lower():
            json.dumps(document, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{problem} ({error})", path=path) from error
    if not isinstance(document, dict):
        raise DataError(f"{problem}: expected an object", path=path)
    return document


def read_bytes(path: Path) -> bytes:
    """Return what is in a file, or raise the DataError for one that is missing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("is missing", path=path) from None


def parse_tensors(data: bytes, path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors of a safetensors file.

    Raises
    ------
    DataError
        It is none, or has a type that NumPy lacks.
    """
    try:
        return load(data)
    except (SafetensorError, *MISFITS) as error:
        raise DataError(f"is no safetensors file ({error})", path=path) from error


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def alike(value: Any, like: Any) -> bool:
    """Whether a value read from JSON is of the kind of another: a count for a count, a number for a number."""
    if like is None:
        return value is None or isinstance(value, str) or _is_number(value)
    if isinstance(like, float):
        return _is_number(value)
    if isinstance(like, bool) or not isinstance(like, int):
        return isinstance(value, type(like))
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return value == value if isinstance(value, float) else abs(value) < 2**63
