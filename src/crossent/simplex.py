"""The derivative of the cross-entropy at one prediction: one 1-form on the simplex, in any components.

A function on the simplex has no partial derivatives by itself: when q_c rises, something must fall.
A rule of payment w (Σw = 1) says what, and the derivative along e_c − w is a_c − ⟨w, a⟩ with a = −p/q.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crossent.errors import invalid_type, invalid_value
from crossent.simplex_inputs import (
    SUM_TOLERANCE,
    FloatArray,
    Pay,
    Target,
    class_index,
    class_names,
    masses,
    payment_weights,
    per_class,
    refuse,
    sum_of,
    truth_masses,
)

# A sum of weights nearer to zero than this (relative to the weights) is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Differential:
    r"""The cross-entropy H(p, q) = −Σ p_c log q_c at a prediction q, and its derivative dH.

    Every vector has one float64 entry per class and is read-only; the loss is in nats. Made by
    `differential` or `differential_from_logits`.

    Attributes
    ----------
    classes : tuple of str
    probs : ndarray, shape (C,)
        The prediction q.
    log_probs : ndarray, shape (C,)
        log q, finite where a positive probability is below float64's range.
    truth : ndarray, shape (C,)
        The truth p, of mass P = Σp, class weights multiplied in.
    loss : float
        Accurate relative to itself: a confident prediction never gives a false zero.
    logits : ndarray, shape (C,)
        The derivative in logits, P·q − p: a *covector*, dH = Σ logits_c dz_c.
    given_sum : float
        What the given probabilities summed to.

    Notes
    -----
    On the boundary the values are limits from inside. A class without truth (p_c = 0) contributes exactly 0
    whatever q_c is. For a class with p_c > 0 and q_c = 0 the loss is inf and the ambient entry −inf, while
    the logit gradient, affine in q, stays finite. Any other combination Σ v_c a_c of the ambient entries is
    its limit along the segment from q to the truth, where the entries that diverge do so at the same rate
    1/ε: it is −inf (+inf) where the v_c of those classes sum to more (less) than 0, and finite where they
    sum to 0. With one such class this is the limit along every path. Nothing is ever NaN.

    Where ±inf is returned for positive probabilities, the value is beyond float64's range.

    References
    ----------
    S. Amari, *Information Geometry and Its Applications*, 2016, chapters 2 and 12.
    """

    classes: tuple[str, ...]
    probs: FloatArray
    log_probs: FloatArray
    truth: FloatArray
    loss: float
    logits: FloatArray
    given_sum: float = 1.0

    @property
    def mass(self) -> float:
        """The mass P = Σp of the truth: 1 for a label or a distribution."""
        return sum_of(self.truth)

    @property
    def ambient(self) -> FloatArray:
        """−p_c/q_c: the derivative when q_c rises and nobody pays, so that the point leaves the simplex."""
        ratio = np.zeros_like(self.probs)
        here = self.truth > 0
        tiny = here & (self.probs < np.finfo(np.float64).tiny)  # too few bits left to divide by
        normal = here & ~tiny
        with np.errstate(over="ignore"):
            ratio[normal] = self.truth[normal] / self.probs[normal]
            ratio[tiny] = np.exp(np.log(self.truth[tiny]) - self.log_probs[tiny])
        return _read_only(0.0 - ratio)

    @property
    def natural(self) -> FloatArray:
        """P·q − p as the natural-gradient *vector* on the simplex (Fisher–Rao metric Σ u_c v_c / q_c)."""
        return self.logits

    def grad(self, pay: Pay = "nobody") -> FloatArray:
        """Return the derivative of the loss as each class rises, by who pays for it: a_c − ⟨w, a⟩.

        Parameters
        ----------
        pay : str, int or array of shape (C,)
            ``"nobody"`` (w = 0), ``"everyone"`` (w = 1/C), ``"in proportion"`` (w = q), a class by index
            or name (w = e_r, the chart without r), or weights that sum to 1.

        Returns
        -------
        ndarray, shape (C,)
            A single payer's own entry is 0.

        Raises
        ------
        ValueError, TypeError
            An unknown class, or weights that do not sum to 1.

        Notes
        -----
        ``"in proportion"`` gives P − p_c/q_c at the boundary too, because ⟨q, a⟩ = −P for every q inside.
        The same q given as fixed weights makes a class with q_c = 0 pay nothing, which is another rule there.

        Examples
        --------
        >>> d = differential([0.5, 0.49, 0.01], "dog", classes=["dog", "cat", "bird"])
        >>> d.grad().tolist()
        [-2.0, 0.0, 0.0]
        >>> d.grad("dog").tolist()
        [0.0, 2.0, 2.0]
        """
        if isinstance(pay, str) and pay == "nobody":
            return self.ambient
        if isinstance(pay, str) and pay == "in proportion":
            return self._in_proportion()
        weights = payment_weights(pay, self.classes)
        shift = 0.0 - self._pair(weights)
        with np.errstate(invalid="ignore"):
            grad = self.ambient + shift
        if math.isinf(shift):
            for c in np.flatnonzero(np.isneginf(self.ambient)):  # inf − inf: the pair decides
                direction = -weights
                direction[c] += 1.0
                grad[c] = self._pair(direction)
        return _read_only(grad)

    def multiple(self, pay: Pay) -> float:
        """Return λ in grad(pay) = ambient + λ·(1, …, 1), which is −⟨w, a⟩.

        >>> differential([0.5, 0.49, 0.01], 0).multiple(0)
        2.0
        """
        if isinstance(pay, str) and pay == "nobody":
            return 0.0
        if isinstance(pay, str) and pay == "in proportion":
            return self.mass
        return 0.0 - self._pair(payment_weights(pay, self.classes))

    def along(self, v: ArrayLike) -> float:
        """Return dH(v) = Σ a_c v_c, the loss's rate of change along a direction that stays on the simplex.

        Raises
        ------
        ValueError
            ``v`` does not sum to zero; the message says by how much.

        >>> differential([0.5, 0.49, 0.01], 0).along([1, -1, 0])
        -2.0
        """
        direction = per_class(v, "v", len(self.classes))
        refuse(~np.isfinite(direction), direction, self.classes, "v", "a finite number")
        total = sum_of(direction)
        if abs(total) > _ROUNDING * float(np.abs(direction).sum()):
            raise invalid_value("the sum of v", total, "0: a direction along the simplex keeps Σq = 1")
        return self._pair(direction)

    def transfer(self, src: int | str, dst: int | str) -> float:
        """Return the loss per unit of probability moved from one class to another, a_dst − a_src.

        >>> d = differential([0.5, 0.49, 0.01], 0)
        >>> d.transfer(0, 1), d.transfer(1, 2)
        (2.0, 0.0)
        """
        source, sink = class_index(src, self.classes, "src"), class_index(dst, self.classes, "dst")
        direction = np.zeros(len(self.classes))
        direction[sink] += 1.0
        direction[source] -= 1.0
        return self._pair(direction)

    def _in_proportion(self) -> FloatArray:
        # (P·q − p)/q and not P − p/q, which cancels where q is near p.
        out = np.full_like(self.probs, self.mass)
        here = self.truth > 0
        out[here & (self.probs == 0)] = -np.inf
        both = here & (self.probs > 0)
        with np.errstate(over="ignore"):
            out[both] = self.logits[both] / self.probs[both]
        return _read_only(out)

    def _pair(self, v: FloatArray) -> float:
        """The limit of Σ v_c a_c from inside the simplex, as the class's notes define it."""
        absent = (self.truth > 0) & np.isneginf(self.log_probs)
        order = sum_of(v[absent])
        if abs(order) > _ROUNDING * float(np.abs(v).sum()):
            return -math.inf if order > 0 else math.inf
        used = (self.truth > 0) & (v != 0) & ~absent
        ambient, v = self.ambient[used], v[used]
        if np.isfinite(ambient).all():
            return _dot(v, ambient)
        # Entries beyond float64's range: compare them by their logarithms.
        logs = np.log(self.truth[used]) - self.log_probs[used] + np.log(np.abs(v))
        top = float(logs.max())
        lead = -sum_of(np.sign(v) * np.exp(logs - top))
        with np.errstate(over="ignore"):
            return 0.0 if lead == 0 else math.copysign(float(np.exp(top + math.log(abs(lead)))), lead)


