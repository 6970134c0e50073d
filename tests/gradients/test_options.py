"""Every combination of options: the gradient is the derivative of the loss, and both are the reference's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import crossent
from crossent import reference

ROWS, CLASSES = 5, 4
REDUCTIONS = [("none", None), ("sum", None), ("mean", None), ("mean", 3.5)]


def combinations():
    """Yield a name and how to build each combination's target and options."""
    switches = itertools.product((False, True), repeat=5)
    for weighted, sampled, smoothed, with_z_loss, ignored in switches:
        for truth in ("labels",) if ignored else ("labels", "distributions"):
            for reduction, normalizer in REDUCTIONS:
                on = {
                    "weight": weighted,
                    "sample_weight": sampled,
                    "smoothing": smoothed,
                    "z_loss": with_z_loss,
                    "ignored": ignored,
                }
                names = [truth, *(name for name, chosen in on.items() if chosen), reduction]
                name = "-".join(names + (["normalizer"] if normalizer else []))
                yield pytest.param((truth, on, reduction, normalizer), id=name)


@pytest.fixture
def case(request, rng):
    truth, on, reduction, normalizer = request.param
    logits = 2.0 * rng.standard_normal((ROWS, CLASSES))
    options = {"reduction": reduction}
    if normalizer is not None:
        options["normalizer"] = normalizer
    if truth == "labels":
        target = rng.integers(0, CLASSES, ROWS)
        if on["ignored"]:
            target[1:3] = 7
            options["ignore_index"] = 7
    else:
        # A mass other than 1, and an entry without truth.
        target = 1.5 * rng.dirichlet(np.ones(CLASSES), ROWS)
        target[0, 1] = 0.0
    if on["weight"]:
        options["weight"] = rng.random(CLASSES) + 0.2
    if on["sample_weight"]:
        options["sample_weight"] = rng.random(ROWS) + 0.2
    if on["smoothing"]:
        options["label_smoothing"] = 0.15
    if on["z_loss"]:
        options["z_loss"] = 0.03
    return logits, target, options


def differences(function, logits, step=1e-5):
    """Return the central differences of a scalar function of the logits."""
    grad = np.empty_like(logits)
    for index in np.ndindex(*logits.shape):
        up, down = logits.copy(), logits.copy()
        up[index] += step
        down[index] -= step
        grad[index] = (function(up) - function(down)) / (2 * step)
    return grad


@pytest.mark.parametrize("case", [*combinations()], indirect=True)
def test_the_reference_gradient_is_the_derivative_of_its_loss(case):
    logits, target, options = case

    def total(z):
        return np.sum(reference.cross_entropy(z, target, **options))

    grad = reference.cross_entropy_and_grad(logits, target, **options).grad
    np.testing.assert_allclose(grad, differences(total, logits), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("case", [*combinations()], indirect=True)
def test_the_gradient_is_the_derivative_of_the_loss(case):
    logits, target, options = case

    def total(z):
        return np.sum(crossent.cross_entropy(z, target, **options))

    grad = crossent.cross_entropy_and_grad(logits, target, **options).grad
    np.testing.assert_allclose(grad, differences(total, logits), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("case", [*combinations()], indirect=True)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_and_gradient_are_those_of_the_reference(level, case, dtype):
    logits, target, options = case
    logits = logits.astype(dtype)
    loss, grad = crossent.cross_entropy_and_grad(logits, target, **options)
    expected = reference.cross_entropy_and_grad(logits, target, **options)
    assert np.asarray(loss).dtype == grad.dtype == dtype
    assert np.shape(loss) == np.shape(expected.loss)
    # The truth may be rounded to the logits' dtype once: that is the largest of the errors.
    tolerance = 16 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, expected.loss, rtol=tolerance)
    np.testing.assert_allclose(grad, expected.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
@pytest.mark.parametrize("truth", ["labels", "distributions"])
def test_any_class_axis_gives_the_rows_of_the_last(axis, reduction, truth, rng):
    rows, classes = (3, 2), 4
    logits = rng.standard_normal((*rows, classes))
    target = rng.integers(0, classes, rows) if truth == "labels" else rng.dirichlet(np.ones(classes), rows)
    options = {"reduction": reduction, "weight": rng.random(classes), "sample_weight": rng.random(rows)}
    expected = reference.cross_entropy_and_grad(logits, target, **options)
    moved_target = target if truth == "labels" else np.moveaxis(target, -1, axis)
    got = crossent.cross_entropy_and_grad(np.moveaxis(logits, -1, axis), moved_target, axis=axis, **options)
    np.testing.assert_allclose(got.loss, expected.loss, rtol=1e-14)
    np.testing.assert_allclose(np.moveaxis(got.grad, axis, -1), expected.grad, rtol=1e-13, atol=1e-16)


def test_one_row_without_a_row_axis():
    loss, grad = crossent.cross_entropy_and_grad(np.array([1.0, 2.0, 3.0]), 2)
    assert np.shape(loss) == ()
    np.testing.assert_allclose(loss, np.log1p(np.exp(-1) + np.exp(-2)), rtol=1e-15)
    np.testing.assert_allclose(grad, reference.cross_entropy_and_grad([1.0, 2.0, 3.0], 2).grad, rtol=1e-14)
    assert np.shape(crossent.cross_entropy(np.array([1.0, 2.0]), 0, reduction="none")) == ()


def test_z_loss_pulls_the_log_sum_exp_to_zero():
    z = np.array([[0.5, -1.0, 2.0]])
    q, lse = reference.softmax(z), np.log(np.exp(z).sum())
    plain = crossent.cross_entropy_and_grad(z, [1])
    pulled = crossent.cross_entropy_and_grad(z, [1], z_loss=0.5)
    np.testing.assert_allclose(pulled.loss - plain.loss, 0.5 * lse**2, rtol=1e-14)
    np.testing.assert_allclose(pulled.grad - plain.grad, 2 * 0.5 * lse * q, rtol=1e-14)


def test_the_second_derivative_is_the_fisher_matrix():
    z, p = np.array([0.3, -1.2, 0.8]), np.array([0.2, 0.5, 0.8])
    q, step = reference.softmax(z), 1e-5
    hessian = [
        (crossent.cross_entropy_and_grad(z + step * e, p).grad - crossent.cross_entropy_and_grad(z - step * e, p).grad)
        / (2 * step)
        for e in np.eye(3)
    ]
    np.testing.assert_allclose(hessian, p.sum() * (np.diag(q) - np.outer(q, q)), atol=1e-9)
