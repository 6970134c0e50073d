"""Rows of bytes or sparse rows, and sparse truth, train the model that the same numbers train as a dense array."""

import warnings

import numpy as np
import pytest
from scipy.sparse import coo_array, csc_array, csc_matrix, csr_array, csr_matrix
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from crossent.errors import DataError
from crossent.estimators import SoftmaxClassifier, prediction

N, C = 600, 10
FORMS = {
    "bytes": lambda x: x.astype(np.uint8),
    "bytes in Fortran order": lambda x: np.asfortranarray(x.astype(np.uint8)),
    "CSR": csr_array,
    "CSR matrix": csr_matrix,
    "CSC": csc_array,
    "CSC matrix": csc_matrix,
    "COO": coo_array,
}


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[:N]
    return x[order].astype(np.float32), y[order]


def assert_same_model(one, other, rtol=2e-3, atol=2e-5):
    """Sums are taken in another order: equal to single precision over some hundred steps."""
    for a, b in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol * max(1, np.abs(b).max()))


WAYS = {
    "fit": lambda m, x, y, w: m.fit(x, y, w),
    "partial_fit": lambda m, x, y, w: partial(m, x, y, w),
    "fit_stream": lambda m, x, y, w: m.fit_stream([(x[at::4], y[at::4], w[at::4]) for at in range(4)]),
}


def partial(model, x, y, weight):
    for at in range(0, N, 100):
        rows = slice(at, at + 100)
        model.partial_fit(x[rows], y[rows], classes=range(C), sample_weight=weight[rows])
    return model


OPTIONS = {
    "linear": {},
    "network": {"hidden_layer_sizes": (8,)},
    "early stopping and calibration": {"early_stopping": True, "calibrate": True},
    "class weights": {"class_weight": {3: 2.0, 5: 0.5}},
    "label smoothing": {"label_smoothing": 0.1},
    "adam": {"optimizer": "adam"},
    "l1": {"l1_ratio": 0.5, "alpha": 1e-3},
    "uncentred": {"center": False},
}


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("form", ["bytes", "CSR", "CSC"])
@pytest.mark.parametrize("way", ["fit", "partial_fit"])
def test_form_of_the_rows_does_not_matter(digits, way, form, options, soft):
    check_form(digits, way, form, options, soft)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("name", [name for name in OPTIONS if "stopping" not in name])
@pytest.mark.parametrize("form", ["bytes", "CSR"])
def test_form_of_streamed_rows_does_not_matter(digits, form, name, soft):
    check_form(digits, "fit_stream", form, OPTIONS[name], soft)


def check_form(digits, way, form, options, soft):
    x, y = digits
    weight = np.random.default_rng(1).uniform(0.5, 2, size=N)
    truth = 0.9 * np.eye(C)[y] + 0.1 * np.eye(C)[(y + 1) % C] if soft else y
    models = []
    for rows, target in ((x, truth), (FORMS[form](x), csr_array(truth) if soft else y)):
        model = SoftmaxClassifier(
            max_epochs=5, learning_rate=1e-3, feature_rates=False, dtype="float32", random_state=0, **options
        )
        models.append(quietly(WAYS[way], model, rows, target, weight))
    assert_same_model(*models)
    if options.get("calibrate") and way == "fit":
        assert models[1].temperature_ == pytest.approx(models[0].temperature_, rel=1e-3)
        np.testing.assert_allclose(models[1].validation_scores_, models[0].validation_scores_, rtol=1e-3)


def quietly(way, *given):
    """Five epochs at a small step are few, and a linear model says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return way(*given)


@pytest.mark.parametrize("form", FORMS)
def test_default_step_and_predictions_are_the_dense_ones(digits, form, monkeypatch):
    monkeypatch.setattr(prediction, "PREDICTED_ROWS", 77)
    x, y = digits
    one_rate = {"random_state": 0, "feature_rates": False}  # as sparse features have
    dense = SoftmaxClassifier(**one_rate).fit(x, y, validation=(x[:50], y[:50]))
    model = SoftmaxClassifier(dtype="float32", **one_rate)
    rows = FORMS[form](x)
    model.fit(rows, y, validation=(FORMS[form](x[:50]), y[:50]))
    assert model.learning_rate_ == pytest.approx(dense.learning_rate_, rel=1e-4)
    np.testing.assert_allclose(model.predict_proba(rows), dense.predict_proba(x), atol=1e-3)
    np.testing.assert_allclose(model.predict_proba(rows), model.predict_proba(x), atol=1e-6)
    assert (model.predict(rows) == model.predict(x)).all()
    assert model.score(rows, y) == model.score(x, y)
    assert model.coef_.dtype == np.float32


def test_score_of_sparse_probabilities_is_that_of_their_greatest(digits):
    x, y = digits
    model = SoftmaxClassifier(random_state=0, max_epochs=30).fit(x, y)
    assert model.score(csr_array(x), csr_array(np.eye(C)[y])) == model.score(x, y)


def fit_held_out(model, pieces, validation):
    return model.fit_stream(pieces, validation=validation)


@pytest.mark.parametrize("form", ["bytes", "CSR"])
def test_streams_stop_early_and_are_calibrated_in_every_form(digits, form):
    x, y = digits
    models = []
    for rows in (x, FORMS[form](x)):
        model = SoftmaxClassifier(
            early_stopping=True, calibrate=True, max_epochs=20, feature_rates=False, dtype="float32", random_state=0
        )
        pieces = [(rows[at:400:4], y[at:400:4]) for at in range(4)]
        models.append(quietly(fit_held_out, model, pieces, (rows[400:], y[400:])))
    np.testing.assert_allclose(models[1].validation_scores_, models[0].validation_scores_, rtol=1e-2)
    assert models[1].temperature_ == pytest.approx(models[0].temperature_, rel=1e-2)


@pytest.mark.parametrize("form", ["bytes", "CSR", "CSC"])
def test_exact_solver_takes_every_form(digits, form):
    x, y = digits
    models = [
        SoftmaxClassifier(solver="exact", alpha=1e-2, dtype="float32").fit(rows, y) for rows in (x, FORMS[form](x))
    ]
    np.testing.assert_allclose(models[1].predict_proba(x), models[0].predict_proba(x), atol=1e-3)


def test_checkpoint_of_sparse_rows_goes_on(digits, tmp_path):
    x, y = csr_array(digits[0]), digits[1]
    whole = SoftmaxClassifier(random_state=0, max_epochs=200).fit(x, y)

    def stop(event):
        if event.epoch == 50:
            raise KeyboardInterrupt

    model = SoftmaxClassifier(random_state=0, max_epochs=200, checkpoint=tmp_path / "run", callbacks=[stop])
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y)
    with pytest.raises(DataError, match="X was"):
        model.set_params(callbacks=None).fit(2 * x, y)
    assert model.fit(x, y).coef_.tobytes() == whole.coef_.tobytes()


@pytest.mark.parametrize("form", [csr_array, csc_array])
def test_missing_value_in_sparse_rows_is_named(digits, form):
    x = digits[0].copy()
    x[7, 3] = np.nan
    with pytest.raises(DataError, match=r"X\[7, 3\] is NaN"):
        SoftmaxClassifier().fit(form(x), digits[1])


def test_sparse_rows_with_a_truth_of_other_length_are_refused(digits):
    with pytest.raises(ValueError, match="expected 600, as many as the rows of X"):
        SoftmaxClassifier().fit(csr_array(digits[0]), digits[1][:-1])