def differential(
    probs: ArrayLike,
    target: Target,
    *,
    weight: ArrayLike | None = None,
    classes: Sequence[object] | None = None,
    normalize: bool = False,
) -> Differential:
    """Return the cross-entropy's differential at a prediction given as probabilities.

    Parameters
    ----------
    probs : array-like, shape (C,)
        Non-negative, with sum 1 within 1e-6; divided by that sum where it is off by more than rounding.
    target : int, str, mapping or array-like of shape (C,)
        A class by index or name, or a distribution of any non-negative mass; a mapping may leave classes
        out.
    weight : array-like, shape (C,), optional
        Class weights, multiplied into the truth.
    classes : sequence of str, optional
        Names, by default ``"0"``, ``"1"``, ….
    normalize : bool
        Accept any positive sum.

    Raises
    ------
    ValueError, TypeError
        The message names the class, its value and what was expected.

    Notes
    -----
    The likeliest class's log-probability is −log1p(rest/q_k), so that ``[1.0, 1e-20]`` has loss 1e-20.

    Examples
    --------
    >>> differential([0.5, 0.25, 0.25], 0).loss
    0.6931471805599453
    >>> differential([1.0, 1e-20], 0).loss
    1e-20
    """
    values = per_class(probs, "probs")
    names = class_names(classes, values.size)
    values = masses(values, names, "probs")
    total = sum_of(values)
    if normalize:
        if not 0 < total < math.inf:
            raise invalid_value("the sum of probs", total, "a positive, finite number")
    elif not abs(total - 1.0) <= SUM_TOLERANCE:
        raise invalid_value("the sum of probs", total, f"1 within {SUM_TOLERANCE} (or normalize=True)")
    if abs(total - 1.0) > np.finfo(np.float64).eps:
        values = values / total
    top = int(np.argmax(values))
    rest = sum_of(np.delete(values, top))
    log_probs = np.full_like(values, -np.inf)
    np.log(values, out=log_probs, where=values > 0)
    log_probs[top] = 0.0 - math.log1p(rest / values[top])
    truth = _weighted(truth_masses(target, names), weight, names)
    return _build(names, values, log_probs, truth, top, rest, total)


