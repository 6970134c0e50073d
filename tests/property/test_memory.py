"""Where numbers lie, and who works on them, does not change a bit of the result."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import rows

from crossent import cross_entropy, cross_entropy_and_grad

ALL = tuple(map(np.dtype, (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)))


def same(a, b):
    return np.asarray(a).dtype == np.asarray(b).dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()


def layouts(array):
    """Yield the same numbers, each time in other memory."""
    yield "Fortran order", np.asfortranarray(array)
    wide = np.zeros((2 * array.shape[0], 3 * array.shape[1]), array.dtype)
    wide[::2, ::3] = array
    yield "strided", wide[::2, ::3]
    yield "padded rows", np.concatenate([array, array], axis=1)[:, : array.shape[1]]
    yield "reversed", np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1]
    frozen = array.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    record = np.zeros(array.shape, [("pad", "u1"), ("value", array.dtype)])
    record["value"] = array
    yield "unaligned", record["value"]


def options_of(r):
    n, classes = r.logits.shape
    return [
        ({}, r.label),
        ({}, r.probs),
        ({"label_smoothing": 0.1, "weight": r.rng.random(classes), "sample_weight": r.rng.random(n)}, r.label),
        ({"z_loss": 0.01, "sample_weight": r.rng.random(n)}, r.label),
        ({"z_loss": 0.01, "label_smoothing": 0.1}, r.probs),
    ]


@given(r=rows(dtypes=ALL), reduction=st.sampled_from(["none", "sum", "mean"]))
def test_layout_does_not_change_a_bit(level, r, reduction):
    for options, target in options_of(r):
        expected = cross_entropy_and_grad(r.logits, target, reduction=reduction, **options)
        for name, z in layouts(r.logits):
            loss, grad = cross_entropy_and_grad(z, target, reduction=reduction, **options)
            assert same(loss, expected.loss), name
            assert same(grad, expected.grad), name
            assert same(cross_entropy(z, target, reduction=reduction, **options), expected.loss), name
        if target.ndim == 2:
            for name, p in layouts(target):
                got = cross_entropy_and_grad(r.logits, p, reduction=reduction, **options)
                assert same(got.loss, expected.loss), name
                assert same(got.grad, expected.grad), name


@given(r=rows(dtypes=ALL))
def test_the_class_axis_does_not_change_a_bit(level, r):
    expected = cross_entropy_and_grad(r.logits, r.label)
    for z in (np.ascontiguousarray(r.logits.T), r.logits.T):
        loss, grad = cross_entropy_and_grad(z, r.label, axis=0)
        assert same(loss, expected.loss)
        assert same(grad.T, expected.grad)


@given(r=rows(dtypes=ALL))
def test_inputs_are_not_written(level, r):
    for options, target in options_of(r):
        copies = [x.copy() for x in (r.logits, target, *options.values()) if isinstance(x, np.ndarray)]
        cross_entropy_and_grad(r.logits, target, **options)
        after = [x for x in (r.logits, target, *options.values()) if isinstance(x, np.ndarray)]
        assert all(same(a, b) for a, b in zip(copies, after, strict=True))


@given(r=rows(dtypes=ALL), reduction=st.sampled_from(["none", "sum", "mean"]))
def test_out_holds_the_same_bits_as_a_fresh_gradient(level, r, reduction):
    for options, target in options_of(r):
        expected = cross_entropy_and_grad(r.logits, target, reduction=reduction, **options)
        fortran = np.asfortranarray(np.full_like(r.logits, 7))
        for out in (np.full_like(r.logits, 7), fortran, np.full((*r.logits.shape, 2), 7, r.logits.dtype)[..., 0]):
            loss, grad = cross_entropy_and_grad(r.logits, target, reduction=reduction, out=out, **options)
            assert grad is out
            assert same(loss, expected.loss)
            assert same(out, expected.grad)


@given(r=rows(dtypes=ALL), reduction=st.sampled_from(["none", "sum", "mean"]))
def test_out_may_be_the_logits(level, r, reduction):
    for options, target in options_of(r):
        expected = cross_entropy_and_grad(r.logits, target, reduction=reduction, **options)
        for name, z in [("contiguous", r.logits.copy()), *layouts(r.logits)]:
            if not z.flags.writeable:
                continue
            loss, grad = cross_entropy_and_grad(z, target, reduction=reduction, out=z, **options)
            assert grad is z
            assert same(loss, expected.loss), name
            assert same(z, expected.grad), name


@given(r=rows(dtypes=ALL), shift=st.integers(-3, 3))
def test_out_may_overlap_the_logits_in_any_way(level, r, shift):
    n, classes = r.logits.shape
    memory = np.zeros((n + 6) * classes + 8, r.logits.dtype)
    start = 3 * classes + 4
    z = memory[start : start + n * classes].reshape(n, classes)
    z[...] = r.logits
    out = memory[start + shift : start + shift + n * classes].reshape(n, classes)
    expected = cross_entropy_and_grad(r.logits, r.label)
    loss, grad = cross_entropy_and_grad(z, r.label, out=out)
    assert same(loss, expected.loss)
    assert same(grad, expected.grad)


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_out_may_be_the_distributions(level, dtype, rng):
    z, p = rng.standard_normal((6, 40)).astype(dtype), rng.random((6, 40)).astype(dtype)
    expected = cross_entropy_and_grad(z, p)
    loss, grad = cross_entropy_and_grad(z, p, out=p)
    assert grad is p
    assert same(loss, expected.loss)
    assert same(grad, expected.grad)


@pytest.mark.parametrize(
    "shape", [(1, 5), (7, 3), (1000, 2), (5001, 10), (3000, 17), (700, 100), (65, 3000), (3, 70_000)]
)
@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_the_number_of_threads_does_not_change_a_bit(level, shape, dtype, rng):
    z = (5 * rng.standard_normal(shape)).astype(dtype)
    label = rng.integers(0, shape[1], shape[0])
    label[::5] = -100
    p = rng.random(shape, dtype=np.float32).astype(dtype)
    weight, s = rng.random(shape[1]), rng.random(shape[0])
    for target, options in (
        (label, {}),
        (label, {"weight": weight, "sample_weight": s, "label_smoothing": 0.1}),
        (p, {"sample_weight": s}),
    ):
        for reduction in ("none", "mean"):
            one = cross_entropy_and_grad(z, target, reduction=reduction, n_threads=1, **options)
            for n_threads in (2, 3, 7):
                more = cross_entropy_and_grad(z, target, reduction=reduction, n_threads=n_threads, **options)
                assert same(more.loss, one.loss)
                assert same(more.grad, one.grad)
            alone = cross_entropy(z, target, reduction=reduction, n_threads=3, **options)
            assert same(alone, one.loss)


@given(r=rows(dtypes=ALL))
def test_a_row_has_the_same_bits_among_any_others(level, r):
    loss, grad = cross_entropy_and_grad(r.logits, r.label, reduction="none")
    for i in range(len(r.label)):
        alone = cross_entropy_and_grad(r.logits[i], r.label[i], reduction="none")
        assert same(alone.loss, loss[i])
        assert same(alone.grad, grad[i])


@given(r=rows(dtypes=(np.dtype(np.float32), np.dtype(np.float64))))
def test_byte_order_does_not_change_a_bit(level, r):
    swapped_type = r.logits.dtype.newbyteorder()
    shares = np.linspace(0.0, 1.0, r.logits.size, dtype=r.logits.dtype).reshape(r.logits.shape)
    for target, swapped in ((r.label, r.label.astype(">i4")), (shares, shares.astype(swapped_type))):
        expected = cross_entropy_and_grad(r.logits, target)
        loss, grad = cross_entropy_and_grad(r.logits.astype(swapped_type), swapped)
        assert same(loss, expected.loss)
        assert same(np.asarray(grad).astype(r.logits.dtype), expected.grad)
