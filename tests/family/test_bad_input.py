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
