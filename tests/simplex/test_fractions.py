"""Given fractions, every component is the exact number; floats are their roundings."""

from __future__ import annotations

from fractions import Fraction as F

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossent.simplex import differential, symbolic_loss

RULES = ["nobody", "everyone", "in proportion", 0, 1]
DOG = differential([F(1, 2), F(49, 100), F(1, 100)], "dog", classes=["dog", "cat", "bird"])


@st.composite
def rational(draw: st.DrawFn, low: int = 0) -> tuple[list[F], list[F]]:
    n = draw(st.integers(2, 5))
    shares = draw(st.lists(st.integers(low, 9), min_size=n, max_size=n))
    truth = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    shares[draw(st.integers(0, n - 1))] += 1
    truth[draw(st.integers(0, n - 1))] += 1
    return [F(x, sum(shares)) for x in shares], [F(x, sum(truth)) for x in truth]


def floats(values: object) -> np.ndarray:
    return np.asarray(values, dtype=float)


def test_the_dog_in_fractions():
    assert DOG.exact
    assert DOG.ambient.tolist() == [-2, 0, 0]
    assert DOG.grad("dog").tolist() == [0, 2, 2]
    assert DOG.grad("everyone").tolist() == DOG.euclidean.tolist() == [F(-4, 3), F(2, 3), F(2, 3)]
    assert DOG.logits.tolist() == [F(-1, 2), F(49, 100), F(1, 100)]
    assert DOG.transfer("cat", "dog") == -2
    assert DOG.along([F(1, 3), F(-1, 3), 0]) == F(-2, 3)
    assert DOG.grad([F(1, 2), F(1, 2), 0]).tolist() == [-1, 1, 1]
    for vector in (DOG.grad("dog"), DOG.velocities["logit"], DOG.hessian("bird"), DOG.fisher, DOG.hessian_logits):
        assert {type(x) for x in vector.flat} == {F}
    assert DOG.loss == differential([0.5, 0.49, 0.01], 0).loss


@given(rational(low=1))
def test_components_are_their_definitions(case):
    q, p = case
    d = differential(q, p)
    n, a = len(q), [-y / x for x, y in zip(q, p)]
    rules = {"everyone": [F(1, n)] * n, "in proportion": q, 0: [F(int(k == 0)) for k in range(n)]}
    for pay, w in rules.items():
        paid = sum(x * y for x, y in zip(w, a))
        assert d.grad(pay).tolist() == [x - paid for x in a]
        assert d.multiple(pay) == -paid
        for i in range(n):
            for j in range(n):
                form = sum(y / x**2 * ((i == k) - v) * ((j == k) - v) for k, (x, y, v) in enumerate(zip(q, p, w)))
                metric = sum(1 / x * ((i == k) - v) * ((j == k) - v) for k, (x, v) in enumerate(zip(q, w)))
                assert d.hessian(pay)[i, j] == form
                assert d.fisher_metric(pay)[i, j] == metric
    for i in range(n):
        assert d.velocities["logit"][i] == -q[i] * (q[i] - p[i] - sum(x * (x - y) for x, y in zip(q, p)))
    assert d.hessian_logits.tolist() == [[q[i] * (i == j) - q[i] * q[j] for j in range(n)] for i in range(n)]


@given(rational())
def test_floats_are_the_fractions_rounded(case):
    q, p = case
    exact, rounded = differential(q, p), differential(floats(q), floats(p))
    assert exact.loss == pytest.approx(rounded.loss, rel=1e-14, abs=1e-15)
    pairs = [(getattr(exact, name), getattr(rounded, name)) for name in ("euclidean", "logits", "fisher")]
    pairs += [(exact.grad(rule), rounded.grad(rule)) for rule in RULES]
    pairs += [(exact.hessian(rule), rounded.hessian(rule)) for rule in RULES]
    pairs += [(exact.fisher_metric(rule), rounded.fisher_metric(rule)) for rule in RULES]
    pairs += [(exact.velocity(metric), rounded.velocity(metric)) for metric in ("euclidean", "natural", "logit", 0)]
    for mine, theirs in pairs:
        assert not np.isnan(floats(mine)).any()
        np.testing.assert_allclose(theirs, floats(mine), rtol=1e-13, atol=1e-13)


@given(rational())
def test_certificates_of_fractions_have_no_deviation(case):
    d = differential(*case)
    for rule in RULES:
        certificate = d.same_as(rule)
        assert certificate.same
        assert certificate.deviation == 0
        assert certificate.tolerance == 0
        if np.isfinite(floats(d.ambient)).all():
            assert certificate.multiple == d.multiple(rule)


