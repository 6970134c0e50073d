"""Where probabilities or masses are 0, every number of every loss is the limit that many digits show.

The prediction is taken a little way along the segment to the truth, twice: what still moves between the two is
infinite. Of a class that neither has, the prediction takes as little. A reverse divergence, which is infinite where
the truth excludes what is predicted, is the limit of equally small truths.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import mpmath
import numpy as np
import pytest
from textbook_losses import CASES, Case, generalized, poly, symmetric

from crossent import family
from crossent.simplex import differential, differential_from_logits

mpf = mpmath.mpf
PLACES = (40, 80)  # how near
DIGITS = 400  # for second differences there, of steps as short as 10⁻¹⁷⁰
PREDICTIONS = (
    (0.25, 0.25, 0.5),
    (0.2, 0.3, 0.5),
    (0.0, 0.25, 0.75),
    (0.0, 0.0, 1.0),
    (0.5, 0.0, 0.5),
    (0.0, 0.0, 0.25, 0.75),
)
TRUTHS = (
    (0.2, 0.3, 0.5),
    (0.6, 0.4, 0.0),
    (0.0, 0.25, 0.75),
    (0.5, 0.25, 0.25),
    (0.0, 0.0, 1.0),
    (1.0, 0.0, 0.0),
    (0.5, 0.25, 0.25, 0.0),
    (0.25, 0.25, 0.5, 0.0),
    (0.0, 0.5, 0.0, 0.5),
)
CORNERS = [(q, p) for q in PREDICTIONS for p in TRUTHS if len(q) == len(p)]
RULES = ("nobody", "everyone", "in proportion", 0, 2)
EVERY_CASE = (
    *CASES,
    Case(family.GeneralizedCrossEntropy(0.3), generalized(0.3)),
    Case(family.Poly1(-0.5), poly(-0.5)),
    Case(family.SymmetricCrossEntropy(0.0, 2.0, -1.0), symmetric(0.0, 2.0, -1.0)),
)


class Near(NamedTuple):
    """A prediction near a face, and a loss's derivatives there as probabilities rise."""

    q: list
    ambient: list
    second: list


def near(case: Case, q: list, p: list, places: int) -> Near:
    close = mpf(10) ** -places
    q = [(1 - close) * x + close * (y if x or y else 1) for x, y in zip(q, p)]
    q = [x / mpmath.fsum(q) for x in q]
    if not case.hard:
        p = [y or mpf(10) ** (-5 * places) for y in p]
    n, h = len(q), mpf(10) ** (-2 * places - 10)

    def at(*steps: tuple[int, int]) -> mpmath.mpf:
        moved = list(q)
        for c, sign in steps:
            moved[c] += sign * h
        return case.formula(moved, p, mpmath.log)

    ahead, behind, here = [at((c, 1)) for c in range(n)], [at((c, -1)) for c in range(n)], at()
    first = [(x - y) / (2 * h) for x, y in zip(ahead, behind)]
    second = [[(ahead[c] - 2 * here + behind[c]) / h**2 if c == k else None for k in range(n)] for c in range(n)]
    for i, j in itertools.combinations(range(n), 2):
        mixed = [s * t * at((i, s), (j, t)) for s in (1, -1) for t in (1, -1)]
        second[i][j] = second[j][i] = mpmath.fsum(mixed) / (4 * h**2)
    return Near(q, first, second)


def weights(pay: object, q: list) -> list:
    n = len(q)
    known = {"nobody": [mpf(0)] * n, "everyone": [mpf(1) / n] * n, "in proportion": q}
    return known[pay] if isinstance(pay, str) else [mpf(c == pay) for c in range(n)]


def paid(first: list, w: list) -> list:
    return [a - mpmath.fdot(w, first) for a in first]


def both_paid(second: list, w: list) -> list:
    left = [mpmath.fdot(w, row) for row in second]
    both = mpmath.fdot(w, left)
    n = range(len(w))
    return [second[i][j] - left[i] - left[j] + both for i in n for j in n]


def in_logits(at: Near) -> tuple[list, list]:
    """The gradient, and the second derivative J A J + diag(g) − q gᵀ − g qᵀ."""
    q, n = at.q, range(len(at.q))
    g = [x * y for x, y in zip(q, paid(at.ambient, q))]
    scaled = [[q[i] * at.second[i][j] * q[j] for j in n] for i in n]
    sums = [mpmath.fsum(row) for row in scaled]
    curved = [
        scaled[i][j] - q[i] * sums[j] - q[j] * sums[i] + q[i] * q[j] * mpmath.fsum(sums)
        + (g[i] if i == j else 0) - q[i] * g[j] - g[i] * q[j]
        for i in n for j in n
    ]  # fmt: skip
    return g, curved


def down_in_logits(at: Near) -> list:
    q, g = at.q, in_logits(at)[0]
    return [x * (mpmath.fdot(q, g) - y) for x, y in zip(q, g)]


