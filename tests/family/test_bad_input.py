"""Errors that name the argument, its value and what was expected."""

import numpy as np
import pytest

from crossent import family

LOSS = family.CrossEntropy()


@pytest.mark.parametrize(("make", "message"), [
    (lambda: family.Focal(-1.0), r"gamma = -1.0: expected a finite number >= 0"),
    (lambda: family.Focal(np.inf), r"gamma = inf"),
    (lambda: family.GeneralizedCrossEntropy(0.0), r"q = 0.0: expected a number in \(0, 1\]"),
    (lambda: family.GeneralizedCrossEntropy(1.5), r"q = 1.5"),
    (lambda: family.Poly1(-2.0), r"epsilon = -2.0: expected a finite number >= -1"),
    (lambda: family.SymmetricCrossEntropy(alpha=-1.0), r"alpha = -1.0"),
    (lambda: family.SymmetricCrossEntropy(beta=float("nan")), r"beta = nan"),
    (lambda: family.SymmetricCrossEntropy(A=0.0), r"A = 0.0: expected a finite number < 0"),
    (lambda: LOSS.value([0.5, 0.4], 0), r"the sum of probs = 0.9: expected 1 within 1e-06"),
    (lambda: LOSS.value([[0.5, 0.5], [-0.5, 1.5]], [0, 0]), r"probs\[1, 0\] = -0.5: expected a finite number >= 0"),
    (lambda: LOSS.value([0.5, np.nan], 0), r"probs\[1\] = nan"),
    (lambda: LOSS.value([1.0], 0), r"probs.shape = \(1,\): expected at least 2 classes"),
    (lambda: LOSS.value([0.5, 0.5], 2), r"truth = 2: expected a class in \[0, 2\)"),
    (lambda: LOSS.value([[0.5, 0.5]] * 2, [0, -1]), r"truth\[1\] = -1: expected a class in \[0, 2\)"),
    (lambda: LOSS.value([0.5, 0.5], [0, 1]), r"truth.shape = \(2,\): expected \(\) for integer labels"),
    (lambda: LOSS.value([0.5, 0.5], [0.1, 0.2, 0.7]), r"truth.shape = \(3,\): expected \(2,\)"),
    (lambda: LOSS.value([0.5, 0.5], [0.5, -0.5]), r"truth\[1\] = -0.5"),
    (lambda: family.Brier().value([0.5, 0.5], [1.0, 1.0]), r"the sum of truth = 2.0: expected 1 within 1e-06"),
    (lambda: LOSS.logit_gradient([0.0, 0.0], 0), r"the sum of exp\(log_probs\) = 2.0"),
    (lambda: LOSS.logit_gradient([np.nan, 0.0], 0), r"log_probs\[0\] = nan"),
    (lambda: LOSS.logit_gradient([np.inf, 0.0], 0), r"log_probs\[0\] = inf: expected a finite number or -inf"),
    (lambda: LOSS.value([[1.0], [1.0]], [0, 0]), r"probs.shape = \(2, 1\): expected at least 2 classes"),
    (lambda: LOSS.value([[0.5, 0.5]] * 3, [[0], [1]]), r"truth.shape = \(2, 1\): expected \(3,\) for integer labels"),
    (lambda: LOSS.value([0.5, 0.5 + 2e-6], 0), r"the sum of probs = 1.00000\d+: expected 1 within 1e-06"),
    (lambda: family.value_and_logit_gradient(LOSS, [np.inf, 0.0], 0), r"logits\[0\] = inf: expected a finite number"),
    (lambda: family.value_and_logit_gradient(LOSS, [-np.inf, -np.inf], 0), r"a row with at least one finite number"),
])  # fmt: skip
def test_values_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("make", "message"), [
    (lambda: family.Focal("2"), r"gamma is a str: expected a finite number >= 0"),
    (lambda: family.Focal(True), r"gamma is a bool"),
    (lambda: LOSS.value(["cat", "dog"], 0), r"probs is a list: expected numbers"),
])  # fmt: skip
def test_types_are_refused_by_name(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_every_loss_is_a_value():
    for make in family.LOSSES:
        assert make() == make()
        assert hash(make()) == hash(make())
        with pytest.raises(AttributeError):
            make().name = "another"


@pytest.mark.parametrize(("make", "least", "below"), [
    (family.Focal, 0.0, -5e-324),
    (family.GeneralizedCrossEntropy, 5e-324, 0.0),
    (family.GeneralizedCrossEntropy, 1.0, 1.0 + 2e-16),
    (family.Poly1, -1.0, -1.0 - 3e-16),
    (lambda alpha: family.SymmetricCrossEntropy(alpha=alpha), 0.0, -5e-324),
    (lambda beta: family.SymmetricCrossEntropy(beta=beta), 0.0, -5e-324),
    (lambda least: family.SymmetricCrossEntropy(A=least), -5e-324, 0.0),
])  # fmt: skip
def test_parameters_are_taken_up_to_their_bounds(make, least, below):
    assert make(least).name
    with pytest.raises(ValueError, match="expected a"):
        make(below)


def test_parameters_have_the_values_that_are_documented():
    assert family.Focal() == family.Focal(2.0)
    assert family.GeneralizedCrossEntropy() == family.GeneralizedCrossEntropy(0.7)
    assert family.Poly1() == family.Poly1(1.0)
    assert family.SymmetricCrossEntropy() == family.SymmetricCrossEntropy(0.1, 1.0, -4.0)


def test_sums_that_are_off_by_rounding_of_another_dtype_are_divided_out():
    off = np.array([[0.25, 0.75 + 9e-7], [0.5 - 9e-7, 0.5]])
    want = LOSS.value(off / off.sum(axis=-1, keepdims=True), [0, 1])
    np.testing.assert_allclose(LOSS.value(off, [0, 1]), want, rtol=4e-16)


def test_one_row_is_a_batch_too():
    assert LOSS.value([[0.25, 0.25, 0.5]], [2]) == [np.log(2.0)]
