"""Predictions for the tests, and the numbers they must have, at 60 digits."""

from __future__ import annotations

import mpmath
import numpy as np
from hypothesis import strategies as st

from crossent.simplex import Differential, differential, differential_from_logits

DIGITS = 60


@st.composite
def anywhere(draw: st.DrawFn) -> Differential:
    """A prediction inside the simplex, with a truth of any mass."""
    n = draw(st.integers(2, 6))
    shares = np.array(draw(st.lists(st.integers(1, 10**6), min_size=n, max_size=n)), dtype=float)
    truth = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), dtype=float)
    truth[draw(st.integers(0, n - 1))] += 1
    return differential(shares / shares.sum(), truth / draw(st.sampled_from([1.0, truth.sum(), 8.0])))


@st.composite
def confident(draw: st.DrawFn) -> Differential:
    """A prediction given by logits far apart, with a label or a smoothed label."""
    n = draw(st.integers(2, 5))
    logits = draw(st.lists(st.floats(-200, 200), min_size=n, max_size=n))
    return differential_from_logits(
        logits, draw(st.integers(0, n - 1)), label_smoothing=draw(st.sampled_from([0.0, 0.1]))
    )


@st.composite
def on_the_boundary(draw: st.DrawFn) -> Differential:
    n = draw(st.integers(2, 5))
    shares = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    truth = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    shares[draw(st.integers(0, n - 1))] += 1
    truth[draw(st.integers(0, n - 1))] += 1
    return differential(np.array(shares) / sum(shares), np.array(truth) / sum(truth))


def big(values: np.ndarray) -> list[mpmath.mpf]:
    return [mpmath.mpf(x) for x in values.tolist()]


def probabilities(d: Differential) -> list[mpmath.mpf]:
    """The prediction, from its logarithms, which no range limits."""
    exps = [mpmath.exp(x) for x in big(d.log_probs)]
    return [x / sum(exps) for x in exps]


def ambient(q: list[mpmath.mpf], p: list[mpmath.mpf]) -> list[mpmath.mpf]:
    return [-y / x if y else mpmath.mpf(0) for x, y in zip(q, p)]


def mean(values: list[mpmath.mpf]) -> mpmath.mpf:
    return sum(values) / len(values)


def dot(u: list[mpmath.mpf], v: list[mpmath.mpf]) -> mpmath.mpf:
    return sum((x * y for x, y in zip(u, v)), mpmath.mpf(0))


def loss(q: list[mpmath.mpf], p: list[mpmath.mpf]) -> mpmath.mpf:
    return -sum((y * mpmath.log(x) for x, y in zip(q, p) if y), mpmath.mpf(0))
