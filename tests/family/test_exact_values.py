"""Value, gradients and Hessian against 40 digits, with derivatives by finite differences of the textbook formula."""

import mpmath
import numpy as np
import pytest
from textbook_losses import CASES, softmax

from crossent.family import value_and_logit_gradient

DIGITS = 40
CLASSES = (2, 3, 5)
every_loss = pytest.mark.parametrize("case", CASES, ids=lambda case: case.loss.name)


def rows(case, rng, classes, n=3):
    """Yield logits and truths: a distribution, one without some classes, and a label, where the loss has them."""
    for _ in range(n):
        logits = 2.0 * rng.standard_normal(classes)
        soft = rng.dirichlet(np.ones(classes))
        yield logits, soft
        if case.hard:
            part = soft.copy()
            part[rng.integers(classes)] = 0.0
            yield logits, part / part.sum()
            yield logits, np.eye(classes)[rng.integers(classes)]


def exact(numbers):
    """Return the numbers divided by their exact sum."""
    values = [mpmath.mpf(float(x)) for x in numbers]
    total = mpmath.fsum(values)
    return [x / total for x in values]


def along(case, q, p, *places):
    """Return the function of one step per place, added to these entries of q."""

    def function(*steps):
        moved = list(q)
        for place, step in zip(places, steps, strict=True):
            moved[place] += step
        return case.formula(moved, p, mpmath.log)

    return function


def close(got, digits, tolerance=1e-13):
    want = np.array([float(x) for x in digits]).reshape(np.shape(got))
    return np.abs(got - want).max() <= tolerance * max(1e-300, np.abs(want).max())


@every_loss
@pytest.mark.parametrize("classes", CLASSES)
def test_value_and_logit_gradient_agree_with_forty_digits(case, classes, rng):
    for logits, p in rows(case, rng, classes):
        loss, grad = value_and_logit_gradient(case.loss, logits, p)
        with mpmath.workdps(DIGITS):
            p = exact(p)
            value = case.formula(softmax(logits), p, mpmath.log)
            z = [mpmath.mpf(float(x)) for x in logits]

            def of_logits(step, c, z=z, p=p):
                moved = list(z)
                moved[c] += step
                exps = [mpmath.exp(x) for x in moved]
                total = mpmath.fsum(exps)
                return case.formula([e / total for e in exps], p, mpmath.log)

            slopes = [mpmath.diff(lambda step, c=c: of_logits(step, c), 0) for c in range(classes)]
        assert close(loss, [value])
        assert close(grad, slopes)
        assert close(
            case.loss.logit_gradient(np.log([float(q) for q in softmax(logits)]), [float(x) for x in p]), slopes
        )


@every_loss
@pytest.mark.parametrize("classes", CLASSES)
def test_ambient_gradient_and_hessian_agree_with_forty_digits(case, classes, rng):
    for logits, truth in rows(case, rng, classes, n=1):
        probs = np.array([float(q) for q in softmax(logits)])
        value = case.loss.value(probs, truth)
        ambient, hessian = case.loss.ambient(probs, truth), case.loss.hessian(probs, truth)
        with mpmath.workdps(DIGITS):
            q, p = exact(probs), exact(truth)
            exact_value = case.formula(q, p, mpmath.log)
            slopes = [mpmath.diff(along(case, q, p, c), 0) for c in range(classes)]
            bends = [
                mpmath.diff(along(case, q, p, c), 0, 2)
                if c == k
                else mpmath.diff(along(case, q, p, c, k), (0, 0), (1, 1))
                for c in range(classes)
                for k in range(classes)
            ]
        assert close(value, [exact_value])
        assert close(ambient, slopes)
        assert close(hessian, bends, 1e-12)


def margins(classes, rng):
    """Yield logits whose winner is ahead by a margin, and a label: the winner or another class."""
    for margin in (17.0, 37.0, 60.0, 300.0):
        logits = rng.standard_normal(classes)
        winner, loser = (int(c) for c in rng.permutation(classes)[:2])
        logits[winner] = -np.inf
        logits[winner] = logits.max() + margin
        yield logits, winner
        yield logits, loser


@pytest.mark.parametrize("case", [case for case in CASES if case.hard], ids=lambda case: case.loss.name)
@pytest.mark.parametrize("classes", CLASSES)
def test_confident_rows_keep_every_entry(case, classes, rng):
    for logits, label in margins(classes, rng):
        loss, grad = value_and_logit_gradient(case.loss, logits, label)
        with mpmath.workdps(700):
            q = softmax(logits)
            p = [mpmath.mpf(c == label) for c in range(classes)]
            value = case.formula(q, p, mpmath.log)
            a = [mpmath.diff(along(case, q, p, c), 0, h=mpmath.mpf(10) ** -500) for c in range(classes)]
            mean = mpmath.fsum(q_c * a_c for q_c, a_c in zip(q, a, strict=True))
            slopes = [float(q_c * (a_c - mean)) for q_c, a_c in zip(q, a, strict=True)]
        tiny = np.finfo(np.float64).tiny
        for got, want in [(float(loss), float(value)), *zip(grad.tolist(), slopes, strict=True)]:
            assert abs(got - want) <= 2e-14 * abs(want) + tiny, (logits, label, got, want)


def test_the_difference_of_far_logits_keeps_what_its_rounding_loses(rng):
    for _ in range(20):
        logits = np.array([rng.uniform(-700, 700), 0.0])
        logits[1] = logits[0] + rng.uniform(500, 700)
        loss, grad = value_and_logit_gradient(CASES[0].loss, logits, 1)
        with mpmath.workdps(DIGITS):
            want = float(mpmath.log1p(mpmath.exp(mpmath.mpf(logits[0]) - mpmath.mpf(logits[1]))))
        np.testing.assert_allclose([loss, grad[0], -grad[1]], want, rtol=1e-15)
