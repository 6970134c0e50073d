"""Descents stay on the simplex, take the steps of their metric, and charts disagree."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from exact_simplex import DIGITS, anywhere, big, confident, on_the_boundary
from hypothesis import given, settings
from hypothesis import strategies as st

from crossent.family import Brier
from crossent.simplex import differential, differential_from_logits
from crossent.simplex.descent import project

DESCENTS = ["euclidean", "natural", "logit", "exponentiated", 0, 1]


def nearest(point: list[Fraction]) -> list[Fraction]:
    """The projection to the simplex by its condition: max(x − θ, 0) with the θ for which the sum is 1."""
    for support in range(1, len(point) + 1):
        theta = (sum(sorted(point, reverse=True)[:support]) - 1) / support
        found = [max(x - theta, Fraction(0)) for x in point]
        if sum(found) == 1:
            return found
    raise AssertionError


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=8))
def test_projection_is_the_nearest_point_of_the_simplex(point):
    expected = [float(x) for x in nearest([Fraction(x) for x in point])]
    found = project(np.array(point))
    np.testing.assert_allclose(found, expected, atol=1e-15)
    assert found.sum() == pytest.approx(1, abs=4e-16)
    assert np.array_equal(found == 0, np.array(expected) == 0) or np.abs(found - expected).max() < 1e-15


@given(st.lists(st.integers(1, 50), min_size=2, max_size=8))
def test_a_point_of_the_simplex_is_its_own_projection(shares):
    q = np.array(shares) / sum(shares)
    np.testing.assert_allclose(project(q), q, rtol=0, atol=2e-16)


def test_projection_of_points_far_away_or_infinite():
    inf = np.inf
    assert project(np.array([1e300, 0.0, -1e300])).tolist() == [1, 0, 0]
    assert project(np.array([inf, 5.0, inf, -inf])).tolist() == [0.5, 0, 0.5, 0]
    assert project(np.array([-inf, 0.25, 0.5])).tolist() == [0, 0.375, 0.625]


@settings(max_examples=30)
@given(st.one_of(anywhere(), on_the_boundary(), confident()), st.sampled_from(DESCENTS), st.floats(1e-3, 1e3))
def test_every_step_is_on_the_simplex_and_nothing_is_nan(d, metric, step_size):
    path = d.flow(metric, steps=5, step_size=step_size)
    assert path.probs.shape == (6, len(d.classes))
    assert path.losses.shape == (6,)
    assert (path.probs >= 0).all()
    np.testing.assert_allclose(path.probs.sum(axis=-1), 1, rtol=0, atol=1e-14)
    assert not np.isnan(path.losses).any()
    assert np.array_equal(path.probs[0], d.probs)
    assert path.losses[0] == d.loss
    assert not path.probs[:, (d.probs == 0) & (d.truth == 0)].any()


@given(anywhere(), st.sampled_from(DESCENTS))
def test_small_steps_go_down(d, metric):
    speed = float(np.abs(d.velocity(metric) if metric != "exponentiated" else d.natural).max())
    if speed > 1e-6:
        path = d.flow(metric, steps=3, step_size=1e-4 * float(d.probs.min()) ** 2 / max(speed, d.mass))
        assert (np.diff(path.losses) <= 1e-15 * path.losses[0]).all()
        assert path.losses[-1] < path.losses[0] or np.ptp(path.losses) < 1e-12 * path.losses[0]


@given(anywhere(), st.sampled_from(["euclidean", "natural", "logit", 0, 1]))
def test_a_short_step_follows_the_velocity(d, metric):
    size = 1e-6 * float(d.probs.min()) / float(np.abs(d.velocity(metric)).max() + 1)
    moved = d.flow(metric, steps=1, step_size=size).probs[1] - d.probs
    np.testing.assert_allclose(moved, size * d.velocity(metric), rtol=1e-4, atol=1e-15)


def test_an_exponentiated_step_is_its_formula():
    d = differential([0.5, 0.3, 0.2], [0.2, 0.3, 0.5])
    path = d.flow("exponentiated", steps=30, step_size=0.1)
    with mpmath.workdps(DIGITS):
        q, p = big(d.probs), big(d.truth)
        for _ in range(30):
            q = [x * mpmath.exp(mpmath.mpf(0.1) * y / x) for x, y in zip(q, p)]
            q = [x / sum(q) for x in q]
        np.testing.assert_allclose(path.probs[-1], [float(x) for x in q], rtol=1e-13)


@pytest.mark.parametrize("start", [[0.0, 0.0, 0.0], [30.0, -10.0, 0.0]])
def test_logit_descent_is_gradient_descent_in_logits(start):
    path = differential_from_logits(start, 0).flow("logit", steps=40, step_size=0.5)
    with mpmath.workdps(DIGITS):
        z, p = [mpmath.mpf(x) for x in start], [1, 0, 0]
        for k in range(41):
            exps = [mpmath.exp(x) for x in z]
            q = [x / sum(exps) for x in exps]
            np.testing.assert_allclose(path.probs[k], [float(x) for x in q], rtol=1e-12)
            assert path.losses[k] == pytest.approx(float(-mpmath.log(q[0])), rel=1e-12)
            z = [x - (y - t) / 2 for x, y, t in zip(z, q, p)]


@given(anywhere())
def test_natural_descent_walks_straight_to_the_truth(d):
    goal = d.truth / d.mass
    path = d.flow("natural", steps=20, step_size=0.25 / d.mass)
    for k, q in enumerate(path.probs):
        np.testing.assert_allclose(q, goal + 0.75**k * (d.probs - goal), atol=1e-14)


@pytest.mark.parametrize("payer", [0, 1, 2])
def test_chart_descent_is_gradient_descent_in_the_free_probabilities(payer):
    d = differential([0.5, 0.3, 0.2], [0.2, 0.3, 0.5])
    path = d.flow(payer, steps=5, step_size=0.01)
    with mpmath.workdps(DIGITS):
        q, p, step = big(d.probs), big(d.truth), mpmath.mpf(0.01)
        for k in range(6):
            np.testing.assert_allclose(path.probs[k], [float(x) for x in q], rtol=1e-14)
            owed = p[payer] / q[payer]
            q = [x - step * (owed - y / x) for x, y in zip(q, p)]
            q[payer] = 1 - sum(x for c, x in enumerate(q) if c != payer)


def test_descents_in_different_charts_end_at_different_points():
    d = differential([0.5, 0.3, 0.2], [0.2, 0.3, 0.5])
    ends = [d.flow(r, steps=5, step_size=0.01).probs[-1] for r in range(3)]
    for one, two in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(ends[one] - ends[two]).max() > 1e-3
    by_name = differential(d.probs, d.truth, classes=["a", "b", "c"]).flow("b", steps=5, step_size=0.01)
    assert np.array_equal(by_name.probs[-1], ends[1])
    assert by_name.metric == 1


@pytest.mark.parametrize("metric", DESCENTS)
def test_every_descent_finds_the_optimum(metric):
    p = np.array([0.2, 0.3, 0.5])
    path = differential([0.5, 0.3, 0.2], p).flow(metric, steps=3000, step_size=0.05)
    np.testing.assert_allclose(path.probs[-1], p, atol=1e-9)
    assert path.losses[-1] == pytest.approx(-(p * np.log(p)).sum())


def test_only_the_descents_in_probabilities_leave_a_wrong_certainty():
    d = differential([0.0, 1.0], 0)
    for metric in ("euclidean", "natural", 0, 1):
        assert np.isfinite(d.flow(metric, 3, 0.5).losses[-1])
    for metric in ("logit", "exponentiated"):
        assert d.flow(metric, 3, 0.5).probs.tolist() == [[0, 1]] * 4


def test_steps_beyond_the_range_are_limits():
    d = differential_from_logits([0.0, -800.0, -900.0], 1)
    assert d.flow("exponentiated", 1, 1.0).probs[1].tolist() == [0, 1, 0]
    assert d.flow("euclidean", 1, 1.0).probs[1].tolist() == [0, 1, 0]


def test_no_steps_is_the_start_and_fractions_become_floats():
    path = differential([Fraction(1, 3), Fraction(2, 3)], 0).flow("euclidean", steps=0)
    assert path.probs.tolist() == [[1 / 3, 2 / 3]]
    assert path.probs.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        path.probs[0] = 0


def test_another_loss_descends_to_its_optimum():
    d = differential([0.5, 0.3, 0.2], [0.2, 0.3, 0.5], loss=Brier())
    for metric in ("euclidean", "natural", 0, 2):
        assert d.flow(metric, 400, 0.2).losses[-1] < 1e-12


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ("newton",),
            ValueError,
            "metric = 'newton': expected one of 'euclidean', 'natural', 'logit', 'exponentiated'",
        ),
        ((5,), ValueError, r"metric = 5: expected a class index in \[0, 2\)"),
        (("natural", -1), ValueError, "steps = -1"),
        (("natural", 1.5), TypeError, "steps is a float"),
        (("natural", 1, 0.0), ValueError, r"step_size = 0\.0: expected a positive, finite number"),
        (("natural", 1, float("nan")), ValueError, "step_size = nan"),
        (("natural", 1, "a"), TypeError, "step_size is a str"),
    ],
)
def test_a_wrong_descent_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        differential([0.5, 0.5], 0).flow(*arguments)
