"""Predicted probabilities and their logarithms are accurate, also for rows that are all but certain."""

import mpmath
import numpy as np
import pytest

from crossent.estimators import SoftmaxClassifier
from crossent.estimators.probabilities import log_softmax, softmax


def exact(logits):
    rows = []
    for row in logits:
        z = [mpmath.mpf(float(value)) for value in row]
        lse = mpmath.log(mpmath.fsum(mpmath.exp(value) for value in z))
        rows.append([value - lse for value in z])
    return rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0, 100.0])
def test_they_match_many_digits(scale, dtype):
    logits = (np.random.default_rng(0).normal(size=(40, 6)) * scale).astype(dtype)
    with mpmath.workdps(400):
        logs = exact(logits)
        expected_logs = np.array(logs, dtype=float)
        expected = np.array([[mpmath.exp(value) for value in row] for row in logs], dtype=float)
    tolerance = np.finfo(dtype).eps
    smallest = np.finfo(dtype).tiny
    np.testing.assert_allclose(log_softmax(logits), expected_logs, rtol=4 * tolerance, atol=smallest)
    np.testing.assert_allclose(softmax(logits), expected, rtol=4 * tolerance, atol=smallest)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_sum_to_one(dtype):
    logits = (np.random.default_rng(1).normal(size=(500, 200)) * 20).astype(dtype)
    assert softmax(logits).dtype == dtype
    np.testing.assert_allclose(softmax(logits).sum(axis=1, dtype=float), 1, rtol=4 * np.finfo(dtype).eps)


def test_logarithm_of_a_confident_row_is_not_zero():
    logs = log_softmax(np.array([[60.0, 0.0], [0.0, 2000.0]]))
    assert logs[0, 0] == pytest.approx(-np.exp(-60), rel=1e-14)
    assert logs[1].tolist() == [-2000.0, 0.0]
    assert np.isfinite(logs).all()


def test_model_predicts_in_blocks_what_it_predicts_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.integers(3, size=50)
    model = SoftmaxClassifier((6,), max_epochs=5, random_state=0).fit(x, y)
    at_once = model.predict_proba(x)
    monkeypatch.setattr("crossent.estimators.prediction.PREDICTED_ROWS", 7)
    np.testing.assert_allclose(model.predict_proba(x), at_once, rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(x)), at_once, rtol=1e-12)


def test_logits_beyond_the_range_take_all_or_share_it():
    inf = np.inf
    logits = np.array([[inf, 0.0, -inf], [inf, 1.0, inf], [2.0, -inf, 2.0], [-inf, -inf, -inf]], dtype=np.float32)
    expected = np.array([[1.0, 0.0, 0.0], [0.5, 0.0, 0.5], [0.5, 0.0, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(softmax(logits), expected, rtol=1e-7)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(log_softmax(logits), np.log(expected), rtol=1e-7)
