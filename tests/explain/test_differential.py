"""Every rule of payment gives the same 1-form, and each is the derivative along e_c − w."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossent.simplex import Differential, differential, differential_from_logits

EVERYONE, PROPORTION, NOBODY = "everyone", "in proportion", "nobody"


@st.composite
def inside(draw: st.DrawFn, one_hot: bool | None = None) -> Differential:
    """A prediction inside the simplex with a label, a distribution or any other mass as its truth."""
    n = draw(st.integers(2, 8))
    shares = np.array(draw(st.lists(st.integers(1, 10**6), min_size=n, max_size=n)), dtype=float)
    label = draw(st.integers(0, n - 1))
    if one_hot is None:
        one_hot = draw(st.booleans())
    if one_hot:
        return differential(shares / shares.sum(), label)
    truth = draw(st.lists(st.integers(0, 1000), min_size=n, max_size=n))
    truth[label] += 1
    mass = draw(st.sampled_from([1.0, 0.25, 3.0]))
    return differential(shares / shares.sum(), mass * np.array(truth) / sum(truth))


@st.composite
def weights(draw: st.DrawFn, n: int) -> np.ndarray:
    """Weights that sum to 1 exactly enough, negative ones included."""
    w = np.array(draw(st.lists(st.integers(-50, 50), min_size=n, max_size=n)), dtype=float)
    assume(w.sum() != 0)
    return w / w.sum()


def exact_loss(d: Differential, q: list[mpmath.mpf]) -> mpmath.mpf:
    return -sum((mpmath.mpf(p) * mpmath.log(x) for p, x in zip(d.truth.tolist(), q) if p > 0), mpmath.mpf(0))


def measured(d: Differential, direction: list[mpmath.mpf]) -> float:
    """The central difference of the loss along a direction, at 60 digits."""
    with mpmath.workdps(60):
        q, step = [mpmath.mpf(x) for x in d.probs.tolist()], mpmath.mpf(10) ** -25
        ahead = exact_loss(d, [x + step * v for x, v in zip(q, direction)])
        behind = exact_loss(d, [x - step * v for x, v in zip(q, direction)])
        return float((ahead - behind) / (2 * step))


def payment(d: Differential, pay: object) -> np.ndarray:
    n = len(d.classes)
    if isinstance(pay, int):
        return np.eye(n)[pay]
    named = {NOBODY: np.zeros(n), EVERYONE: np.full(n, 1 / n), PROPORTION: d.probs}
    return named[pay] if isinstance(pay, str) else np.asarray(pay)


def rules(d: Differential) -> list:
    return [NOBODY, EVERYONE, PROPORTION, *range(len(d.classes))]


def scale(d: Differential) -> float:
    return float(np.abs(d.ambient).max())


@given(inside(), st.data())
def test_each_rule_is_the_derivative_along_its_direction(d, data):
    for pay in [*rules(d), data.draw(weights(len(d.classes)))]:
        w = payment(d, pay)
        grad = d.grad(pay)
        for c in range(len(d.classes)):
            direction = [mpmath.mpf(int(k == c)) - mpmath.mpf(float(w[k])) for k in range(len(w))]
            tolerance = 4e-15 * scale(d) * (1 + float(np.abs(w).sum()))
            assert grad[c] == pytest.approx(measured(d, direction), rel=1e-13, abs=tolerance)


@given(inside(), st.data())
def test_representatives_differ_by_the_multiple_of_ones_they_state(d, data):
    for pay in [*rules(d), data.draw(weights(len(d.classes)))]:
        tolerance = 1e-14 * scale(d) * (1 + float(np.abs(payment(d, pay)).sum()))
        np.testing.assert_allclose(d.grad(pay) - d.ambient, d.multiple(pay), rtol=0, atol=tolerance)


@given(inside())
def test_softmax_jacobian_pulls_every_representative_back_to_the_logit_gradient(d):
    jacobian = np.diag(d.probs) - np.outer(d.probs, d.probs)
    for pay in rules(d):
        np.testing.assert_allclose(jacobian @ d.grad(pay), d.logits, rtol=0, atol=1e-14 * scale(d))


@given(inside())
def test_logit_gradient_is_the_derivative_in_logits(d):
    logits = np.log(d.probs)
    for c in range(len(d.classes)):
        with mpmath.workdps(60):
            step = mpmath.mpf(10) ** -25

            def loss(at: mpmath.mpf, c: int = c) -> mpmath.mpf:
                exps = [mpmath.exp(mpmath.mpf(z) + (at if k == c else 0)) for k, z in enumerate(logits.tolist())]
                return exact_loss(d, [x / sum(exps) for x in exps])

            slope = float((loss(step) - loss(-step)) / (2 * step))
        assert d.logits[c] == pytest.approx(slope, abs=1e-14 * d.mass)


@given(inside())
def test_natural_gradient_represents_the_derivative_in_the_fisher_metric(d):
    for c in range(1, len(d.classes)):
        v = np.zeros(len(d.classes))
        v[0], v[c] = -1.0, 1.0
        inner = float((d.natural * v / d.probs).sum())
        assert inner == pytest.approx(d.along(v), abs=1e-14 * (scale(d) + d.mass / d.probs.min()))


@given(inside(one_hot=True))
def test_with_a_label_only_the_true_class_as_payer_changes_the_ambient_components(d):
    y = int(np.argmax(d.truth))
    for r in range(len(d.classes)):
        same = np.array_equal(d.grad(r), d.ambient)
        assert same == (r != y)
    expected = np.full(len(d.classes), 1 / d.probs[y])
    expected[y] = 0
    np.testing.assert_allclose(d.grad(y), expected, rtol=4e-16)


@given(inside())
def test_ambient_and_chart_agree_exactly_when_the_payer_has_no_truth(d):
    for r in range(len(d.classes)):
        assert np.array_equal(d.grad(r), d.ambient) == (d.truth[r] == 0)


@given(inside())
def test_a_paying_class_has_entry_zero(d):
    for r, name in enumerate(d.classes):
        assert d.grad(r)[r] == 0
        assert np.array_equal(d.grad(name), d.grad(r))


@given(inside())
def test_transfer_is_the_entry_of_the_receiver_in_the_payers_chart(d):
    for src in range(len(d.classes)):
        for dst in range(len(d.classes)):
            assert d.transfer(src, dst) == d.grad(src)[dst]
            assert d.transfer(src, dst) == -d.transfer(dst, src)


@given(inside())
def test_logit_gradient_sums_to_zero(d):
    assert abs(d.logits.sum()) <= 1e-15 * len(d.classes) * d.mass


@given(inside())
def test_optimum_has_no_derivative_along_the_simplex_though_the_ambient_one_is_not_zero(d):
    at = differential(d.probs, d.probs)
    assert np.array_equal(at.ambient, -np.ones(len(at.classes)))
    for pay in (EVERYONE, PROPORTION, 0):
        np.testing.assert_allclose(at.grad(pay), 0, atol=1e-15)
    np.testing.assert_allclose(at.logits, 0, atol=1e-16)


def test_class_weights_multiply_the_truth():
    weighted = differential([0.5, 0.3, 0.2], [0.2, 0.3, 0.5], weight=[1, 2, 4])
    plain = differential([0.5, 0.3, 0.2], np.array([0.2, 0.3, 0.5]) * [1, 2, 4])
    assert weighted.loss == plain.loss
    assert np.array_equal(weighted.logits, plain.logits)
    assert weighted.mass == pytest.approx(2.8)


def test_fixed_weights_may_name_several_payers():
    d = differential([0.5, 0.3, 0.2], 0)
    np.testing.assert_allclose(d.grad([0.5, 0.5, 0]), [-1, 1, 1])
    assert d.multiple([0.5, 0.5, 0]) == 1


def test_truth_may_be_index_name_mapping_or_array():
    names = ["dog", "cat", "bird"]
    truths = [0, np.int64(0), np.array(0), "dog", {"dog": 1.0}, [1, 0, 0], np.array([1.0, 0, 0])]
    losses = [differential([0.5, 0.49, 0.01], truth, classes=names).loss for truth in truths]
    assert losses == [losses[0]] * len(truths)


def test_arrays_cannot_be_changed():
    d = differential([0.5, 0.5], 0)
    for array in (d.probs, d.truth, d.logits, d.ambient, d.grad(0), d.log_probs):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_probs_of_float32_are_divided_by_their_sum():
    q = np.array([1 / 3] * 3, dtype=np.float32)
    d = differential(q, 0)
    assert d.given_sum == float(q.astype(float).sum()) != 1
    assert d.probs.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0.5, 0.6], 0), {}, r"the sum of probs = 1\.1: expected 1 within 1e-06"),
        (([0.0, 0.0], 0), {"normalize": True}, r"the sum of probs = 0\.0"),
        (([-0.5, 1.5], 0), {"classes": ["a", "b"]}, r"probs\['a'\] = -0\.5: expected a finite number >= 0"),
        (([0.5, np.nan], 0), {}, r"probs\['1'\] = nan"),
        (([1.0], 0), {}, "the number of classes = 1: expected at least 2"),
        (([], 0), {}, r"len\(probs\) = 0"),
        (([[0.5, 0.5]], 0), {}, r"target\.shape = \(\): expected \(1,\), one label per row, or \(1, 2\), masses"),
        ((0.5, 0), {}, r"probs\.shape = \(\)"),
        (([0.5, 0.5], 2), {}, r"target = 2: expected a class index in \[0, 2\)"),
        (([0.5, 0.5], -1), {}, r"target = -1"),
        (([0.5, 0.5], "cow"), {"classes": ["dog", "cat"]}, "target = 'cow': expected one of 'dog', 'cat'"),
        (([0.5, 0.5], {}), {}, "target = {}"),
        (([0.5, 0.5], {"cow": 1}), {"classes": ["dog", "cat"]}, "target = 'cow'"),
        (([0.5, 0.5], [0.5, -0.5]), {}, r"target\['1'\] = -0\.5"),
        (([0.5, 0.5], [1, 0, 0]), {}, r"len\(target\) = 3: expected 2"),
        (([0.5, 0.5], [1e308, 1e308]), {}, "the sum of target = inf"),
        (([0.5, 0.5], 0), {"classes": ["a"]}, r"len\(classes\) = 1: expected 2"),
        (([0.5, 0.5], 0), {"classes": ["a", "a"]}, r"classes\[1\] = 'a': expected a name used once"),
        (([0.5, 0.5], 0), {"classes": ["a", "everyone"]}, r"classes\[1\] = 'everyone'"),
        (([0.5, 0.5], 0), {"classes": ["a", " "]}, r"classes\[1\] = ' ': expected a name that is not empty"),
        (([0.5, 0.5], 0), {"weight": [1, -1]}, r"weight\['1'\] = -1\.0"),
    ],
)
def test_bad_input_names_argument_value_and_expectation(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        differential(*arguments, **options)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([0.0, np.inf], r"logits\['1'\] = inf"),
        ([np.nan, 0.0], r"logits\['0'\] = nan"),
        ([-np.inf, -np.inf], "the largest of logits = -inf: expected a finite number"),
    ],
)
def test_bad_logits_are_refused(logits, message):
    with pytest.raises(ValueError, match=message):
        differential_from_logits(logits, 0)


@pytest.mark.parametrize("argument", [True, 0.5, None])
def test_a_target_of_the_wrong_type_is_refused(argument):
    with pytest.raises(TypeError, match="target is a"):
        differential([0.5, 0.5], argument)


@pytest.mark.parametrize(
    ("pay", "message"),
    [
        ("cow", "pay = 'cow': expected one of 'nobody', 'everyone', 'in proportion', '0', '1'"),
        (2, r"pay = 2: expected a class index in \[0, 2\)"),
        ([0.5, 0.6], r"the sum of pay = 1\.1"),
        ([np.nan, 1], r"pay\['0'\] = nan"),
        ([1.0], r"len\(pay\) = 1"),
    ],
)
def test_an_unknown_payer_is_refused(pay, message):
    d = differential([0.5, 0.5], 0)
    for method in (d.grad, d.multiple):
        with pytest.raises(ValueError, match=message):
            method(pay)


def test_a_direction_off_the_simplex_is_refused_with_its_sum():
    with pytest.raises(ValueError, match=r"the sum of v = 0\.25: expected 0"):
        differential([0.5, 0.5], 0).along([0.5, -0.25])


def test_a_direction_with_rounding_in_its_sum_is_taken():
    assert differential([0.5, 0.25, 0.25], 0).along([0.1, 0.2, -0.3]) == pytest.approx(-0.2)
