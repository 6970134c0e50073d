"""One derivative, several gradients: what each metric makes of it, and where none of them goes."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from exact_simplex import DIGITS, ambient, anywhere, big, confident, dot, mean, on_the_boundary, probabilities
from hypothesis import given

from crossent.simplex import Differential, differential, differential_from_logits

METRICS = ("euclidean", "natural", "logit")


def velocities(d: Differential) -> dict[object, list[mpmath.mpf]]:
    """The formulas, written out."""
    q, p = probabilities(d), big(d.truth)
    a, mass = ambient(q, p), sum(p)
    g = [mass * x - y for x, y in zip(q, p)]
    charts = {r: [a[r] - x for x in a] for r in range(len(q))}
    for r, v in charts.items():
        v[r] = -sum(v)
    return {
        "euclidean": [mean(a) - x for x in a],
        "natural": [-x for x in g],
        "logit": [-x * (y - dot(q, g)) for x, y in zip(q, g)],
        **charts,
    }


@given(anywhere())
def test_velocities_are_their_formulas(d):
    with mpmath.workdps(DIGITS):
        for metric, formula in velocities(d).items():
            expected = [float(x) for x in formula]
            scale = max(map(abs, [*expected, d.mass]))
            np.testing.assert_allclose(d.velocity(metric), expected, rtol=1e-12, atol=1e-14 * scale)


@given(confident())
def test_confident_predictions_keep_the_digits_of_their_logit_velocity(d):
    with mpmath.workdps(400):
        formula = [float(x) for x in velocities(d)["logit"]]
    top = int(np.argmax(d.log_probs))
    rounding = 1e-14 * d.probs * (np.abs(d.logits) + d.probs @ np.abs(d.logits))
    rounding[top] = np.delete(rounding, top).sum()
    for value, expected, tolerance in zip(d.velocity("logit"), formula, rounding):
        assert value == pytest.approx(expected, rel=1e-13, abs=tolerance + 1e-300)


def test_a_certain_prediction_still_moves():
    d = differential_from_logits([60.0, 0.0], 0)
    with mpmath.workdps(400):
        formula = [float(x) for x in velocities(d)["logit"]]
    assert d.velocity("logit").tolist() == pytest.approx(formula, rel=1e-15)
    assert 0 < d.velocity("logit")[0] < 1e-50


@given(anywhere())
def test_every_velocity_stays_on_the_simplex_and_goes_down(d):
    for metric in (*METRICS, *range(len(d.classes))):
        v = d.velocity(metric)
        size = float(np.abs(v).max())
        assert abs(v.sum()) <= (1e-14 * size + 4e-16 * d.mass) * len(v)
        if size > 1e-9 * d.mass:
            assert d.along(v - v.mean()) < 0


@given(anywhere())
def test_each_gradient_represents_the_derivative_in_its_metric(d):
    """⟨gradient, v⟩ is dH(v) for the transfers v, whatever the metric: diag(1/q) is the natural one."""
    scale = float(np.abs(d.ambient).max())
    for c in range(1, len(d.classes)):
        v = np.zeros(len(d.classes))
        v[0], v[c] = -1.0, 1.0
        assert d.euclidean @ v == pytest.approx(d.along(v), rel=1e-12, abs=1e-14 * scale)
        inner, size = d.natural @ d.fisher_metric() @ v, scale + d.mass / d.probs.min()
        assert inner == pytest.approx(d.along(v), rel=1e-12, abs=1e-14 * size)


def test_near_the_optimum_the_euclidean_gradient_keeps_its_digits():
    p = np.array([0.5, 0.25, 0.25])
    d = differential(p + np.array([2.0**-40, -(2.0**-40), 0]), p)
    with mpmath.workdps(DIGITS):
        a = ambient(big(d.probs), big(d.truth))
        expected = [float(x - mean(a)) for x in a]
    np.testing.assert_allclose(d.euclidean, expected, rtol=1e-15)


def test_at_the_optimum_nothing_moves():
    d = differential([0.5, 0.3, 0.2], [0.5, 0.3, 0.2])
    for velocity in d.velocities.values():
        np.testing.assert_allclose(velocity, 0, atol=1e-16)


def test_a_class_that_takes_no_part_is_left_out():
    face, whole = differential([0.5, 0.25, 0.25], [0.5, 0.5, 0]), differential([0.5, 0.25, 0.0, 0.25], [0.5, 0.5, 0, 0])
    for metric in (*METRICS, 0, 1):
        moved = whole.velocity(metric)
        assert moved[2] == 0
        assert np.array_equal(np.delete(moved, 2), face.velocity(metric))
    # The chart of the absent class: it has nothing to pay with, so that the others share the payment.
    assert np.array_equal(whole.velocity(2), whole.velocity("euclidean"))
    masked = differential_from_logits([0.0, -np.inf, 1.0], 0)
    assert masked.euclidean[1] == 0
    assert np.array_equal(np.delete(masked.euclidean, 1), differential_from_logits([0.0, 1.0], 0).euclidean)


def test_a_true_class_of_probability_zero_pulls_without_bound():
    d = differential([0.0, 0.5, 0.5], 0)
    assert d.euclidean.tolist() == [-np.inf, np.inf, np.inf]
    assert d.velocities["natural"].tolist() == [1, -0.5, -0.5]
    assert d.velocities["logit"].tolist() == [0, 0, 0]
    assert d.velocity(0).tolist() == [np.inf, -np.inf, -np.inf]
    assert d.velocity(1).tolist() == [np.inf, -np.inf, 0]


@given(on_the_boundary())
def test_no_velocity_is_nan_or_leads_off_the_face(d):
    absent = (d.probs == 0) & (d.truth == 0)
    for metric in (*METRICS, *range(len(d.classes))):
        v = d.velocity(metric)
        assert not np.isnan(v).any()
        assert not v[absent].any()


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        ("newton", ValueError, "metric = 'newton': expected one of 'euclidean', 'natural', 'logit', '0', '1'"),
        (2, ValueError, r"metric = 2: expected a class index in \[0, 2\)"),
        (None, TypeError, "metric is a NoneType"),
    ],
)
def test_an_unknown_metric_is_refused(metric, error, message):
    with pytest.raises(error, match=message):
        differential([0.5, 0.5], 0).velocity(metric)
