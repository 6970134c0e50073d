"""Arrays at addresses that their dtype may not have are copied before a kernel sees them.

x86 forgives, other CPUs do not; what the kernels are given is checked where this runs under the sanitizers.
"""

from __future__ import annotations

import numpy as np
import pytest
from families import DTYPES

import crossent


def unaligned(array):
    """Return the same numbers, contiguous but one byte off: a file's contents behind a header look like that."""
    moved = np.ndarray(array.shape, array.dtype, bytearray(array.nbytes + 1), 1)
    moved[...] = array
    assert moved.flags.c_contiguous
    assert not moved.flags.aligned
    return moved


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (20, 1), (20, 10), (20, 60)])
def test_one_byte_off_gives_the_same_bits(level, dtype, shape, rng):
    z = rng.standard_normal(shape).astype(dtype)
    probs, weight, sample_weight = rng.random(shape).astype(dtype), rng.random(shape[1]), rng.random(shape[0])
    for target in (rng.integers(0, shape[1], shape[0]), probs):
        results = [
            crossent.cross_entropy_and_grad(
                *(form(z), form(target)),
                weight=form(weight),
                sample_weight=form(sample_weight),
                out=form(np.empty_like(z)),
            )
            for form in (np.array, unaligned)
        ]
        assert results[0].loss.tobytes() == results[1].loss.tobytes()
        assert results[0].grad.tobytes() == results[1].grad.tobytes()
