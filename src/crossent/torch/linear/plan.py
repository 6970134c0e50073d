"""How many rows a chunk has, from a budget of bytes."""

from __future__ import annotations

from crossent.head.memory import bytes_of
from crossent.torch.linear.call import HeadCall


def rows_of_chunk(call: HeadCall) -> int:
    """Return how many rows have their logits, and what is made of them, within the budget; at least one."""
    if call.chunk_rows is not None:
        return call.chunk_rows
    size = call.compute_dtype.itemsize
    # The gradient takes the logits' place; 16-bit products want a copy of it.
    each = size + (call.x.itemsize if call.x.itemsize == 2 else 0)
    each += size * (call.softcap is not None) + size * (call.indices is not None)
    fit = bytes_of("max_memory", call.max_memory) // (each * call.linear_weight.shape[0])
    return max(1, min(fit, call.x.shape[0]))
