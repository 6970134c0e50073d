"""SciPy and scikit-learn compute the same quantities where neither cancels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import entropy
from sklearn._loss import HalfMultinomialLoss
from sklearn.metrics import log_loss

import crossent
from crossent import reference


@pytest.mark.parametrize("shape", [(4, 3), (7, 50)])
def test_the_reference_softmax_is_scipys(shape, rng):
    z = 4 * rng.standard_normal(shape)
    for axis in (0, 1):
        np.testing.assert_allclose(reference.softmax(z, axis=axis), softmax(z, axis=axis), rtol=1e-13)
        np.testing.assert_allclose(
            reference.log_softmax(z, axis=axis), log_softmax(z, axis=axis), rtol=1e-12, atol=1e-14
        )


@pytest.mark.parametrize("weighted", [False, True])
def test_the_multinomial_loss_of_scikit_learn(weighted, rng):
    z, y = rng.standard_normal((30, 5)), rng.integers(0, 5, 30)
    s = rng.random(30) if weighted else None
    loss, grad = HalfMultinomialLoss(n_classes=5).loss_gradient(y.astype(float), z, sample_weight=s)
    ours = crossent.cross_entropy_and_grad(z, y, sample_weight=s, reduction="none")
    np.testing.assert_allclose(ours.loss, loss, rtol=1e-13)
    np.testing.assert_allclose(ours.grad, grad, rtol=1e-13, atol=1e-15)


def test_the_log_loss_of_scikit_learn(rng):
    q, y, s = rng.dirichlet(np.ones(4), 20), rng.integers(0, 4, 20), rng.random(20)
    expected = log_loss(y, q, sample_weight=s, labels=range(4))
    assert crossent.cross_entropy_from_probs(q, y, sample_weight=s) == pytest.approx(expected, rel=1e-13)


def test_entropy_and_divergence_are_scipys(rng):
    p, q = rng.dirichlet(np.ones(6), (2, 8))
    np.testing.assert_allclose(crossent.entropy(p), entropy(p, axis=1), rtol=1e-13)
    np.testing.assert_allclose(crossent.kl_divergence(p, q), entropy(p, q, axis=1), rtol=1e-12)
