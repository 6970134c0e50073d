"""Whatever hands over its memory: DLPack, the buffer protocol, sequences."""

from __future__ import annotations

import array

import ml_dtypes
import numpy as np
import pytest

import crossent

Z, Y = [[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]], [2, 0]


def same(a, b):
    return a.loss == b.loss and np.array_equal(a.grad, b.grad)


def test_sequences_and_buffers_are_arrays():
    expected = crossent.cross_entropy_and_grad(np.array(Z), np.array(Y))
    assert same(crossent.cross_entropy_and_grad(Z, Y), expected)
    assert same(crossent.cross_entropy_and_grad(memoryview(np.array(Z)), array.array("q", Y)), expected)
    one = crossent.cross_entropy_and_grad(array.array("f", Z[0]), 2)
    assert one.grad.dtype == np.float32


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_tensors_come_through_dlpack(name):
    torch = pytest.importorskip("torch")
    z = torch.tensor(Z, dtype=getattr(torch, name))
    dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    expected = crossent.cross_entropy_and_grad(np.array(Z, dtype), np.array(Y))
    got = crossent.cross_entropy_and_grad(z, torch.tensor(Y))
    assert isinstance(got.grad, np.ndarray)
    assert got.grad.dtype == dtype
    assert same(got, expected)
    strided = torch.tensor(Z, dtype=getattr(torch, name)).T.contiguous().T
    assert same(crossent.cross_entropy_and_grad(strided, torch.tensor(Y, dtype=torch.int32)), expected)


def test_a_tensor_that_requires_grad_is_refused_or_read():
    torch = pytest.importorskip("torch")
    z = torch.tensor(Z, requires_grad=True)
    with pytest.raises(TypeError, match="logits is a Tensor"):
        crossent.cross_entropy(z, torch.tensor(Y))
