"""How many rows a chunk has, from a budget of bytes."""

from __future__ import annotations

import re

from crossent.errors import invalid_value
from crossent.torch.linear.call import HeadCall

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def byte_count(max_memory: int | str) -> int:
    """Return a budget as a number of bytes."""
    if isinstance(max_memory, int) and not isinstance(max_memory, bool) and max_memory > 0:
        return max_memory
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-zA-Z]*)\s*", str(max_memory))
    if match is None or match[2].upper() not in _UNITS or not float(match[1]) > 0:
        raise invalid_value("max_memory", max_memory, 'a number of bytes, or a size like "64MiB"')
    return int(float(match[1]) * _UNITS[match[2].upper()])


def rows_of_chunk(call: HeadCall) -> int:
    """Return how many rows have their logits, and what is made of them, within the budget; at least one."""
    if call.chunk_rows is not None:
        return call.chunk_rows
    size = call.compute_dtype.itemsize
    # The gradient takes the logits' place; 16-bit products want a copy of it.
    each = size + (call.x.itemsize if call.x.itemsize == 2 else 0)
    each += size * (call.softcap is not None) + size * (call.indices is not None)
    return max(1, min(byte_count(call.max_memory) // (each * call.linear_weight.shape[0]), max(call.x.shape[0], 1)))
