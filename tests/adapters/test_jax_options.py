"""The options mean what they mean in crossent.cross_entropy; what takes no part contributes exactly nothing."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from jax import numpy as jnp  # noqa: E402

import crossent  # noqa: E402
from crossent.jax import (  # noqa: E402
    cross_entropy,
    safe_softmax_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)

OPTIONS = (
    {},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"weight": True},
    {"sample_weight": True},
    {"label_smoothing": 0.1},
    {"z_loss": 1e-2},
    {"normalizer": 11.0},
    {"weight": True, "sample_weight": True, "label_smoothing": 0.2, "z_loss": 1e-2},
    {"weight": True, "z_loss": 1e-2, "reduction": "none"},
)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("axis", [-1, 1])
def test_the_same_numbers_as_the_kernels(axis, soft, options, rng):
    shape = (6, 5, 4)
    z = 4 * rng.standard_normal(shape)
    rows = shape[:axis] + shape[axis + 1 :] if axis > 0 else shape[:-1]
    if soft:
        target = rng.dirichlet(np.ones(shape[axis]), rows)
        target = np.moveaxis(target, -1, axis)
    else:
        target = np.where(rng.random(rows) < 0.2, -100, rng.integers(0, shape[axis], rows))
    options = dict(options)
    if "weight" in options:
        options["weight"] = np.where(np.arange(shape[axis]) == 1, 0.0, rng.random(shape[axis]))
    if "sample_weight" in options:
        options["sample_weight"] = np.where(rng.random(rows) < 0.2, 0.0, rng.random(rows))
    expected = crossent.cross_entropy_and_grad(z, target, axis=axis, **options)
    with jax.enable_x64(True):
        loss = cross_entropy(z, target, axis=axis, **options)
        grad = jax.jit(jax.grad(lambda z: cross_entropy(z, target, axis=axis, **options).sum()))(z)
    np.testing.assert_allclose(loss, expected.loss, rtol=1e-14)
    np.testing.assert_allclose(grad, expected.grad, rtol=1e-13, atol=1e-16)


def test_rows_that_take_no_part_contribute_exactly_nothing():
    z = jnp.array([[jnp.nan, 0.0], [jnp.inf, jnp.inf], [-jnp.inf, -jnp.inf], [3.0, 1.0]])
    y, weights = jnp.array([-100, 0, -100, 0]), jnp.array([1.0, 0.0, 1.0, 1.0])
    loss, grad = jax.jit(jax.value_and_grad(lambda z: cross_entropy(z, y, sample_weight=weights)))(z)
    alone = jax.value_and_grad(lambda z: cross_entropy(z, jnp.array([0])))(z[3:])
    assert loss == alone[0]
    assert not grad[:3].any()
    np.testing.assert_array_equal(grad[3:], alone[1])


def test_masked_classes_without_truth_cost_nothing():
    z = jnp.array([[0.5, -jnp.inf, 1.0]])
    for loss in (softmax_cross_entropy, safe_softmax_cross_entropy):
        value, grads = jax.value_and_grad(lambda z, p, loss=loss: loss(z, p)[0], argnums=(0, 1))(
            z, jnp.array([[0.3, 0, 0.7]])
        )
        kept = crossent.cross_entropy_and_grad(np.array([0.5, 1.0], np.float32), np.array([0.3, 0.7], np.float32))
        np.testing.assert_allclose(value, kept.loss, rtol=1e-6)
        np.testing.assert_allclose(grads[0][0, [0, 2]], kept.grad, rtol=1e-5)
        assert grads[0][0, 1] == 0
        assert np.isfinite(grads[1]).all()
    assert cross_entropy(z, jnp.array([1])) == jnp.inf
    assert np.isfinite(jax.grad(lambda z: cross_entropy(z, jnp.array([1])))(z)).all()


def test_a_mean_of_nothing_is_zero():
    loss, grad = jax.value_and_grad(lambda z: cross_entropy(z, jnp.array([-100, -100])))(jnp.ones((2, 3)))
    assert loss == 0
    assert not grad.any()
    assert cross_entropy(jnp.ones((0, 3)), jnp.zeros(0, int)) == 0


def test_labels_out_of_range_are_an_error_or_under_jit_nan():
    z, y = jnp.zeros((3, 4)), jnp.array([0, 4, -1])
    for loss in (cross_entropy, softmax_cross_entropy_with_integer_labels):
        with pytest.raises(ValueError, match=r"target\[1\] = 4 is outside \[0, 4\)"):
            loss(z, y)
    each = jax.jit(lambda z, y: cross_entropy(z, y, reduction="none"))(z, y)
    np.testing.assert_array_equal(np.isnan(each), [False, True, True])
    np.testing.assert_array_equal(np.isnan(jax.jit(softmax_cross_entropy_with_integer_labels)(z, y)), [0, 1, 1])
    grad = jax.jit(jax.grad(lambda z, y: cross_entropy(z, y, reduction="sum")))(z, y)
    np.testing.assert_array_equal(np.isnan(grad).any(axis=1), [False, True, True])


Z, Y = np.zeros((2, 3), np.float32), np.array([0, 2])
MISTAKES = {
    "integer logits": ((np.zeros((2, 3), int), Y, {}), TypeError, "logits has dtype"),
    "no class": ((np.zeros((2, 0)), Y, {}), ValueError, "at least one class"),
    "no axis": ((np.float32(1), Y, {}), ValueError, "at least a class axis"),
    "axis out of range": ((Z, Y, {"axis": 2}), ValueError, "axis = 2"),
    "an axis that is no integer": ((Z, Y, {"axis": 0.5}), TypeError, "axis is a float"),
    "labels of another shape": ((Z, np.zeros(3, int), {}), ValueError, "target has shape"),
    "distributions of another shape": ((Z, np.zeros((2, 2)), {}), ValueError, "target has shape"),
    "boolean labels": ((Z, np.array([True, False]), {}), TypeError, "target has dtype"),
    "a negative distribution": ((Z, np.full((2, 3), -1.0), {}), ValueError, "target"),
    "a distribution with an ignored label": ((Z, np.ones((2, 3)), {"ignore_index": 0}), ValueError, "ignore_index"),
    "negative weights": ((Z, Y, {"weight": [1.0, -1.0, 1.0]}), ValueError, r"weight\[1\] = -1.0"),
    "too few weights": ((Z, Y, {"weight": [1.0]}), ValueError, "weight has shape"),
    "weights that are complex": ((Z, Y, {"weight": [1j, 0, 0]}), TypeError, "weight has dtype"),
    "NaN sample weights": ((Z, Y, {"sample_weight": [1.0, np.nan]}), ValueError, "sample_weight"),
    "smoothing above 1": ((Z, Y, {"label_smoothing": 1.5}), ValueError, "label_smoothing = 1.5"),
    "smoothing in words": ((Z, Y, {"label_smoothing": "much"}), TypeError, "label_smoothing is a str"),
    "a negative z-loss": ((Z, Y, {"z_loss": -1.0}), ValueError, "z_loss = -1.0"),
    "a normalizer of 0": ((Z, Y, {"normalizer": 0.0}), ValueError, "normalizer = 0.0"),
    "a normalizer of a sum": ((Z, Y, {"normalizer": 2.0, "reduction": "sum"}), ValueError, "normalizer"),
    "no such reduction": ((Z, Y, {"reduction": "average"}), ValueError, "reduction = 'average'"),
    "an ignored label that is no integer": ((Z, Y, {"ignore_index": 0.5}), TypeError, "ignore_index"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    (logits, target, options), error, message = MISTAKES[name]
    with pytest.raises(error, match=message):
        cross_entropy(logits, target, **options)


def test_mistakes_in_optaxs_signatures_are_named():
    with pytest.raises(TypeError, match="labels has dtype float32"):
        softmax_cross_entropy_with_integer_labels(Z, np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="axis 3 is out of bounds"):
        softmax_cross_entropy(Z, Z, axis=3)
    with pytest.raises(ValueError, match="axis = None"):
        softmax_cross_entropy_with_integer_labels(Z, Y, axis=None)
    with pytest.raises(TypeError, match="logits has dtype int32"):
        softmax_cross_entropy(np.zeros((2, 3), np.int32), Z)


def test_sixteen_bits_are_rounded_once(rng):
    for dtype in (jnp.bfloat16, jnp.float16):
        z = jnp.asarray(4 * rng.standard_normal((50, 20)), dtype)
        y = jnp.asarray(rng.integers(0, 20, 50))
        loss, grad = jax.value_and_grad(cross_entropy)(z, y)
        wide_loss, wide = jax.value_and_grad(cross_entropy)(z.astype(jnp.float32), y)
        assert loss.dtype == grad.dtype == dtype
        assert loss == wide_loss.astype(dtype)
        np.testing.assert_allclose(grad.astype(jnp.float32), wide.astype(dtype).astype(jnp.float32), rtol=1e-2)


def test_classes_that_where_leaves_out_take_no_part(rng):
    z, y = jnp.asarray(rng.standard_normal((4, 5)), jnp.float32), jnp.array([0, 1, 2, 0])
    where = jnp.array([[True, True, True, False, False]] * 3 + [[False] * 5])
    p = jax.nn.one_hot(y, 5)
    kept = softmax_cross_entropy_with_integer_labels(z[:3, :3], y[:3])
    for got in (
        softmax_cross_entropy_with_integer_labels(z, y, where=where),
        softmax_cross_entropy(z, p, where=where),
        softmax_cross_entropy(z.T, p.T, axis=0, where=where.T),
    ):
        np.testing.assert_allclose(got[:3], kept, rtol=1e-6)
        assert got[3] == 0
    assert softmax_cross_entropy_with_integer_labels(z, jnp.full(4, 4), where=where)[0] == jnp.inf
    grad = jax.grad(lambda z: softmax_cross_entropy_with_integer_labels(z, y, where=where).sum())(z)
    assert not grad[:, 3:].any()
    assert not grad[3].any()


def test_optaxs_signatures_sum_over_no_class_as_optax_does():
    none = jnp.zeros((3, 0), jnp.float32)
    assert softmax_cross_entropy(none, none).tolist() == [0, 0, 0]
    loss, grad = jax.value_and_grad(lambda z: softmax_cross_entropy(z, none).sum())(none)
    assert loss == 0
    assert grad.shape == (3, 0)
