"""Training a linear model finds the optimum that a second-order solver finds."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from crossent.estimators import SoftmaxClassifier


def objective(model, x, y, alpha):
    log_q = model.predict_log_proba(x)
    return -log_q[np.arange(len(y)), y].mean() + alpha / 2 * (model.coef_**2).sum()


@pytest.mark.parametrize("center", [True, False])
def test_full_batches_reach_the_optimum_of_logistic_regression(center):
    x, y = load_iris(return_X_y=True)
    x = StandardScaler().fit_transform(x) + 0.5
    alpha = 1e-2
    peer = LogisticRegression(C=1 / (alpha * len(x)), solver="newton-cholesky", tol=1e-12).fit(x, y)
    model = SoftmaxClassifier(alpha=alpha, batch_size=len(x), center=center, random_state=0).fit(x, y)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(x), peer.predict_proba(x), atol=1e-5)
    assert objective(model, x, y, alpha) == pytest.approx(objective(peer, x, y, alpha), rel=1e-9)


def test_minibatches_come_within_a_thousandth_of_the_optimum():
    x, y = load_digits(return_X_y=True)
    x /= 16
    alpha = 1e-3
    peer = LogisticRegression(C=1 / (alpha * len(x)), solver="newton-cg", tol=1e-8).fit(x, y)
    model = SoftmaxClassifier(alpha=alpha, random_state=0).fit(x, y)
    best = objective(peer, x, y, alpha)
    assert best <= objective(model, x, y, alpha) <= best * 1.001


def test_loss_falls_from_that_of_the_constant_prediction():
    x, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier((32,), max_epochs=10, random_state=0).fit(x / 16, y)
    shares = np.bincount(y) / len(y)
    entropy = -(shares * np.log(shares)).sum()
    assert model.loss_curve_[0] < entropy
    assert model.loss_curve_[-1] < 0.1 * entropy
    assert all(later < earlier for earlier, later in zip(model.loss_curve_, model.loss_curve_[1:]))


def test_centered_training_acts_on_raw_rows():
    x, y = load_iris(return_X_y=True)
    plain = SoftmaxClassifier(random_state=0, batch_size=150).fit(x, y)
    moved = SoftmaxClassifier(random_state=0, batch_size=150).fit(x + 1000.0, y)
    np.testing.assert_allclose(moved.coef_, plain.coef_, atol=1e-6)
    np.testing.assert_allclose(moved.predict_proba(x + 1000.0), plain.predict_proba(x), atol=1e-6)
