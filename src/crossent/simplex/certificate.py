"""Two vectors of components are one derivative if they differ by a multiple of (1, …, 1): the certificate.

The differences are formed exactly, as unevaluated sums of two floats, so that nothing cancels: no mean is
subtracted, and a deviation of any size beside a large multiple is seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from crossent.errors import invalid_value
from crossent.simplex.rows import as_floats, infinite, is_exact, two_diff
from crossent.simplex_inputs import Array, Pay, per_class, refuse, sum_of

if TYPE_CHECKING:
    from crossent.simplex.one_form import Differential


_ROUNDING = 2.0**-49


@dataclass(frozen=True)
class Certificate:
    """Whether two vectors of components are the same derivative along the simplex; made by `Differential.same_as`.

    Attributes
    ----------
    same : bool or bool ndarray of shape (...)
        Whether one λ explains every entry: other = components + λ·(1, …, 1), to ``tolerance`` of the entry's size.
        Of components that are infinite only the finite ones, and whether the differences are the same infinity, decide.
    multiple : float, Fraction or ndarray of shape (...)
        λ, the middle of the entries' differences.
    deviation : float, Fraction or ndarray of shape (...)
        The largest difference between differences: by how much the two disagree about moving one unit of probability
        from one class to another. Correctly rounded for the components as they are; 0 exactly for equal fractions.
    tolerance : float
        0 where all components are fractions.
    """

    same: Any
    multiple: Any
    deviation: Any
    tolerance: float

    def __bool__(self) -> bool:
        """Whether every row is the same."""
        return bool(np.all(self.same))


def certify(d: Differential, other: Pay | Differential, pay: Pay, tolerance: float) -> Certificate:
    """Return the certificate for a derivative's components by a rule, and others."""
    if not 0 <= tolerance < 1:
        raise invalid_value("tolerance", tolerance, "a number in [0, 1)")
    mine, theirs = d.grad(pay), _components(d, other, pay)
    exact = is_exact(mine) and is_exact(theirs)
    if not exact:
        mine, theirs = as_floats(mine), as_floats(theirs)
        tolerance = max(float(tolerance), float(np.finfo(float).eps))
    same, multiple, deviation = np.empty(d.shape, bool), np.empty(d.shape, mine.dtype), np.empty(d.shape, mine.dtype)
    # Near 0, entries are what rounding has left of terms as large as the truth.
    floor = _ROUNDING * as_floats(np.asarray(d.mass))
    slack = 0.0 if exact else tolerance
    for row in np.ndindex(d.shape):
        same[row], multiple[row], deviation[row] = _compare(theirs[row], mine[row], slack, floor[row])
    if d.shape:
        return Certificate(same, multiple, deviation, slack)
    one, other_one = (value[()] if exact else float(value) for value in (multiple, deviation))
    return Certificate(bool(same), one, other_one, slack)


def _components(d: Differential, other: Pay | Differential, pay: Pay) -> Array:
    from crossent.simplex.one_form import Differential

    if isinstance(other, Differential):
        if other.classes != d.classes:
            raise invalid_value("the classes of other", list(other.classes), f"the same, {list(d.classes)!r}")
        if other.shape != d.shape:
            raise invalid_value("the shape of other", other.shape, f"the same, {d.shape}")
        return other.grad(pay)
    if isinstance(other, (int, str, np.integer)):
        return d.grad(other)
    given = np.asarray(other)
    exact = given.dtype == object and all(isinstance(x, (Fraction, int)) for x in given.flat)
    values = per_class(given, "other", d.probs.shape, exact=exact)
    refuse(np.asarray(values != values, dtype=bool), values, d.classes, "other", "a number")
    return values


def _compare(u: Array, v: Array, tolerance: float, floor: Any) -> tuple[bool, Any, Any]:
    """Return whether u − v is one number, that number, and the range of u − v."""
    undecided = infinite(u) & np.asarray(u == v, dtype=bool)
    beyond = (infinite(u) | infinite(v)) & ~undecided
    if beyond.any():
        signs = {math.copysign(1.0, a) if infinite(a) else -math.copysign(1.0, b) for a, b in zip(u[beyond], v[beyond])}
        alone = len(signs) == 1 and not (~undecided & ~beyond).any()
        middle = math.inf * signs.pop() if len(signs) == 1 else 0.0
        return alone, middle, 0.0 if alone else math.inf
    u, v = u[~undecided], v[~undecided]
    if u.size == 0:
        return True, 0.0, 0.0
    high, low = two_diff(u, v)
    if is_exact(high):
        largest, smallest = max(high), min(high)
        return bool(largest == smallest), (largest + smallest) / 2, largest - smallest
    # The order of the pairs (high, low) is that of their sums.
    order = np.lexsort((low, high))
    first, last = order[0], order[-1]
    spread = sum_of(np.array([high[last], low[last], -high[first], -low[first]]))
    middle = sum_of(np.array([high[last] / 2, low[last] / 2, high[first] / 2, low[first] / 2])) + 0.0
    slack = tolerance * np.maximum(np.abs(u), np.abs(v)) + floor
    return bool((high - slack).max() <= (high + slack).min()), middle, spread
