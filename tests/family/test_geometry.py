"""What every loss of the prediction obeys: one 1-form, whoever pays, and a rest where the truth is predicted."""

import numpy as np
import pytest
from textbook_losses import CASES

from crossent import family

every_loss = pytest.mark.parametrize("case", CASES, ids=lambda case: case.loss.name)
PROPER = (
    family.CrossEntropy(),
    family.Brier(),
    family.Spherical(),
    family.RankedProbabilityScore(),
    family.ReverseKL(),
    family.JensenShannon(),
)


@every_loss
def test_every_rule_of_payment_pulls_back_to_the_same_logit_gradient(case, rng):
    for classes in (2, 3, 6):
        q, p = rng.dirichlet(np.ones(classes)), rng.dirichlet(np.ones(classes))
        a = case.loss.ambient(q, p)
        jacobian = np.diag(q) - np.outer(q, q)
        free = rng.standard_normal(classes)
        rules = [np.zeros(classes), *np.eye(classes), np.full(classes, 1 / classes), q, free / free.sum()]
        for w in rules:
            pulled = jacobian @ (a - w @ a)
            np.testing.assert_allclose(pulled, case.loss.logit_gradient(np.log(q), p), rtol=1e-9, atol=1e-13)


@every_loss
def test_logit_gradients_sum_to_zero(case, rng):
    logits = 10.0 * rng.standard_normal((50, 4))
    _, grad = family.value_and_logit_gradient(case.loss, logits, rng.dirichlet(np.ones(4), 50))
    assert np.all(np.abs(grad.sum(axis=-1)) <= 1e-15 * (1.0 + np.abs(grad).max(axis=-1)))


@pytest.mark.parametrize("loss", PROPER, ids=lambda loss: loss.name)
def test_proper_losses_rest_at_the_truth_and_rise_away_from_it(loss, rng):
    p = rng.dirichlet(np.ones(5), 20)
    assert np.abs(loss.logit_gradient(np.log(p), p)).max() < 1e-15
    away = rng.dirichlet(np.ones(5), 20)
    assert np.all(loss.value(away, p) > loss.value(p, p))


@pytest.mark.parametrize(("special", "general", "factor"), [
    (family.Focal(0.0), family.CrossEntropy(), 1.0),
    (family.Poly1(0.0), family.CrossEntropy(), 1.0),
    (family.SymmetricCrossEntropy(1.0, 0.0), family.CrossEntropy(), 1.0),
    # The absolute error of a label is 2(1 − q_y), and so is the reverse cross-entropy with A = −2.
    (family.SymmetricCrossEntropy(0.0, 1.0, -2.0), family.GeneralizedCrossEntropy(1.0), 2.0),
])  # fmt: skip
def test_special_cases_meet(special, general, factor, rng):
    logits, label = 3.0 * rng.standard_normal((30, 4)), rng.integers(0, 4, 30)
    for got, want in zip(
        family.value_and_logit_gradient(special, logits, label),
        family.value_and_logit_gradient(general, logits, label),
        strict=True,
    ):
        np.testing.assert_allclose(got, factor * want, rtol=1e-13, atol=1e-16)


def test_generalised_cross_entropy_tends_to_the_cross_entropy(rng):
    q, label = rng.dirichlet(np.ones(4), 10), rng.integers(0, 4, 10)
    near = family.GeneralizedCrossEntropy(1e-9).value(q, label)
    np.testing.assert_allclose(near, family.CrossEntropy().value(q, label), rtol=1e-7)