def test_the_smallest_deviation_of_fractions_is_seen():
    other = [F(-2), F(0), F(1, 10**40)]
    certificate = DOG.same_as(other)
    assert not certificate.same
    assert certificate.deviation == F(1, 10**40)


@given(rational(low=1), st.integers(0, 30))
def test_loss_of_fractions_is_right_to_the_last_bits(case, power):
    q, p = case
    tiny = F(1, 10**power)
    q = [(1 - tiny) * (i == 0) + tiny * x for i, x in enumerate(q)]
    with mpmath.workdps(60):
        exact = -sum(
            mpmath.mpf(y.numerator) / y.denominator * mpmath.log(mpmath.mpf(x.numerator) / x.denominator)
            for x, y in zip(q, p)
        )
        assert differential(q, p).loss == pytest.approx(float(exact), rel=1e-15)


def test_the_loss_in_symbols():
    assert symbolic_loss(DOG) == "log 2"
    assert symbolic_loss(differential([F(2, 5), F(3, 5)], [F(1, 2), F(1, 2)])) == "1/2 log(5/2) + 1/2 log(5/3)"
    assert (
        symbolic_loss(differential([F(1, 4), F(1, 4), F(1, 2)], [F(1, 4), F(1, 4), F(1, 2)])) == "1/2 log 4 + 1/2 log 2"
    )
    assert symbolic_loss(differential([F(0), F(1)], 0)) == "inf"
    assert symbolic_loss(differential([F(0), F(1)], 1)) == "0"
    with pytest.raises(TypeError, match="a float has no symbols"):
        symbolic_loss(differential([0.5, 0.5], 0))


def test_smoothing_and_weights_stay_exact():
    d = differential([F(1, 2), F(1, 4), F(1, 4)], 0, label_smoothing=F(1, 10), weight=[1, 2, F(1, 2)])
    assert d.truth.tolist() == [F(14, 15), F(1, 15), F(1, 60)]
    assert d.mass == F(61, 60)
    assert differential([F(1, 2), F(1, 2)], 0, label_smoothing=1).truth.tolist() == [F(1, 2), F(1, 2)]


def test_rows_of_fractions():
    d = differential([[F(1, 3), F(2, 3)], [F(1, 2), F(1, 2)]], [0, 1])
    assert d.grad(0).tolist() == [[0, 3], [0, -2]]
    assert d[1].exact
    assert d[1].given_sum == 1
    assert d.same_as("everyone").multiple.tolist() == [F(3, 2), 1]


def test_normalize_divides_exactly():
    assert differential([F(1), F(2)], 0, normalize=True).probs.tolist() == [F(1, 3), F(2, 3)]


@pytest.mark.parametrize(
    ("probs", "target", "options", "error", "message"),
    [
        ([F(1, 3), F(1, 3)], 0, {}, ValueError, "the sum of probs = 2/3: expected exactly 1, as probs are fractions"),
        ([[F(1), F(0)], [F(1, 3), F(1, 3)]], [0, 0], {}, ValueError, r"the sum of probs\[1\] = 2/3"),
        ([F(3, 2), F(-1, 2)], 0, {}, ValueError, r"probs\['1'\] = -0\.5"),
        ([F(1, 2), 0.5], 0, {}, TypeError, r"probs\[1\] is a float: expected a Fraction or an int"),
        ([F(1, 2), F(1, 2)], [0.5, 0.5], {}, TypeError, r"target\[0\] is a float"),
        ([F(1, 2), F(1, 2)], {"0": 0.5}, {}, TypeError, r"target\[0\] is a float"),
        ([F(1, 2), F(1, 2)], 0, {"label_smoothing": 0.1}, TypeError, "label_smoothing is a float"),
        ([F(1, 2), F(1, 2)], 0, {"weight": [0.5, 1]}, TypeError, r"weight\[0\] is a float"),
    ],
)
def test_what_is_not_exact_is_refused(probs, target, options, error, message):
    with pytest.raises(error, match=message):
        differential(probs, target, **options)


def test_weights_and_directions_of_fractions_are_exact_or_refused():
    with pytest.raises(ValueError, match="the sum of pay = 5/6"):
        DOG.grad([F(1, 2), F(1, 3), 0])
    with pytest.raises(TypeError, match=r"pay\[0\] is a float"):
        DOG.grad([0.5, 0.5, 0])
    with pytest.raises(ValueError, match="the sum of v"):
        DOG.along([F(1, 3), F(-1, 4), 0])


def test_fractions_beyond_the_range_of_floats():
    tiny = F(1, 10**400)
    d = differential([tiny, 1 - tiny], 0)
    assert d.loss == pytest.approx(400 * np.log(10), rel=1e-15)
    assert d.ambient[0] == -(10**400)
    assert d.same_as(0).multiple == 10**400
    assert not d.same_as([0.0, 1.0]).same
