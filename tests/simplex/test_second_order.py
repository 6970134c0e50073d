"""Second derivatives against finite differences at 60 digits, limits at the boundary, and the two Fisher matrices."""

from __future__ import annotations

import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from exact_simplex import DIGITS, ambient, anywhere, big, confident, loss, on_the_boundary, probabilities
from hypothesis import given, settings
from hypothesis import strategies as st

from crossent.family import Brier
from crossent.simplex import differential, differential_from_logits

RULES = ["nobody", "everyone", "in proportion", 0, 1]


def weights(pay: object, q: list[mpmath.mpf]) -> list[mpmath.mpf]:
    n = len(q)
    if pay == "everyone":
        return [mpmath.mpf(1) / n] * n
    if pay == "in proportion":
        return q
    return [mpmath.mpf(int(k == pay)) for k in range(n)]


def mixed_difference(f, at: list, u: list, v: list) -> mpmath.mpf:
    """The second central difference along u and v."""
    h = mpmath.mpf(10) ** -15
    signs = itertools.product((1, -1), repeat=2)
    return sum(s * t * f([x + h * (s * y + t * z) for x, y, z in zip(at, u, v)]) for s, t in signs) / (4 * h * h)


@settings(max_examples=15)
@given(anywhere(), st.sampled_from(RULES))
def test_hessian_is_the_second_derivative_along_the_directions_of_its_rule(d, pay):
    with mpmath.workdps(DIGITS):
        q, p = big(d.probs), big(d.truth)
        w = weights(pay, q)
        directions = [[int(i == k) - x for k, x in enumerate(w)] for i in range(len(q))]
        expected = [[float(mixed_difference(lambda x: loss(x, p), q, u, v)) for v in directions] for u in directions]
    scale = float((d.truth / d.probs**2).max())
    np.testing.assert_allclose(d.hessian(pay), expected, rtol=1e-12, atol=1e-14 * scale)


@settings(max_examples=15)
@given(anywhere())
def test_logit_hessian_is_the_second_derivative_in_logits(d):
    def of_logits(z: list, p: list) -> mpmath.mpf:
        exps = [mpmath.exp(x) for x in z]
        return loss([x / sum(exps) for x in exps], p)

    with mpmath.workdps(DIGITS):
        z, p, units = [mpmath.log(x) for x in big(d.probs)], big(d.truth), np.eye(len(d.classes), dtype=int).tolist()
        expected = [[float(mixed_difference(lambda x: of_logits(x, p), z, u, v)) for v in units] for u in units]
    np.testing.assert_allclose(d.hessian_logits, expected, rtol=1e-12, atol=1e-15 * d.mass)


@given(anywhere())
def test_logit_hessian_is_the_mass_times_the_fisher_matrix(d):
    np.testing.assert_allclose(d.hessian_logits, d.mass * d.fisher, rtol=1e-15)
    np.testing.assert_allclose(d.fisher.sum(axis=0), 0, atol=1e-15)


@given(confident())
def test_fisher_matrix_of_confident_predictions_keeps_its_digits(d):
    with mpmath.workdps(400):
        q = probabilities(d)
        expected = [[float(x * ((i == j) - y)) for j, y in enumerate(q)] for i, x in enumerate(q)]
    np.testing.assert_allclose(d.fisher, expected, rtol=2e-13, atol=1e-300)


@given(anywhere())
def test_fisher_metric_of_a_chart_is_the_inverse_of_the_covariance(d):
    """The known C − 1 by C − 1 matrix diag(1/q) + 11ᵀ/q_r, inverse to the same block of diag(q) − qqᵀ."""
    for r in range(len(d.classes)):
        free = np.delete(np.arange(len(d.classes)), r)
        block = np.ix_(free, free)
        metric = d.fisher_metric(r)
        np.testing.assert_allclose(metric[block], np.diag(1 / d.probs[free]) + 1 / d.probs[r], rtol=1e-14)
        assert not metric[r].any()
        assert not metric[:, r].any()
        product = metric[block] @ d.fisher[block]
        np.testing.assert_allclose(product, np.eye(len(free)), atol=1e-14 / d.probs.min())


@given(anywhere())
def test_fisher_metric_is_the_hessian_where_the_prediction_is_the_truth(d):
    at = differential(d.probs, d.probs)
    for pay in RULES:
        scale = float(1 / d.probs.min())
        np.testing.assert_allclose(at.hessian(pay), d.fisher_metric(pay), rtol=1e-13, atol=1e-14 * scale)


