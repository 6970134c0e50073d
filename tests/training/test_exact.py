"""The exact solver: the optimum that second-order solvers find, to the gradient that was asked for."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from crossent import reference
from crossent.training import Examples
from crossent.training.exact import ExactOptions, minimize_exactly

FORMS = {
    "float64": lambda x: x,
    "float32": lambda x: x.astype(np.float32),
    "Fortran order": np.asfortranarray,
    "CSR": sp.csr_matrix,
    "CSR float32": lambda x: sp.csr_array(x.astype(np.float32)),
}


def slopes(result, x, p, alpha, **weights):
    """Return the objective's slopes at the result, by the reference implementation."""
    weight, bias = result.weights[0].astype(np.float64), result.biases[0].astype(np.float64)
    grad = reference.cross_entropy_and_grad(x @ weight + bias, p, reduction="sum", **weights).grad
    mass = reference._truth(
        np.asarray(p),
        grad.shape[1],
        weights.get("weight"),
        weights.get("sample_weight"),
        weights.get("label_smoothing", 0.0),
        -100,
    ).probs.sum()
    return x.T @ grad / mass + alpha * weight, grad.sum(axis=0) / mass


@pytest.mark.parametrize("form", FORMS)
def test_the_optimum_is_that_of_a_second_order_solver(form):
    x, y = load_iris(return_X_y=True)
    alpha = 1e-3
    peer = LogisticRegression(C=1 / (alpha * len(x)), solver="newton-cholesky", tol=1e-13).fit(x, y)
    result = minimize_exactly(Examples(FORMS[form](x), 3, labels=y), ExactOptions(alpha, tol=1e-9))
    assert result.stop_reason == "tol"
    bias = result.biases[0] - result.biases[0].mean()
    np.testing.assert_allclose(result.weights[0].T, peer.coef_, atol=3e-6)
    np.testing.assert_allclose(bias, peer.intercept_ - peer.intercept_.mean(), atol=3e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("center", [True, False])
def test_the_gradient_asked_for_is_reached(form, center):
    x, y = load_digits(return_X_y=True)
    x /= 16
    result = minimize_exactly(Examples(FORMS[form](x), 10, labels=y), ExactOptions(1e-4, tol=1e-7, center=center))
    assert result.stop_reason == "tol"
    weight_slopes, bias_slopes = slopes(result, x, y, 1e-4)
    # Rounding float32's parameters moves the slopes by more than was asked for.
    tolerance = 1.01e-7 if result.weights[0].dtype == np.float64 else 1e-6
    moved = weight_slopes - np.outer(x.mean(axis=0), bias_slopes) if center else weight_slopes
    assert max(np.abs(moved).max(), np.abs(bias_slopes).max()) <= tolerance


OPTIONS = {
    "sample weights": {"sample_weight": True},
    "class weights": {"weight": True},
    "smoothing": {"label_smoothing": 0.2},
    "all": {"sample_weight": True, "weight": True, "label_smoothing": 0.1},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("form", ["float64", "CSR"])
def test_every_kind_of_truth_and_weight_has_its_own_optimum(options, soft, form, rng):
    x = rng.standard_normal((200, 5)) + 3.0
    x[rng.random(x.shape) < 0.3] = 0.0
    truth = rng.dirichlet(np.ones(3), 200) if soft else rng.integers(0, 3, 200)
    given = dict(OPTIONS[options])
    if "sample_weight" in given:
        given["sample_weight"] = np.where(rng.random(200) < 0.2, 0.0, rng.random(200))
    if "weight" in given:
        given["weight"] = np.array([0.5, 2.0, 1.0])
    examples = Examples(
        FORMS[form](x),
        3,
        labels=None if soft else truth,
        probs=truth if soft else None,
        sample_weight=given.get("sample_weight"),
        class_weight=given.get("weight"),
        label_smoothing=given.get("label_smoothing", 0.0),
    )
    result = minimize_exactly(examples, ExactOptions(1e-2, tol=1e-8))
    # A slope of the centred rows is within 1e-8; the features' mean, 2.1, multiplies the bias's into the others.
    for slope in slopes(result, x, truth, 1e-2, **given):
        assert np.abs(slope).max() < 4e-8


def test_features_far_from_zero_and_of_any_scale_are_no_hindrance():
    x, y = load_iris(return_X_y=True)
    plain = minimize_exactly(Examples(x, 3, labels=y), ExactOptions(0.0, tol=1e-7))
    scales = np.array([1e-2, 1.0, 1e2, 1e3])
    moved = minimize_exactly(Examples(x * scales + 10 * scales, 3, labels=y), ExactOptions(0.0, tol=1e-4))
    assert moved.loss_curve[-1] == pytest.approx(plain.loss_curve[-1], rel=1e-4)


def test_constant_repeated_and_empty_features_are_no_hindrance(rng):
    x = rng.standard_normal((100, 3))
    y = rng.integers(0, 2, 100)
    wide = np.column_stack([x, x, np.ones(100), np.zeros(100)])
    result = minimize_exactly(Examples(wide, 2, labels=y), ExactOptions(1e-3, tol=1e-9))
    assert result.stop_reason == "tol"
    np.testing.assert_allclose(result.weights[0][:3], result.weights[0][3:6], atol=1e-6)
    np.testing.assert_array_equal(result.weights[0][6:], 0)


def test_more_features_than_the_gram_matrix_is_for(rng):
    x = sp.random_array((300, 3000), density=0.02, rng=rng, format="csr")
    y = rng.integers(0, 4, 300)
    result = minimize_exactly(Examples(x, 4, labels=y), ExactOptions(1e-3, tol=1e-8))
    assert result.stop_reason == "tol"
    assert max(np.abs(s).max() for s in slopes(result, x, y, 1e-3)) < 2e-8


def test_sparse_rows_are_never_made_dense(rng, monkeypatch):
    x = sp.random_array((2000, 50_000), density=1e-4, rng=rng, format="csr")
    y = rng.integers(0, 3, 2000)
    import tracemalloc

    tracemalloc.start()
    minimize_exactly(Examples(x, 3, labels=y), ExactOptions(1e-3, tol=1e-5, max_iter=50))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2000 * 50_000 * 8 / 4


def test_a_run_continues_where_another_ended():
    x, y = load_digits(return_X_y=True)
    examples = Examples(x / 16, 10, labels=y)
    first = minimize_exactly(examples, ExactOptions(1e-4, tol=1e-6))
    again = minimize_exactly(examples, ExactOptions(1e-4, tol=1.01e-6), start=(first.weights[0], first.biases[0]))
    assert again.n_epochs == 0
    assert first.n_epochs > 10
    np.testing.assert_allclose(again.weights[0], first.weights[0], rtol=1e-9, atol=1e-12)


def test_an_early_end_is_told_with_the_slope_that_was_reached():
    x, y = load_digits(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match=r"after 5 iterations.* largest slope is .*tol = 1e-09 was asked for"):
        result = minimize_exactly(Examples(x / 16, 10, labels=y), ExactOptions(1e-4, tol=1e-9, max_iter=5))
    assert result.n_epochs == len(result.loss_curve) == 5
    assert result.gap.gradient_norm > 1e-9


def test_a_slope_below_rounding_is_told_to_be_out_of_reach():
    x, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="float64 tells no lower objective apart"):
        minimize_exactly(Examples(x, 3, labels=y), ExactOptions(1e-3, tol=1e-30))


def test_the_gap_is_a_lower_bound():
    x, y = load_digits(return_X_y=True)
    examples = Examples(x / 16, 10, labels=y)

    def value(result):
        return result.loss_curve[-1] + 0.5e-3 * (result.weights[0] ** 2).sum()

    least = value(minimize_exactly(examples, ExactOptions(1e-3, tol=1e-9)))
    for n in (1, 3, 10):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            part = minimize_exactly(examples, ExactOptions(1e-3, tol=1e-9, max_iter=n))
        assert 0 < part.gap.bound <= value(part) - least


def test_a_callback_sees_each_iteration_and_can_end_the_run():
    x, y = load_iris(return_X_y=True)
    seen = []

    def stop_at_three(event):
        seen.append(event)
        return event.epoch == 3

    result = minimize_exactly(Examples(x, 3, labels=y), ExactOptions(1e-3), callbacks=[stop_at_three])
    assert (result.stop_reason, result.n_epochs, [event.epoch for event in seen]) == ("callback", 3, [1, 2, 3])
    weights, biases = seen[-1].parameters()
    np.testing.assert_array_equal(weights[0], result.weights[0])
    np.testing.assert_array_equal(biases[0], result.biases[0])


def test_an_interrupt_keeps_what_was_reached():
    x, y = load_iris(return_X_y=True)

    def interrupt(event):
        if event.epoch == 4:
            raise KeyboardInterrupt

    result = minimize_exactly(Examples(x, 3, labels=y), ExactOptions(1e-3), callbacks=[interrupt])
    assert isinstance(result.interruption, KeyboardInterrupt)
    assert (result.stop_reason, result.n_epochs) == ("interrupt", 4)
    assert np.isfinite(result.weights[0]).all()


def test_bytes_are_scaled_as_they_are_read():
    x, y = load_digits(return_X_y=True)
    scaled = minimize_exactly(Examples(x / 16, 10, labels=y), ExactOptions(1e-3, tol=1e-7))
    given = minimize_exactly(
        Examples(x.astype(np.uint8), 10, labels=y, byte_scale=1 / 16), ExactOptions(1e-3, tol=1e-7)
    )
    np.testing.assert_allclose(given.weights[0] * 16, scaled.weights[0], atol=1e-4)
    start = (given.weights[0], given.biases[0])
    again = minimize_exactly(
        Examples(x.astype(np.uint8), 10, labels=y, byte_scale=1 / 16), ExactOptions(1e-3, tol=1e-5), start=start
    )
    assert again.n_epochs == 0


def test_sparse_soft_labels_are_their_dense_form(rng):
    x, p = rng.standard_normal((100, 4)).astype(np.float32), rng.dirichlet(np.ones(3), 100).astype(np.float32)
    p[p < 0.2] = 0.0
    p /= p.sum(axis=1, keepdims=True)
    dense, sparse = (
        minimize_exactly(Examples(x, 3, probs=form(p)), ExactOptions(1e-2, tol=1e-8))
        for form in (np.asarray, sp.csr_array)
    )
    np.testing.assert_allclose(sparse.weights[0], dense.weights[0], atol=1e-6)
