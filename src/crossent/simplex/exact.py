"""Predictions given as fractions: their logarithms, and the loss in symbols."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from crossent.errors import invalid_type, invalid_value
from crossent.simplex_inputs import Array, FloatArray

if TYPE_CHECKING:
    from crossent.simplex.one_form import Differential


def logarithms(probs: Array) -> FloatArray:
    """Return log q in float64, −inf for 0."""
    out = np.empty(probs.shape)
    for place in np.ndindex(probs.shape):
        out[place] = _logarithm(probs[place])
    return out


def symbolic_loss(d: Differential) -> str:
    """Return the cross-entropy of fractions in symbols, Σ p_c log(1/q_c).

    Raises
    ------
    TypeError
        The prediction was not given as fractions.

    Examples
    --------
    >>> from fractions import Fraction as F
    >>> from crossent import differential
    >>> symbolic_loss(differential([F(1, 2), F(1, 3), F(1, 6)], [F(1, 4), F(3, 4), 0]))
    '1/4 log 2 + 3/4 log 3'
    >>> symbolic_loss(differential([F(2, 5), F(3, 5)], 0))
    'log(5/2)'
    """
    if not d.exact:
        raise invalid_type("probs", float(d.probs.flat[0]), "Fractions: a float has no symbols to show")
    if d.shape:
        raise invalid_value("probs.shape", d.probs.shape, f"one prediction, ({len(d.classes)},)")
    factors: dict[Fraction, Fraction] = {}
    for p, q in zip(d.truth, d.probs):
        if p > 0 and q == 0:
            return "inf"
        if p > 0 and q != 1:
            factors[1 / q] = factors.get(1 / q, Fraction(0)) + p
    terms = [
        ("" if p == 1 else f"{p} ") + (f"log {x}" if x.denominator == 1 else f"log({x})") for x, p in factors.items()
    ]
    return " + ".join(terms) or "0"


def _logarithm(q: Any) -> float:
    if q == 0:
        return -math.inf
    if 2 * q > 1:
        return 0.0 - math.log1p(float((1 - q) / q)) + 0.0
    return math.log(q.numerator) - math.log(q.denominator)
