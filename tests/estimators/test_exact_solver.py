"""``solver="exact"`` in the estimator: scikit-learn's optimum, its conventions, and what the solver refuses."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from crossent.estimators import SoftmaxClassifier
from crossent.estimators.model_files import load_model, save_model


# The checks ask for the same predictions to nine digits, however the rows are ordered: an objective of which the
# minimum is that sharp.
@pytest.mark.filterwarnings("ignore:The exact solver ended:sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([SoftmaxClassifier(solver="exact", alpha=1.0, tol=1e-11)])
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


def test_the_model_is_logistic_regressions():
    x, y = load_digits(return_X_y=True)
    x /= 16
    alpha = 1e-3
    peer = LogisticRegression(C=1 / (alpha * len(x)), solver="newton-cg", tol=1e-9).fit(x, y)
    model = SoftmaxClassifier(alpha=alpha, solver="exact", tol=1e-8).fit(x, y)
    np.testing.assert_allclose(model.predict_proba(x), peer.predict_proba(x), atol=1e-5)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-4)
    assert model.objective_gap_ < 1e-12


def test_weights_of_rows_and_classes_are_logistic_regressions(rng):
    x, y = load_iris(return_X_y=True)
    weight = rng.random(len(x))
    balanced = {0: 1.0, 1: 3.0, 2: 0.5}
    alpha = 1e-2
    total = (weight * np.array([balanced[label] for label in y])).sum()
    peer = LogisticRegression(C=1 / (alpha * total), class_weight=balanced, tol=1e-10, max_iter=5000)
    model = SoftmaxClassifier(alpha=alpha, solver="exact", class_weight=balanced, tol=1e-8)
    ours, theirs = (m.fit(x, y, sample_weight=weight).predict_proba(x) for m in (model, peer))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_soft_labels_and_two_classes(rng):
    x = rng.standard_normal((50, 2))
    q = 1 / (1 + np.exp(-(x @ [1.0, -2.0] + 0.5)))
    model = SoftmaxClassifier(alpha=0, solver="exact", tol=1e-8).fit(x, np.column_stack([1 - q, q]))
    np.testing.assert_allclose(model.coef_, [[1.0, -2.0]], atol=1e-5)
    np.testing.assert_allclose(model.intercept_, [0.5], atol=1e-5)


def test_it_is_the_optimum_that_descent_goes_to():
    x, y = load_iris(return_X_y=True)
    exact = SoftmaxClassifier(alpha=1e-2, solver="exact").fit(x, y)
    descent = SoftmaxClassifier(alpha=1e-2, batch_size=150, random_state=0).fit(x, y)
    np.testing.assert_allclose(exact.predict_proba(x), descent.predict_proba(x), atol=1e-3)


def test_a_short_run_is_told_with_its_slope():
    x, y = load_digits(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="largest slope is"):
        model = SoftmaxClassifier(solver="exact", max_epochs=3).fit(x, y)
    assert model.n_iter_ == 3


def test_a_warm_start_goes_on():
    x, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier(solver="exact", warm_start=True).fit(x / 16, y)
    first = model.coef_.copy()
    assert model.n_iter_ > 10
    model.set_params(tol=1.1e-5).fit(x / 16, y)
    assert model.n_iter_ == 0
    np.testing.assert_allclose(model.coef_, first, rtol=1e-9, atol=1e-12)


def test_calibration_holds_rows_out():
    x, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier(alpha=1e-6, solver="exact", calibrate=True, random_state=0).fit(x / 16, y)
    assert model.temperature_ > 1


def test_a_saved_model_is_the_same(tmp_path):
    x, y = load_iris(return_X_y=True)
    model = SoftmaxClassifier(solver="exact").fit(x, y)
    save_model(tmp_path / "model", model)
    loaded = load_model(tmp_path / "model").estimator
    assert loaded.solver == "exact"
    np.testing.assert_array_equal(loaded.predict_proba(x), model.predict_proba(x))


@pytest.mark.parametrize(("parameters", "message"), [
    ({"hidden_layer_sizes": (4,)}, r"hidden_layer_sizes = \(4,\): expected \(\) with solver='exact'"),
    ({"l1_ratio": 0.5}, "l1_ratio = 0.5: expected 0 with solver='exact'"),
    ({"early_stopping": True}, "early_stopping = True"),
    ({"dropout": 0.5}, "dropout"),
    ({"average": True}, "average = True"),
    ({"checkpoint": "here"}, "checkpoint = 'here'"),
    ({"solver": "newton"}, "solver = 'newton': expected one of 'sgd', 'exact'"),
])  # fmt: skip
def test_what_the_solver_cannot_do_is_refused(parameters, message):
    x, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(**{"solver": "exact", **parameters}).fit(x, y)


def test_streams_and_validation_rows_are_refused():
    x, y = load_iris(return_X_y=True)
    for method in ("partial_fit", "fit_stream"):
        with pytest.raises(AttributeError) as error:
            getattr(SoftmaxClassifier(solver="exact"), method)
        assert "expected solver='sgd'" in str(error.value.__cause__)
    with pytest.raises(ValueError, match="validation is for solver='sgd'"):
        SoftmaxClassifier(solver="exact").fit(x, y, validation=(x, y))
