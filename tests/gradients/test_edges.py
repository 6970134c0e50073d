"""Infinite and missing logits, rows without truth, and what an empty average is."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import crossent
from crossent import reference

INF, NAN = np.inf, np.nan
E = 0.2689414213699951  # softmax of (1, 2) at 1

# logits, label, loss, gradient
ROWS = {
    "another class at -inf": ([1, -INF, 2], 0, 1.3132616875182228, [E - 1, 0, 1 - E]),
    "the target at -inf": ([1, -INF, 2], 1, INF, [E, -1, 1 - E]),
    "the only class left is the target": ([-INF, 3, -INF], 1, 0, [0, 0, 0]),
    "the only class left is another": ([-INF, 3, -INF], 0, INF, [-1, 1, 0]),
    "every logit -inf": ([-INF, -INF, -INF], 0, NAN, [NAN, NAN, NAN]),
    "+inf at the target": ([0, INF, 1], 1, 0, [0, 0, 0]),
    "+inf elsewhere": ([0, INF, 1], 0, INF, [-1, 1, 0]),
    "+inf at the target, -inf elsewhere": ([-INF, INF, -INF], 1, 0, [0, 0, 0]),
    "+inf elsewhere, the target at -inf": ([-INF, INF, 0], 0, INF, [-1, 1, 0]),
    "+inf twice": ([INF, INF, 0], 0, NAN, [NAN, NAN, NAN]),
    "NaN": ([0, NAN, 0], 0, NAN, [NAN, NAN, NAN]),
    "NaN at the target": ([0, NAN, 0], 1, NAN, [NAN, NAN, NAN]),
    "NaN beside +inf": ([INF, NAN, 0], 0, NAN, [NAN, NAN, NAN]),
    "NaN beside -inf": ([-INF, NAN, 0], 0, NAN, [NAN, NAN, NAN]),
    "one class": ([4], 0, 0, [0]),
}
DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]


def check(loss, grad, expected_loss, expected_grad, dtype=np.float64):
    rtol = 4 * float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(loss, float), expected_loss, rtol=rtol)
    np.testing.assert_allclose(np.asarray(grad, float), expected_grad, rtol=rtol, atol=0)


@pytest.mark.parametrize("name", ROWS)
def test_the_reference_takes_every_limit(name):
    z, y, loss, grad = ROWS[name]
    check(*reference.cross_entropy_and_grad(np.array(z, float), y), loss, grad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("padding", [0, 40])
def test_every_limit_is_taken(level, name, dtype, padding):
    """Alone and in a long row, so that both the vectorised part of a row and its rest meet the value."""
    z, y, loss, grad = ROWS[name]
    z = np.array([*z, *[-INF] * padding], dtype)
    grad = np.array([*grad, *[NAN if np.isnan(loss) else 0] * padding])
    check(*crossent.cross_entropy_and_grad(z, y), loss, grad, dtype)
    check(*crossent.cross_entropy_and_grad(z[::-1], len(z) - 1 - y), loss, grad[::-1], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in ROWS if name != "one class"])
def test_a_one_hot_distribution_takes_the_limits_of_its_label(level, name, dtype):
    z, y, loss, grad = ROWS[name]
    p = np.eye(len(z), dtype=dtype)[y]
    check(*crossent.cross_entropy_and_grad(np.array(z, dtype), p), loss, grad, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_strange_row_leaves_its_neighbours_alone(level, dtype, rng):
    z = rng.standard_normal((9, 3)).astype(dtype)
    y = rng.integers(0, 3, 9)
    alone = crossent.cross_entropy_and_grad(z, y, reduction="none")
    for name, (row, label, _, _) in ROWS.items():
        if len(row) != 3:
            continue
        z_with, y_with = z.copy(), y.copy()
        z_with[4], y_with[4] = row, label
        loss, grad = crossent.cross_entropy_and_grad(z_with, y_with, reduction="none")
        others = np.arange(9) != 4
        assert np.array_equal(loss[others], alone.loss[others]), name
        assert np.array_equal(grad[others], alone.grad[others]), name


@pytest.mark.parametrize("value", [NAN, INF, -INF, 3.0])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_ignored_row_is_zero_whatever_its_logits(level, value, reduction, smoothing, rng):
    z = rng.standard_normal((4, 5))
    z[1] = value
    y = np.array([0, -100, 3, 4])
    loss, grad = crossent.cross_entropy_and_grad(z, y, reduction=reduction, label_smoothing=smoothing, z_loss=0.1)
    assert np.isfinite(loss).all()
    assert np.array_equal(grad[1], np.zeros(5))
    if reduction == "none":
        assert loss[1] == 0.0


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_nothing_kept_is_zero(level, reduction, rng):
    z = rng.standard_normal((4, 5))
    loss, grad = crossent.cross_entropy_and_grad(z, np.full(4, -100), reduction=reduction)
    assert np.all(loss == 0.0)
    assert np.array_equal(grad, np.zeros((4, 5)))


@pytest.mark.parametrize("truth", ["labels", "distributions"])
def test_no_rows_have_loss_zero(level, truth):
    z = np.empty((0, 3), np.float32)
    target = np.empty(0, np.int64) if truth == "labels" else np.empty((0, 3), np.float32)
    assert crossent.cross_entropy(z, target, reduction="sum") == 0.0
    assert crossent.cross_entropy(z, target, reduction="mean") == 0.0
    assert crossent.cross_entropy(z, target, reduction="none").shape == (0,)
    assert crossent.cross_entropy_and_grad(z, target).grad.shape == (0, 3)


@pytest.mark.parametrize("kind", ["class weight", "sample weight", "distribution"])
def test_a_row_without_truth_is_zero(level, kind):
    z = np.array([[1.0, -INF, 2.0], [0.0, 1.0, 2.0]])
    target, options = np.array([1, 2]), {}
    if kind == "class weight":
        options["weight"] = np.array([1.0, 0.0, 1.0])
    elif kind == "sample weight":
        options["sample_weight"] = np.array([0.0, 1.0])
    else:
        target = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    loss, grad = crossent.cross_entropy_and_grad(z, target, reduction="none", **options)
    assert loss[0] == 0.0
    assert np.array_equal(grad[0], np.zeros(3))
    assert loss[1] > 0.0


def test_smoothing_spreads_truth_over_masked_classes_too(level):
    z = np.array([1.0, -INF, 2.0])
    loss, grad = crossent.cross_entropy_and_grad(z, 0, label_smoothing=0.3)
    assert loss == INF
    np.testing.assert_allclose(grad, [E - 0.8, -0.1, 1 - E - 0.1], rtol=1e-14)


def test_a_distribution_leaves_masked_classes_alone(level):
    z, p = np.array([1.0, -INF, 2.0]), np.array([0.5, 0.0, 0.5])
    loss, grad = crossent.cross_entropy_and_grad(z, p)
    np.testing.assert_allclose(loss, np.log(np.exp(1) + np.exp(2)) - 1.5, rtol=1e-14)
    np.testing.assert_allclose(grad, [E - 0.5, 0.0, 0.5 - E], rtol=1e-14)


@pytest.mark.parametrize("integer", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_labels_may_have_any_integer_dtype(level, integer, rng):
    z, y = rng.standard_normal((20, 7)), rng.integers(0, 7, 20)
    expected = crossent.cross_entropy_and_grad(z, y)
    loss, grad = crossent.cross_entropy_and_grad(z, y.astype(integer))
    assert loss == expected.loss
    assert np.array_equal(grad, expected.grad)


def test_an_unsigned_label_is_not_mistaken_for_the_ignored_one():
    z = np.zeros((1, 200), np.float32)
    label = np.array([156], np.uint8)  # -100 modulo 256
    assert crossent.cross_entropy(z, label) == pytest.approx(np.log(200), rel=1e-6)


@pytest.mark.parametrize("index", [-1, 0, 2, 255, -(2**40), 2**40])
def test_any_integer_may_be_the_ignored_label(index):
    z = np.array([[0.0, 1.0, 3.0], [1.0, 0.0, 0.0]])
    target = np.array([index, 1])
    loss = crossent.cross_entropy(z, target, ignore_index=index)
    assert loss == crossent.cross_entropy(z[1:], target[1:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_have_the_dtype_of_the_logits(level, dtype):
    z, y = np.zeros((2, 3), dtype), np.array([0, 1])
    for reduction in ("none", "sum", "mean"):
        loss, grad = crossent.cross_entropy_and_grad(z, y, reduction=reduction)
        assert np.asarray(loss).dtype == grad.dtype == dtype
        assert np.shape(loss) == ((2,) if reduction == "none" else ())
        assert np.asarray(crossent.cross_entropy(z, y, reduction=reduction)).dtype == dtype
