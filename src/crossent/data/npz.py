"""Arrays out of an ``.npz`` file: nothing is unpickled, and nothing allocated that the file does not fill."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from crossent.errors import DataError

_CHARACTERS = 0x110000


def read_npz(path: Path, names: tuple[str, ...]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the arrays of some names, and the names of all that the file has.

    Raises
    ------
    DataError
        It is no ``.npz`` file, or one of these arrays is damaged or holds Python objects.
    """
    try:
        if _start(path) == npy.MAGIC_PREFIX:
            raise DataError("is a single array: expected an .npz with the arrays X and y", path=path)
        with zipfile.ZipFile(path) as archive:
            found = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            arrays = {}
            for name in names:
                if name in found:
                    with archive.open(found[name]) as file:
                        arrays[name] = _read_array(file, found[name].file_size)  # type: ignore[arg-type]
        return arrays, list(found)
    except (DataError, MemoryError):
        raise
    except Exception as error:
        # Of a damaged file zipfile, zlib and the parser of array headers raise a dozen kinds.
        line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise DataError(f"is not a readable .npz file: {line[:200]}", path=path) from error


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(npy.MAGIC_PREFIX))


def _read_array(file: BinaryIO, size: int) -> NDArray[Any]:
    version = npy.read_magic(file)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read_header is None:
        raise ValueError(f"an array of format version {version}: expected 1.0 or 2.0")
    shape, is_fortran, dtype = read_header(file)
    if dtype.hasobject:
        raise DataError("holds Python objects, which are never unpickled", path=getattr(file, "name", None))
    expected = dtype.itemsize
    for length in shape:
        if not 0 <= length < 2**62:
            raise ValueError(f"an array of shape {shape}")
        expected *= length
    if expected != size - file.tell() or (0 in shape and max(shape) > size):
        raise ValueError(f"{size - file.tell()} bytes for an array of {expected}")
    array = np.frombuffer(bytearray(file.read(expected)), dtype).reshape(shape, order="F" if is_fortran else "C")
    if dtype.kind == "U" and array.size and array.view(f"{dtype.byteorder}u4").max() >= _CHARACTERS:
        raise ValueError("text with characters that there are none of")
    return array
