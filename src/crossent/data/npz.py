"""Arrays out of an ``.npz`` file: nothing is unpickled, and nothing allocated that the file does not fill."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from crossent.errors import DataError

_CHARACTERS = 0x110000
# In the header before a member's bytes (PKWARE, ".ZIP File Format Specification", 4.3.7): its last two fields are the
# lengths of the name and of the extra field that follow.
_LENGTHS_AT, _ENCRYPTED = 26, 1


def read_npz(
    path: Path, names: tuple[str, ...], part: tuple[int, int] | None = None
) -> tuple[dict[str, NDArray[Any]], list[str], dict[str, int]]:
    """Return the arrays of some names, the names of all that the file has, and how long the arrays are in the file.

    Of the rows of the arrays ``part``, where given, takes one of so many equal parts: (k, n) the k-th of n.

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
            arrays, lengths = {}, {}
            for name in names:
                if name in found:
                    with _opened(archive, path, found[name], part) as file:
                        arrays[name], lengths[name] = _read_array(file, found[name].file_size, part)
        return arrays, list(found), lengths
    except (DataError, MemoryError):
        raise
    except Exception as error:
        # Of a damaged file zipfile, zlib and the parser of array headers raise a dozen kinds.
        line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise DataError(f"is not a readable .npz file: {line[:200]}", path=path) from error


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(npy.MAGIC_PREFIX))


def _opened(archive: zipfile.ZipFile, path: Path, member: zipfile.ZipInfo, part: object) -> BinaryIO:
    """Return a member of the archive to read; of a part of one that is not compressed the rest can be skipped."""
    if part is None or member.compress_type != zipfile.ZIP_STORED or member.flag_bits & _ENCRYPTED:
        return archive.open(member)  # type: ignore[return-value]
    file = path.open("rb")
    file.seek(member.header_offset + _LENGTHS_AT)
    name, extra = struct.unpack("<HH", file.read(4))
    file.seek(name + extra, 1)
    return file


def _read_array(file: BinaryIO, size: int, part: tuple[int, int] | None) -> tuple[NDArray[Any], int]:
    begin = file.tell()
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
    held = size - (file.tell() - begin)
    if expected != held or (0 in shape and max(shape) > size):
        raise ValueError(f"{held} bytes for an array of {expected}")
    length = shape[0] if shape else 0
    rows = slice(None)
    if part is not None and length:
        rows = slice(*(length * at // part[1] for at in (part[0], part[0] + 1)))
        if not is_fortran:
            # The rest of the file is not read, nor is its checksum compared.
            file.seek(expected // length * rows.start, 1)
            shape = (rows.stop - rows.start, *shape[1:])
            expected = expected // length * shape[0]
            rows = slice(None)
    array = np.frombuffer(bytearray(file.read(expected)), dtype).reshape(shape, order="F" if is_fortran else "C")
    if shape:
        array = array[rows]
    if dtype.kind == "U" and array.size and array.view(f"{dtype.byteorder}u4").max() >= _CHARACTERS:
        raise ValueError("text with characters that there are none of")
    return array, length
