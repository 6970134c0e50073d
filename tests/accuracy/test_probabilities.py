"""The functions of probabilities against 60 digits: no logits, no clipping."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from oracle import Extended, to_extended, ulp_error

import crossent

DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]
# Terms of one sign: the logarithm and the product are a few roundings each, the sum is in float64.
SAME_SIGN_ULP = 8.0


def distributions(rng, rows, classes, dtype):
    p = np.maximum(rng.dirichlet(np.full(classes, 0.3), rows), 1e-12)
    p[0, 0] = 0.0
    return (p / p.sum(axis=1, keepdims=True)).astype(dtype)


def exactly(terms):
    with mpmath.workdps(60):
        return to_extended([mpmath.fsum(terms())])[0]


def mp(x):
    return mpmath.mpf(float(x))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("classes", [2, 5, 200])
def test_cross_entropy_from_probabilities(dtype, classes, rng):
    q = distributions(rng, 5, classes, dtype)
    p = distributions(rng, 5, classes, dtype)
    loss = crossent.cross_entropy_from_probs(q, p, reduction="none")
    assert loss.dtype == dtype
    for row in range(5):
        exact = exactly(lambda r=row: [-mp(a) * mpmath.log(mp(b)) for a, b in zip(p[r], q[r]) if a > 0])
        assert ulp_error(loss[row], exact, dtype) <= SAME_SIGN_ULP
    label = q.argmax(axis=1)
    loss = crossent.cross_entropy_from_probs(q, label, reduction="none")
    for row in range(5):
        exact = exactly(lambda r=row: [-mpmath.log(mp(q[r, label[r]]))])
        assert ulp_error(loss[row], exact, dtype) <= 4


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("classes", [2, 5, 200])
def test_entropy(dtype, classes, rng):
    p = distributions(rng, 5, classes, dtype)
    entropy = crossent.entropy(p)
    assert entropy.shape == (5,)
    for row in range(5):
        exact = exactly(lambda r=row: [-mp(a) * mpmath.log(mp(a)) for a in p[r] if a > 0])
        assert ulp_error(entropy[row], exact, dtype) <= SAME_SIGN_ULP


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_kl_divergence(dtype, rng):
    q = distributions(rng, 5, 20, dtype)
    p = distributions(rng, 5, 20, dtype)
    divergence = crossent.kl_divergence(p, q)
    for row in range(5):
        terms = [(mp(a), mp(b)) for a, b in zip(p[row], q[row]) if a > 0]
        exact = exactly(lambda t=terms: [a * mpmath.log(a / b) for a, b in t])
        size = exactly(lambda t=terms: [abs(a * mpmath.log(a / b)) for a, b in t])
        # Terms of both signs: the error is measured against their absolute sum.
        assert abs(Extended(divergence[row]) - exact) <= SAME_SIGN_ULP * np.finfo(dtype).eps * size


def test_nothing_is_clipped():
    tiny = np.array([1e-300, 1.0])
    assert crossent.cross_entropy_from_probs(tiny, 0) == pytest.approx(300 * np.log(10), rel=1e-15)
    assert crossent.cross_entropy_from_probs(np.array([0.0, 1.0]), 0) == np.inf
    assert crossent.cross_entropy_from_probs(np.array([0.0, 1.0]), 1) == 0.0
    assert crossent.kl_divergence(np.array([0.5, 0.5]), np.array([0.0, 1.0])) == np.inf


def test_zero_truth_on_a_zero_prediction_adds_nothing():
    p = np.array([0.0, 0.25, 0.75])
    assert crossent.cross_entropy_from_probs(p, p) == crossent.cross_entropy_from_probs(p[1:], p[1:])
    assert crossent.entropy(p) == crossent.entropy(p[1:])
    assert crossent.kl_divergence(p, p) == 0.0
    assert crossent.entropy(np.array([1.0, 0.0])) == 0.0


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_class_axis_may_be_any(axis, rng):
    p, q = (np.moveaxis(distributions(rng, 6, 4, np.float64), -1, axis) for _ in range(2))
    rows = [np.moveaxis(x, axis, -1) for x in (p, q)]
    assert np.array_equal(crossent.entropy(p, axis=axis), crossent.entropy(rows[0]))
    assert np.array_equal(crossent.kl_divergence(p, q, axis=axis), crossent.kl_divergence(*rows))
    loss = crossent.cross_entropy_from_probs(q, p, axis=axis, reduction="none")
    assert np.array_equal(loss, crossent.cross_entropy_from_probs(rows[1], rows[0], reduction="none"))


def test_probabilities_take_the_options_of_logits(rng):
    q, label = rng.dirichlet(np.ones(4), 6), np.array([0, 1, -100, 3, 2, 0])
    options = {
        "weight": rng.random(4) + 0.1,
        "sample_weight": rng.random(6),
        "label_smoothing": 0.2,
    }
    for reduction in ("none", "sum", "mean"):
        from_probs = crossent.cross_entropy_from_probs(q, label, reduction=reduction, **options)
        from_logits = crossent.cross_entropy(np.log(q), label, reduction=reduction, **options)
        np.testing.assert_allclose(from_probs, from_logits, rtol=1e-13)
    by_two = crossent.cross_entropy_from_probs(q, label, normalizer=2.0)
    assert by_two == pytest.approx(crossent.cross_entropy_from_probs(q, label, reduction="sum") / 2, rel=1e-15)
