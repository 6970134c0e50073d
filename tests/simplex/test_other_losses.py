"""A loss that gives its ambient gradient has all that the cross-entropy has, the boundary included."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from exact_simplex import anywhere, on_the_boundary
from hypothesis import given, settings
from hypothesis import strategies as st

from crossent.family import LOSSES, Brier, CrossEntropy, PredictionLoss
from crossent.simplex import differential, differential_from_logits

RULES = ["nobody", "everyone", "in proportion", 0, 1]
METRICS = ["euclidean", "natural", "logit", 0, 1]
every_loss = pytest.mark.parametrize("loss", [loss() for loss in LOSSES], ids=lambda loss: loss.name)


@settings(max_examples=40)
@given(st.one_of(on_the_boundary(), anywhere()))
def test_the_cross_entropy_by_its_ambient_gradient_is_the_cross_entropy(d):
    general = differential(d.probs, d.truth, loss=CrossEntropy())
    scale = float(np.abs(d.ambient[np.isfinite(d.ambient)]).max(initial=d.mass))
    for pay in RULES:
        np.testing.assert_allclose(general.grad(pay), d.grad(pay), rtol=1e-12, atol=1e-14 * scale)
        assert general.multiple(pay) == pytest.approx(d.multiple(pay), rel=1e-12, abs=1e-14 * scale)
        atol = 1e-13 * float((1 / d.probs[d.probs > 0]).max()) * scale
        np.testing.assert_allclose(general.hessian(pay), d.hessian(pay), rtol=1e-12, atol=atol)
    for metric in METRICS:
        np.testing.assert_allclose(general.velocity(metric), d.velocity(metric), rtol=1e-12, atol=1e-14 * scale)
    np.testing.assert_allclose(general.hessian_logits, d.hessian_logits, rtol=1e-12, atol=1e-14 * d.mass)


@every_loss
@settings(max_examples=15)
@given(d=on_the_boundary(), metric=st.sampled_from([*METRICS, "exponentiated"]))
def test_nothing_is_nan_and_every_rule_is_certified(loss, d, metric):
    d = differential(d.probs, d.truth, loss=loss)
    assert not np.isnan(d.loss)
    for pay in RULES:
        assert not np.isnan(d.grad(pay)).any()
        assert not np.isnan(d.hessian(pay)).any()
        assert not np.isnan(d.multiple(pay))
        assert d.same_as(pay).same
    assert not np.isnan(d.hessian_logits).any()
    for name in METRICS:
        assert not np.isnan(d.velocity(name)).any()
    path = d.flow(metric, steps=3, step_size=0.1)
    assert not np.isnan(path.losses).any()
    assert (path.probs >= 0).all()
    np.testing.assert_allclose(path.probs.sum(axis=-1), 1, atol=1e-13)


@every_loss
@settings(max_examples=10)
@given(d=anywhere(), data=st.data())
def test_the_derivative_along_a_direction_is_the_slope_of_the_loss(loss, d, data):
    p = d.truth / d.mass + 0.01  # a smoothed truth, for which every loss is finite
    d = differential(d.probs, p / p.sum(), loss=loss)
    c = data.draw(st.integers(1, len(d.classes) - 1))
    direction = np.zeros(len(d.classes))
    direction[0], direction[c] = 1.0, -1.0
    h = 1e-5 * float(min(d.probs[0], d.probs[c]))
    ahead, behind = (float(loss.value(d.probs + s * h * direction, d.truth)) for s in (1, -1))
    size = abs(d.loss) + float(np.abs(d.ambient).max()) + 1
    assert d.along(direction) == pytest.approx((ahead - behind) / (2 * h), rel=1e-5, abs=1e-6 * size + 1e-15 * size / h)


@every_loss
def test_rows_of_other_losses_are_the_rows_alone(loss):
    rng = np.random.default_rng(5)
    q, p = rng.dirichlet(np.ones(4), 6), rng.dirichlet(np.ones(4), 6)
    together = differential(q, p, loss=loss)
    for i in range(6):
        alone = differential(q[i], p[i], loss=loss)
        assert together.loss[i] == pytest.approx(alone.loss, rel=1e-15)
        np.testing.assert_allclose(together.euclidean[i], alone.euclidean, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(together.hessian_logits[i], alone.hessian_logits, rtol=1e-12, atol=1e-15)
        assert together[i].loss_function is loss


def test_confident_logits_keep_the_digits_of_other_losses():
    d = differential_from_logits([40.0, 0.0], 0, loss=Brier())
    assert d.loss == pytest.approx(2 * np.exp(-80), rel=1e-14)
    assert d.logits[1] == pytest.approx(4 * np.exp(-80), rel=1e-14)


class Cost(PredictionLoss):
    """A loss of the caller's own: what each decision costs on average."""

    name = "cost"
    costs = np.array([[0.0, 1.0, 5.0], [1.0, 0.0, 5.0], [2.0, 2.0, 0.0]])

    def value(self, probs, truth):
        return np.sum(np.asarray(probs) * (truth @ self.costs), axis=-1)

    def ambient(self, probs, truth):
        return truth @ self.costs

    def hessian(self, probs, truth):
        return np.zeros((*np.shape(probs), np.shape(probs)[-1]))


def test_a_loss_of_the_callers_own():
    d = differential([0.5, 0.25, 0.25], 0, loss=Cost())
    assert d.loss == 1.5
    assert d.grad(0).tolist() == [0, 1, 5]
    assert d.transfer(1, 2) == 4
    np.testing.assert_allclose(d.grad("in proportion"), [-1.5, -0.5, 3.5])
    assert d.same_as("everyone").multiple == pytest.approx(-2)
    assert d.flow("euclidean", 10, 0.1).probs[-1].tolist() == [1, 0, 0]


class Broken(Cost):
    name = "broken"

    def value(self, probs, truth):
        return np.nan


def test_a_loss_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="the value of broken = nan: expected a number"):
        differential([0.5, 0.25, 0.25], 0, loss=Broken())


def test_fractions_and_class_weights_are_for_the_cross_entropy():
    with pytest.raises(TypeError, match="probs is a Fraction: expected floats, as Brier is not computed in fractions"):
        differential([Fraction(1, 2), Fraction(1, 2)], 0, loss=Brier())
    with pytest.raises(TypeError, match="weight is a list"):
        differential([0.5, 0.5], 0, weight=[1, 2], loss=Brier())
