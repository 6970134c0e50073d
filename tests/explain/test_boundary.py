"""Where a probability is 0, or too small or too near 1 for float64, values are limits and never NaN."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossent.simplex import Differential, differential, differential_from_logits

INF = math.inf
SUBNORMALS = 64 * 2.0**-1074
RULES = ["nobody", "everyone", "in proportion", 0, 1, 2]


def test_a_class_without_truth_contributes_exactly_nothing_whatever_its_probability():
    gone, there = differential([0.5, 0.5, 0.0], 0), differential([0.5, 0.25, 0.25], 0)
    assert gone.loss == there.loss
    for pay in ("nobody", "everyone", 0, 1, 2):
        assert np.array_equal(gone.grad(pay), there.grad(pay))
    assert gone.logits.tolist() == [-0.5, 0.5, 0.0]


def test_a_true_class_of_probability_zero():
    d = differential([0.0, 0.5, 0.5], 0)
    assert d.loss == INF
    assert d.logits.tolist() == d.natural.tolist() == [-1.0, 0.5, 0.5]
    table = {
        "nobody": ([-INF, 0, 0], 0.0),
        "everyone": ([-INF, INF, INF], INF),
        "in proportion": ([-INF, 1, 1], 1.0),
        0: ([0, INF, INF], INF),
        1: ([-INF, 0, 0], 0.0),
    }
    for pay, (grad, multiple) in table.items():
        assert d.grad(pay).tolist() == grad
        assert d.multiple(pay) == multiple
    assert d.grad([0.0, 0.5, 0.5]).tolist() == [-INF, 0, 0]
    assert d.grad([-1.0, 1.0, 1.0]).tolist() == [-INF, -INF, -INF]
    assert d.transfer(1, 0) == -INF
    assert d.transfer(0, 1) == INF
    assert d.transfer(1, 2) == 0


def test_a_certain_prediction():
    right, wrong = differential([1.0, 0.0], 0), differential([1.0, 0.0], 1)
    assert right.loss == 0
    assert right.logits.tolist() == [0, 0]
    assert right.ambient.tolist() == [-1, 0]
    assert right.grad(0).tolist() == [0, 1]
    assert wrong.loss == INF
    assert wrong.logits.tolist() == [1, -1]


def test_two_true_classes_of_probability_zero_diverge_alike():
    d = differential([0.0, 0.0, 1.0], [0.4, 0.1, 0.5])
    assert d.grad(0).tolist() == [0, 0, INF]
    assert d.grad("everyone").tolist() == [-INF, -INF, INF]
    assert d.transfer(0, 1) == 0
    assert d.along([1, 1, -2]) == -INF
    assert d.grad([0.5, 0.5, 0]).tolist() == [0, 0, INF]


def test_no_truth_at_all_has_no_loss_and_no_derivative():
    d = differential([0.0, 0.5, 0.5], [0, 0, 0])
    assert d.loss == 0
    for pay in RULES:
        assert d.grad(pay).tolist() == [0, 0, 0]


@st.composite
def on_the_boundary(draw: st.DrawFn) -> Differential:
    n = draw(st.integers(2, 6))
    shares = draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))
    truth = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    shares[draw(st.integers(0, n - 1))] += 1
    truth[draw(st.integers(0, n - 1))] += 1
    return differential(np.array(shares) / sum(shares), np.array(truth) / sum(truth))


def near(d: Differential, eps: mpmath.mpf) -> tuple[list[mpmath.mpf], list[mpmath.mpf]]:
    """The prediction moved a little to the truth, and its ambient derivative."""
    p = [mpmath.mpf(x) for x in d.truth.tolist()]
    q = [(1 - eps) * mpmath.mpf(x) + eps * y / sum(p) for x, y in zip(d.probs.tolist(), p)]
    return q, [-y / x if y else mpmath.mpf(0) for x, y in zip(q, p)]


def agrees(value: float, limit: mpmath.mpf) -> bool:
    if abs(limit) > 1e20:
        return value == math.copysign(INF, limit)
    return value == pytest.approx(float(limit), rel=1e-13, abs=1e-13)


@given(on_the_boundary(), st.data())
def test_every_rule_is_its_one_sided_limit(d, data):
    n = len(d.classes)
    drawn = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    drawn[0] += 1
    custom = np.array(drawn) / sum(drawn)
    fixed = {"nobody": np.zeros(n), "everyone": np.full(n, 1 / n), **{r: np.eye(n)[r] for r in range(n)}}
    with mpmath.workdps(80):
        q, a = near(d, mpmath.mpf(10) ** -30)
        for pay, w in [
            *fixed.items(),
            ("in proportion", q),
            (custom, [mpmath.mpf(k) / sum(drawn) for k in drawn]),
        ]:
            if isinstance(pay, str) and pay == "everyone":
                w = [mpmath.mpf(1) / n] * n
            total = sum(mpmath.mpf(x) * y for x, y in zip(w, a))
            grad = d.grad(pay)
            assert not np.isnan(grad).any()
            assert all(agrees(grad[c], a[c] - total) for c in range(n))
            assert agrees(d.multiple(pay), -total)


@given(on_the_boundary())
def test_logit_gradient_is_continuous_to_the_boundary(d):
    with mpmath.workdps(40):
        q, _ = near(d, mpmath.mpf(10) ** -30)
        limit = [float(x - p) for x, p in zip(q, d.truth.tolist())]
    np.testing.assert_allclose(d.logits, limit, atol=1e-15)


def exact(logits: list[float], truth: list[float]) -> tuple[mpmath.mpf, list[mpmath.mpf]]:
    with mpmath.workdps(900):
        exps = [mpmath.exp(mpmath.mpf(z)) for z in logits]
        total = sum(exps)
        q = [e / total for e in exps]
        loss = -sum(mpmath.mpf(p) * mpmath.log(x) for p, x in zip(truth, q) if p)
        return loss, [sum(map(mpmath.mpf, truth)) * x - mpmath.mpf(p) for x, p in zip(q, truth)]


@given(st.lists(st.floats(-400, 400), min_size=2, max_size=6), st.data())
def test_loss_and_gradient_of_logits_are_right_to_the_last_bits(logits, data):
    label = data.draw(st.integers(0, len(logits) - 1))
    truth = np.eye(len(logits))[label].tolist()
    d = differential_from_logits(logits, label)
    loss, gradient = exact(logits, truth)
    assert d.loss == pytest.approx(float(loss), rel=2e-15, abs=SUBNORMALS)
    for c, value in enumerate(gradient):
        assert d.logits[c] == pytest.approx(float(value), rel=2e-15, abs=SUBNORMALS)
        assert d.logits[c] != 0 or abs(value) < SUBNORMALS


@pytest.mark.parametrize("margin", [1, 17, 37, 46, 100, 700, 740])
def test_a_confident_prediction_has_no_false_zero(margin):
    d = differential_from_logits([float(margin), 0.0], 0)
    loss, gradient = exact([float(margin), 0.0], [1.0, 0.0])
    with mpmath.workdps(900):
        odds = gradient[0] / (1 + gradient[0])
    for value, truth in (
        (d.loss, loss),
        (d.logits[0], gradient[0]),
        (d.logits[1], gradient[1]),
        (d.grad("in proportion")[0], odds),
    ):
        assert value != 0
        assert value == pytest.approx(float(truth), rel=1e-15, abs=SUBNORMALS)


def test_terms_below_the_range_count_where_their_sum_is_within_it():
    d = differential_from_logits([746.0] + [0.0] * 100, 0)
    loss, gradient = exact([746.0] + [0.0] * 100, [1.0] + [0.0] * 100)
    assert d.loss == pytest.approx(float(loss), rel=0, abs=SUBNORMALS)
    assert d.logits[0] == pytest.approx(float(gradient[0]), rel=0, abs=SUBNORMALS)
    assert d.logits[0] < 0 < d.loss


def test_rounding_of_the_shifted_logits_is_put_back():
    logits = [1e8, 1e8 - 1.0000000149, 0.1]
    d = differential_from_logits(logits, 1)
    loss, gradient = exact(logits, [0.0, 1.0, 0.0])
    assert d.loss == pytest.approx(float(loss), rel=4e-16, abs=0)
    assert d.logits[0] == pytest.approx(float(gradient[0]), rel=4e-16, abs=0)


def test_probabilities_that_round_to_one_keep_their_loss():
    d = differential([1.0, 1e-20], 0)
    assert d.loss == 1e-20
    assert d.logits.tolist() == [-1e-20, 1e-20]


def test_a_masked_class_takes_no_part():
    d = differential_from_logits([1.0, -INF, 2.0], 0)
    two = differential_from_logits([1.0, 2.0], 0)
    assert d.loss == two.loss
    assert d.logits.tolist() == [two.logits[0], 0.0, two.logits[1]]
    assert differential_from_logits([1.0, -INF, 2.0], 1).loss == INF


def test_derivatives_beyond_the_range_keep_their_sign_and_order():
    d = differential_from_logits([0.0, -800.0, -900.0], [0.0, 0.5, 0.5])
    assert d.loss == pytest.approx(850)
    assert d.ambient.tolist() == [0, -INF, -INF]
    assert d.grad(1).tolist() == [INF, 0, -INF]
    assert d.grad(2).tolist() == [INF, INF, 0]
    assert d.transfer(1, 2) == -INF
    assert np.isfinite(d.logits).all()


def test_a_difference_within_the_range_of_entries_beyond_it_is_finite_or_zero():
    d = differential_from_logits([0.0, -800.0, -800.0], [0.0, 0.5, 0.5])
    assert d.transfer(1, 2) == 0
    assert d.grad(1).tolist() == [INF, 0, 0]


@given(on_the_boundary())
def test_no_zero_has_a_sign(d):
    for pay in ["nobody", "everyone", "in proportion", *range(len(d.classes))]:
        grad, multiple = d.grad(pay), d.multiple(pay)
        assert not np.signbit(grad[grad == 0]).any()
        assert multiple != 0 or not np.signbit(multiple)
    assert not np.signbit(d.logits[d.logits == 0]).any()
    assert d.loss != 0 or not np.signbit(d.loss)


def test_a_signed_zero_given_is_a_zero():
    d = differential([1.0, -0.0], [1.0, -0.0])
    assert not np.signbit([*d.ambient[1:], *d.logits, *d.probs, *d.truth, d.loss]).any()