@given(on_the_boundary(), st.sampled_from(["everyone", "in proportion", 0, 1]))
def test_at_the_boundary_every_entry_is_its_limit_from_the_inside(d, pay):
    with mpmath.workdps(100):
        eps, p = mpmath.mpf(10) ** -40, big(d.truth)
        q = [(1 - eps) * x + eps * y / sum(p) for x, y in zip(big(d.probs), p)]
        second = [y / x**2 if y else mpmath.mpf(0) for x, y in zip(q, p)]
        w = weights(pay, q)
        found = d.hessian(pay)
        assert not np.isnan(found).any()
        for i, j in np.ndindex(found.shape):
            limit = sum((s * ((i == k) - v) * ((j == k) - v) for k, (s, v) in enumerate(zip(second, w))), mpmath.mpf(0))
            if abs(limit) > mpmath.mpf(10) ** 20:
                assert found[i, j] == np.sign(float(mpmath.sign(limit))) * np.inf
            else:
                assert found[i, j] == pytest.approx(float(limit), rel=1e-12, abs=1e-12)


@given(on_the_boundary(), st.sampled_from(RULES))
def test_fisher_metric_at_the_boundary_is_its_limit(d, pay):
    near = [mpmath.mpf(x) or mpmath.mpf(10) ** -40 for x in d.probs.tolist()]
    w = [mpmath.mpf(0)] * len(near) if pay == "nobody" else weights(pay, near)
    found = d.fisher_metric(pay)
    for i, j in np.ndindex(found.shape):
        limit = mpmath.fsum(((i == k) - v) * ((j == k) - v) / x for k, (x, v) in enumerate(zip(near, w)))
        if abs(limit) > mpmath.mpf(10) ** 20:
            assert found[i, j] == np.sign(float(limit)) * np.inf
        else:
            assert found[i, j] == pytest.approx(float(limit), rel=1e-12, abs=1e-12)


def test_fisher_metric_of_fractions_at_the_boundary_is_exact():
    d = differential([Fraction(0), Fraction(1, 4), Fraction(3, 4)], 1)
    assert d.fisher_metric(1).tolist() == [[np.inf, 0, 4], [0, 0, 0], [4, 0, Fraction(16, 3)]]
    assert type(d.fisher_metric(1)[2, 2]) is Fraction


@given(on_the_boundary())
def test_no_second_derivative_is_nan(d):
    for pay in RULES:
        assert not np.isnan(d.hessian(pay)).any()
        assert not np.isnan(d.fisher_metric(pay)).any()
    assert np.isfinite(d.hessian_logits).all()
    assert np.isfinite(d.fisher).all()


@settings(max_examples=15)
@given(anywhere())
def test_second_derivatives_of_another_loss(d):
    at = differential(d.probs, d.probs[::-1] / d.probs.sum(), loss=Brier())
    np.testing.assert_allclose(at.hessian(), 2 * np.eye(len(d.classes)))

    def brier(q: list, p: list) -> mpmath.mpf:
        return sum((x - y) ** 2 for x, y in zip(q, p))

    def of_logits(z: list, p: list) -> mpmath.mpf:
        exps = [mpmath.exp(x) for x in z]
        return brier([x / sum(exps) for x in exps], p)

    with mpmath.workdps(DIGITS):
        z, p, units = [mpmath.log(x) for x in big(at.probs)], big(at.truth), np.eye(len(d.classes), dtype=int).tolist()
        expected = [[float(mixed_difference(lambda x: of_logits(x, p), z, u, v)) for v in units] for u in units]
    np.testing.assert_allclose(at.hessian_logits, expected, rtol=1e-12, atol=1e-15)


def test_a_masked_class_has_no_curvature():
    d = differential_from_logits([0.0, -np.inf, 1.0], 0)
    two = differential_from_logits([0.0, 1.0], 0)
    assert not d.hessian_logits[1].any()
    assert np.array_equal(np.delete(np.delete(d.hessian_logits, 1, 0), 1, 1), two.hessian_logits)


def test_the_ambient_second_derivative_of_a_label_has_one_entry():
    d = differential([0.5, 0.49, 0.01], 0)
    assert d.hessian().tolist() == [[4, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert d.hessian(0).tolist() == [[0, 0, 0], [0, 4, 4], [0, 4, 4]]
    with mpmath.workdps(DIGITS):
        assert [float(x) for x in ambient(big(d.probs), big(d.truth))] == d.ambient.tolist()