def differential_from_logits(
    logits: ArrayLike,
    target: Target,
    *,
    weight: ArrayLike | None = None,
    classes: Sequence[object] | None = None,
) -> Differential:
    """Return the cross-entropy's differential at softmax(logits), where 1 − q_y never cancels.

    Parameters
    ----------
    logits : array-like, shape (C,)
        Finite, or −inf for a class that takes no part.
    target, weight, classes
        As for `differential`.

    Raises
    ------
    ValueError, TypeError
        NaN or +inf in the logits, or every one of them −inf.

    Examples
    --------
    >>> d = differential_from_logits([46.0, 0.0], 0)
    >>> d.loss
    1.0530617357553812e-20
    >>> d.logits.tolist()
    [-1.0530617357553812e-20, 1.0530617357553812e-20]
    """
    values = per_class(logits, "logits")
    names = class_names(classes, values.size)
    want = "a finite number, or -inf for a class that takes no part"
    refuse(~(values < np.inf), values, names, "logits", want)
    top = int(np.argmax(values))
    if np.isneginf(values[top]):
        raise invalid_value("the largest of logits", -math.inf, "a finite number")
    gap, lost = _two_diff(values, float(values[top]))
    others = np.delete(np.arange(values.size), top)
    odds = _odds(gap[others], lost[others])
    exps = np.exp(gap) * (1.0 + lost)
    probs = exps / (1.0 + odds)
    log_probs = gap - math.log1p(odds)
    truth = _weighted(truth_masses(target, names), weight, names)
    return _build(names, probs, log_probs, truth, top, odds / (1.0 + odds), 1.0)


def _two_diff(values: FloatArray, top: float) -> tuple[FloatArray, FloatArray]:
    """Return values − top and what its rounding lost, whose sum is exact (Knuth's TwoSum)."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = values - top
        back = gap - values
        lost = (values - (gap - back)) - (top + back)
    return gap, np.where(np.isfinite(lost), lost, 0.0)


def _odds(gap: FloatArray, lost: FloatArray) -> float:
    """Return Σ exp(gap + lost)."""
    largest = float(gap.max())
    # Terms that are each below float64's range may have a sum that is not.
    shift = largest if -math.inf < largest < -700 else 0.0
    half = math.exp(shift / 2)
    return half * (half * sum_of(np.exp(gap - shift) * (1.0 + lost)))


def _weighted(truth: FloatArray, weight: ArrayLike | None, classes: tuple[str, ...]) -> FloatArray:
    if weight is None:
        return truth
    if isinstance(weight, str):
        raise invalid_type("weight", weight, "one number per class")
    return truth * masses(weight, classes, "weight")


def _build(
    classes: tuple[str, ...],
    probs: FloatArray,
    log_probs: FloatArray,
    truth: FloatArray,
    top: int,
    rest: float,
    given_sum: float,
) -> Differential:
    mass = sum_of(truth)
    if not math.isfinite(mass):
        raise invalid_value("the sum of target", mass, "a finite number")
    here = truth > 0
    loss = sum_of(truth[here] * (0.0 - log_probs[here])) + 0.0
    gradient = mass * probs - truth
    if probs[top] > 0.5:
        # Minus the sum of the others: q_k − 1 would round a confident prediction's gradient away.
        gradient[top] = sum_of(np.delete(truth, top)) - mass * rest
    return Differential(
        classes,
        _read_only(probs),
        _read_only(log_probs),
        _read_only(truth),
        loss=loss,
        logits=_read_only(gradient),
        given_sum=given_sum,
    )


def _dot(u: FloatArray, v: FloatArray) -> float:
    with np.errstate(over="ignore"):
        return float(np.sum(u * v))


def _read_only(array: FloatArray) -> FloatArray:
    array.setflags(write=False)
    return array