@every_loss
def test_a_batch_is_its_rows(case, rng):
    logits = 5.0 * rng.standard_normal((2, 3, 4))
    p = rng.dirichlet(np.ones(4), (2, 3))
    loss, grad = family.value_and_logit_gradient(case.loss, logits, p)
    q = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    values, ambient, hessian = (f(q, p) for f in (case.loss.value, case.loss.ambient, case.loss.hessian))
    assert (loss.shape, grad.shape, hessian.shape) == ((2, 3), (2, 3, 4), (2, 3, 4, 4))
    for i in np.ndindex(2, 3):
        one, slope = family.value_and_logit_gradient(case.loss, logits[i], p[i])
        assert one.shape == ()
        np.testing.assert_allclose(loss[i], one, rtol=1e-15)
        np.testing.assert_allclose(grad[i], slope, rtol=1e-15, atol=1e-18)
        np.testing.assert_allclose(values[i], case.loss.value(q[i], p[i]), rtol=1e-15)
        np.testing.assert_allclose(ambient[i], case.loss.ambient(q[i], p[i]), rtol=1e-15)
        np.testing.assert_allclose(hessian[i], case.loss.hessian(q[i], p[i]), rtol=1e-15)


@every_loss
def test_a_label_is_its_distribution(case, rng):
    logits, label = rng.standard_normal((5, 3)), rng.integers(0, 3, 5)
    got = family.value_and_logit_gradient(case.loss, logits, label)
    want = family.value_and_logit_gradient(case.loss, logits, np.eye(3)[label])
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


LINEAR = (
    family.CrossEntropy(),
    family.Spherical(),
    family.Focal(),
    family.GeneralizedCrossEntropy(),
    family.Poly1(),
)


@pytest.mark.parametrize("linear", LINEAR, ids=lambda loss: loss.name)
def test_losses_linear_in_the_truth_take_any_mass(linear, rng):
    logits, p = rng.standard_normal(4), rng.dirichlet(np.ones(4))
    loss, grad = family.value_and_logit_gradient(linear, logits, p)
    doubled, pushed = family.value_and_logit_gradient(linear, logits, 2.0 * p)
    np.testing.assert_allclose(doubled, 2.0 * loss, rtol=1e-15)
    np.testing.assert_allclose(pushed, 2.0 * grad, rtol=1e-13, atol=1e-16)


class Surprisal(family.PredictionLoss):
    """The cross-entropy by its ambient gradient alone."""

    name = "surprisal"

    def value(self, probs, truth):
        return np.where(truth > 0, -truth * np.log(probs), 0.0).sum(axis=-1)

    def ambient(self, probs, truth):
        return np.where(truth > 0, -truth / probs, 0.0)

    def hessian(self, probs, truth):
        raise NotImplementedError


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_loss_of_ones_own_may_have_no_bound_and_take_any_mass():
    loss, grad = family.value_and_logit_gradient(Surprisal(), [0.0, 1.0, 0.0], np.array([2.0, 0.0, 1.0]))
    want, slope = family.value_and_logit_gradient(family.CrossEntropy(), [0.0, 1.0, 0.0], [2.0, 0.0, 1.0])
    assert loss == pytest.approx(want, rel=1e-15)
    np.testing.assert_allclose(grad, slope, rtol=1e-14)
    # What a class of probability 0 has to say is infinite, and left out.
    absent = Surprisal().logit_gradient(np.array([-np.inf, np.log(0.25), np.log(0.75)]), np.array([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(absent, [0.0, 0.125 - 0.5, 0.375], rtol=1e-14)


def test_a_loss_of_ones_own_needs_its_ambient_gradient_only(rng):
    class Borrowed(family.PredictionLoss):
        name = "Brier again"

        def value(self, probs, truth):
            return np.sum((probs - truth) ** 2, axis=-1)

        def ambient(self, probs, truth):
            return 2.0 * (np.asarray(probs) - truth)

        def hessian(self, probs, truth):
            return 2.0 * np.broadcast_to(np.eye(np.shape(probs)[-1]), (*np.shape(probs), np.shape(probs)[-1]))

    logits, p = rng.standard_normal((6, 4)), rng.dirichlet(np.ones(4), 6)
    for got, want in zip(
        family.value_and_logit_gradient(Borrowed(), logits, p),
        family.value_and_logit_gradient(family.Brier(), logits, p),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15)
