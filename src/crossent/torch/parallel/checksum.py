"""A few bits of a tensor's content, by which ranks notice that they do not hold the same."""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 20
_WORD = (1 << 64) - 1
_MIX = 0x9E3779B97F4A7C15
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def checksum(tensor: Tensor) -> int:
    """Return BITS bits of the tensor's bits, whatever its device and number of threads.

    Integers wrap around, so that the order of summing does not matter, as it would for floats.
    """
    if tensor.numel() == 0:
        return 0
    rows = tensor.detach().contiguous().reshape(tensor.shape[0] if tensor.ndim > 1 else 1, -1)
    # Eight bytes at a time where a row has whole ones: several times as fast.
    wide = rows.shape[1] * rows.itemsize % 8 == 0 and rows.storage_offset() * rows.itemsize % 8 == 0
    words = rows.view(torch.int64 if wide else _INTEGERS[rows.itemsize])
    by_row = words.sum(dim=1, dtype=torch.int64) if len(rows) > 1 else words.reshape(-1).to(torch.int64)
    place = torch.arange(len(by_row), device=by_row.device) * 2 + 1
    return ((int((by_row * place).sum()) & _WORD) * _MIX & _WORD) >> (64 - BITS)


def moments(value: int) -> list[int]:
    """Return what the ranks sum to learn whether they hold the same value."""
    return [value, value * value]


def differ(sums: list[float], size: int) -> bool:
    """Whether the values behind the summed moments differ: by Cauchy and Schwarz, the same answer on every rank."""
    first, second = (int(each) for each in sums)
    return size * second != first * first
