"""Where a probability is 0: never NaN, and the limit from inside wherever it is finite."""

import itertools

import numpy as np
import pytest
from textbook_losses import CASES

from crossent import family

every_loss = pytest.mark.parametrize("case", CASES, ids=lambda case: case.loss.name)
PREDICTIONS = [(1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.0, 0.3, 0.7), (1.0, 5e-324, 0.0), (0.2, 0.3, 0.5)]
TRUTHS = [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.5, 0.0), (0.0, 0.4, 0.6), (0.2, 0.3, 0.5)]


@every_loss
@pytest.mark.parametrize(("q", "p"), list(itertools.product(PREDICTIONS, TRUTHS)))
def test_nothing_is_nan(case, q, p):
    for method in (case.loss.value, case.loss.ambient, case.loss.hessian):
        assert not np.isnan(method(q, p)).any(), method.__name__
    log_q = np.log(q, out=np.full(3, -np.inf), where=np.array(q) > 0)
    grad = case.loss.logit_gradient(log_q, p)
    assert not np.isnan(grad).any()
    if case.hard:
        assert np.isfinite(grad).all()


@pytest.mark.parametrize("case", [case for case in CASES if case.hard], ids=lambda case: case.loss.name)
@pytest.mark.parametrize("p", TRUTHS)
def test_the_logit_gradient_is_the_limit_of_a_falling_logit(case, p):
    at_limit = family.value_and_logit_gradient(case.loss, [0.0, 1.0, -np.inf], p)[1]
    near = family.value_and_logit_gradient(case.loss, [0.0, 1.0, -60.0], p)[1]
    np.testing.assert_allclose(near, at_limit, rtol=1e-12, atol=1e-15)


def test_the_truth_is_charged_infinitely_where_a_loss_is_unbounded():
    for loss in (family.CrossEntropy(), family.Focal(), family.Poly1(), family.SymmetricCrossEntropy()):
        assert loss.value([1.0, 0.0], 1) == np.inf
        assert loss.ambient([1.0, 0.0], 1)[1] == -np.inf
        assert loss.hessian([1.0, 0.0], 1)[1, 1] == np.inf
    for loss in (family.Brier(), family.Spherical(), family.GeneralizedCrossEntropy(), family.JensenShannon()):
        assert np.isfinite(loss.value([1.0, 0.0], 1))


def test_where_all_is_predicted_only_what_a_loss_charges_is_infinite():
    assert family.SymmetricCrossEntropy(0.0, 1.0, -2.0).value([1.0, 0.0], 1) == 2.0
    np.testing.assert_array_equal(family.Focal(0.0).hessian([1.0, 0.0], 0), [[1.0, 0.0], [0.0, 0.0]])


def test_a_logit_far_below_is_charged_what_its_logarithm_says():
    loss, grad = family.value_and_logit_gradient(family.CrossEntropy(), [0.0, -1000.0], 1)
    assert loss == 1000.0
    assert grad.tolist() == [1.0, -1.0]


def test_a_class_without_truth_and_prediction_adds_nothing():
    for case in CASES:
        without = case.loss.value([0.4, 0.6], [0.7, 0.3])
        np.testing.assert_allclose(case.loss.value([0.4, 0.6, 0.0], [0.7, 0.3, 0.0]), without, rtol=1e-15)


def test_reverse_divergence_is_infinite_where_the_truth_excludes():
    loss = family.ReverseKL()
    assert loss.value([0.5, 0.5], [1.0, 0.0]) == np.inf
    assert loss.logit_gradient(np.log([0.25, 0.25, 0.5]), [0.5, 0.5, 0.0]).tolist() == [-np.inf, -np.inf, np.inf]
    # Everything predicted is excluded alike: what is left is minus the entropy of the prediction.
    grad = loss.logit_gradient([np.log(0.25), np.log(0.75), -np.inf], [0.0, 0.0, 1.0])
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(
        grad, [0.25 * (np.log(0.25) + entropy), 0.75 * (np.log(0.75) + entropy), 0.0], rtol=1e-14
    )


def test_rows_that_the_truth_excludes_in_part_or_whole_are_those_alone():
    q = np.array([[0.25, 0.25, 0.5], [0.25, 0.75, 0.0], [0.0, 0.5, 0.5], [0.2, 0.3, 0.5]])
    p = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0], [0.3, 0.3, 0.4]])
    log_q = np.log(q, out=np.full_like(q, -np.inf), where=q > 0)
    together = family.ReverseKL().logit_gradient(log_q, p)
    for row, alone in enumerate(map(family.ReverseKL().logit_gradient, log_q, p)):
        np.testing.assert_allclose(together[row], alone, rtol=1e-15, atol=1e-17)
    # A class that is not predicted does not move.
    assert together[2].tolist() == [0.0, -np.inf, np.inf]


def test_jensen_shannon_has_no_curvature_where_neither_has_mass():
    assert family.JensenShannon().hessian([0.5, 0.5, 0.0], [0.25, 0.75, 0.0])[2, 2] == 0.0