def limits(far: list, close: list) -> np.ndarray:
    found = []
    for x, y in zip(far, close):
        moves = abs(y - x) > 1e-6 * (1 + abs(y))
        found.append(float(mpmath.sign(y - x)) * np.inf if moves else float(y))
    return np.array(found)


@functools.cache
def expected(case: Case, q: tuple, p: tuple) -> dict[str, np.ndarray]:
    with mpmath.workdps(DIGITS):
        q, p = [mpf(x) / mpf(sum(q)) for x in q], [mpf(x) / mpf(sum(p)) for x in p]
        both = [near(case, q, p, places) for places in PLACES]
        answers = []
        for at in both:
            g, curved = in_logits(at)
            answer = {"logits": g, "hessian_logits": curved, "velocity": down_in_logits(at)}
            for pay in RULES:
                w = weights(pay, at.q)
                answer[f"grad {pay}"] = paid(at.ambient, w)
                answer[f"multiple {pay}"] = [-mpmath.fdot(w, at.ambient)]
                answer[f"hessian {pay}"] = both_paid(at.second, w)
            for i, j in itertools.combinations(range(len(q)), 2):
                answer[f"transfer {i} {j}"] = [at.ambient[j] - at.ambient[i]]
            answers.append(answer)
        return {name: limits(answers[0][name], answers[1][name]) for name in answers[0]}


def found(case: Case, q: tuple | np.ndarray, p: tuple | np.ndarray) -> dict[str, np.ndarray]:
    d = differential(q, p, loss=case.loss)
    numbers = {"logits": d.logits, "hessian_logits": d.hessian_logits, "velocity": d.velocity("logit")}
    for pay in RULES:
        numbers[f"grad {pay}"], numbers[f"multiple {pay}"] = d.grad(pay), d.multiple(pay)
        numbers[f"hessian {pay}"] = d.hessian(pay)
    for i, j in itertools.combinations(range(np.shape(q)[-1]), 2):
        numbers[f"transfer {i} {j}"] = d.transfer(i, j)
    return {name: np.ravel(values) for name, values in numbers.items()}


every_case = pytest.mark.parametrize("case", EVERY_CASE, ids=lambda case: case.loss.name)


@every_case
def test_every_number_is_its_limit(case):
    for q, p in CORNERS:
        got, want = found(case, q, p), expected(case, q, p)
        if not case.hard:
            # Of what neither has, one limit comes before the other: which, no payment in proportion tells.
            neither = (np.array(q) == 0) & (np.array(p) == 0)
            got["grad in proportion"] = np.where(neither, want["grad in proportion"], got["grad in proportion"])
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-11, atol=1e-11, err_msg=f"{name} at {q}, {p}")


def test_the_cross_entropy_itself_has_the_same_limits():
    for q, p in CORNERS:
        got, want = found(Case(None, None), q, p), expected(CASES[0], q, p)
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-11, atol=1e-11, err_msg=f"{name} at {q}, {p}")


@every_case
def test_rows_at_corners_are_the_rows_alone(case):
    corners = [(q, p) for q, p in CORNERS if len(q) == 3]
    together = found(case, *(np.array(side) for side in zip(*corners)))
    for row, (q, p) in enumerate(corners):
        for name, alone in found(case, q, p).items():
            whole = together[name].reshape(len(corners), -1)[row]
            np.testing.assert_allclose(whole, alone, rtol=1e-14, atol=1e-15, err_msg=f"{name} at {q}, {p}")


@pytest.mark.parametrize("kappa", [0.01, 0.05, 0.99])
def test_slow_powers_come_to_their_limits(kappa):
    # q_c^κ has not fallen, nor q_c^(κ − 1) risen far, where q_c is as small as float64 has it.
    d = differential([0.0, 0.25, 0.75], [0.5, 0.25, 0.25], loss=family.GeneralizedCrossEntropy(kappa))
    without = differential([0.25, 0.75], [0.5, 0.5], loss=family.GeneralizedCrossEntropy(kappa))
    assert not d.hessian_logits[0].any()
    np.testing.assert_allclose(d.hessian_logits[1:, 1:], without.hessian_logits / 2, rtol=1e-13)
    in_proportion = d.hessian("in proportion")
    assert (in_proportion[0] == [np.inf, -np.inf, -np.inf]).all()
    assert in_proportion[1, 2] == in_proportion[2, 1] == pytest.approx(without.hessian("in proportion")[0, 1] / 2)


def test_a_velocity_whose_infinite_part_cancels_keeps_the_finite_one():
    # q_0 solves x = x² + (3/4 − x)² + 1/16 − 1/4, where −J q∘([excluded] − 1/4) has entry 0.
    first = (5 - np.sqrt(13)) / 8
    q, p = [first, 0.75 - first, 0.25], [0.6, 0.4, 0.0]
    velocity = differential(q, p, loss=family.ReverseKL()).velocity("logit")
    near = differential(q, [0.6, 0.4, 1e-30], loss=family.ReverseKL()).velocity("logit")
    assert np.isfinite(velocity[0])
    assert velocity[0] == pytest.approx(near[0], rel=1e-12)
    assert (velocity[1], velocity[2]) == (np.inf, -np.inf)


class OwnReverse(family.PredictionLoss):
    """A reverse divergence that says nothing of what is finite beside its infinite entries."""

    name = "reverse KL of one's own"
    family_loss = family.ReverseKL()

    def value(self, probs, truth):
        return self.family_loss.value(probs, truth)

    def ambient(self, probs, truth):
        return self.family_loss.ambient(probs, truth)

    def hessian(self, probs, truth):
        return self.family_loss.hessian(probs, truth)

    def logit_gradient(self, log_probs, truth):
        return self.family_loss.logit_gradient(log_probs, truth)


def test_a_loss_of_ones_own_is_infinite_where_it_should_be():
    corners = [(q, p) for q, p in CORNERS if len(q) == 3]
    q, p = (np.array(side) for side in zip(*corners))
    neither = ((q == 0) & (p == 0)).any(axis=-1)
    own, known = found(Case(OwnReverse(), None), q, p), found(Case(family.ReverseKL(), None), q, p)
    for name in known:
        ours, theirs = (values.reshape(len(corners), -1)[~neither] for values in (own[name], known[name]))
        endless = np.isinf(theirs)
        np.testing.assert_array_equal(ours[endless], theirs[endless], err_msg=name)
        # Two kinds of infinity whose faster one cancels: the slower is not seen.
        assert np.isinf(ours[~endless]).sum() == 0, name


@pytest.mark.parametrize("mass", [1e-50, 1e50])
@pytest.mark.parametrize("loss", [family.Focal(), family.Poly1(), family.SymmetricCrossEntropy(1.0, 0.0)])
def test_a_truth_of_any_mass_has_its_multiple_of_every_limit(loss, mass):
    q, p = [0.0, 0.0, 1.0], np.array([0.5, 0.25, 0.25])
    if not loss.any_mass:
        mass = 1.0
    one, many = differential(q, p, loss=loss), differential(q, mass * p, loss=loss)
    for rule in RULES:
        np.testing.assert_allclose(many.grad(rule) / mass, one.grad(rule), rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(many.hessian(rule) / mass, one.hessian(rule), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(many.hessian_logits / mass, one.hessian_logits, rtol=1e-13, atol=1e-15)


def test_a_short_direction_meets_the_same_infinity():
    d = differential([0.0, 0.5, 0.5], 0)
    assert d.along([1e-20, -1e-20, 0.0]) == -np.inf
    assert d.along([-1e-20, 1e-20, 0.0]) == np.inf
    assert {type(d.along(v)) for v in ([1, -1, 0], [0, 1, -1])} == {float}


def test_entries_beyond_the_range_are_weighed_by_their_logarithms():
    d = differential_from_logits([0.0, -800.0, -800.0], [0.0, 0.5, 0.5])
    assert np.isinf(d.ambient[1:]).all()
    assert d.along([1.0, 1.0, -2.0]) == np.inf
    assert d.along([-1.0, -1.0, 2.0]) == -np.inf
    # e^710 is none of float64's numbers, its hundred-thousandth is.
    one = differential_from_logits([0.0, -710.0], 1)
    assert one.ambient[1] == -np.inf
    with mpmath.workdps(30):
        want = -mpf(1e-5) * mpmath.exp(710)
        assert one.along([-1e-5, 1e-5]) == pytest.approx(float(want), rel=1e-12)
        assert one.along([1e-5, -1e-5]) == pytest.approx(-float(want), rel=1e-12)


@every_case
@pytest.mark.parametrize("trace", [1e-60, 1e-120, 1e-250, 1e-310])
def test_a_trace_of_truth_on_a_class_without_prediction_bends_nothing_else(case, trace):
    d = differential([0.0, 0.5, 0.5], [trace, 0.5, 0.5], loss=case.loss)
    without = differential([0.5, 0.5], [0.5, 0.5], loss=case.loss)
    np.testing.assert_allclose(d.hessian_logits[1:, 1:], without.hessian_logits, atol=1e-14)
    for numbers in (d.hessian_logits, *(d.hessian(pay) for pay in RULES), *(d.grad(pay) for pay in RULES)):
        assert not np.isnan(numbers).any()


@pytest.mark.parametrize("loss", [family.ReverseKL(), family.JensenShannon()], ids=lambda loss: loss.name)
def test_a_probability_below_the_range_has_its_logarithm(loss):
    far = differential_from_logits([0.0, -800.0], [0.5, 0.5], loss=loss)
    nearer = differential_from_logits([0.0, -700.0], [0.5, 0.5], loss=loss)
    assert far.probs[1] == 0
    share = 1.0 if loss == family.ReverseKL() else 0.5
    assert far.ambient[1] == pytest.approx(nearer.ambient[1] - 100 * share, rel=1e-14)
    assert far.transfer(0, 1) == pytest.approx(far.ambient[1] - far.ambient[0], rel=1e-14)
