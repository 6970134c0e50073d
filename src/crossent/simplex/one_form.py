"""The derivative of a loss at predictions: one 1-form on the simplex, in any components.

A function on the simplex has no partial derivatives by itself: when q_c rises, something must fall.
A rule of payment w (Σw = 1) says what, and the derivative along e_c − w is a_c − ⟨w, a⟩ with a = −p/q
for the cross-entropy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossent.family.protocol import PredictionLoss
from crossent.simplex import certificate, descent, metrics, payment, second_order
from crossent.simplex.pairing import ROUNDING, pair
from crossent.simplex.rows import is_exact, read_only, row_sum, zeros_like
from crossent.simplex_inputs import Array, Pay, class_index, per_class, refuse, row_name, wrong_sum


@dataclass(frozen=True, eq=False)
class Differential:
    r"""A loss, by default the cross-entropy H(p, q) = −Σ p_c log q_c, at predictions q, and its derivative.

    Every vector has one read-only entry per class along its last axis; the loss is in nats. Leading axes are
    those of the predictions: without any, one number per prediction is a plain float. Made by `differential` or
    `differential_from_logits`; ``d[i]`` is one row of a batch.

    Attributes
    ----------
    classes : tuple of str
    probs : ndarray, shape (..., C)
        The prediction q, float64; fractions (dtype object) where it was given as fractions.
    log_probs : float64 ndarray, shape (..., C)
        log q, finite where a positive probability is below float64's range.
    truth : ndarray, shape (..., C)
        The truth p, of mass P = Σp, label smoothing and class weights included; of the dtype of ``probs``.
    loss : float or ndarray, shape (...)
        float64. Accurate relative to itself: a confident prediction never gives a false zero.
    logits : ndarray, shape (..., C)
        The derivative in logits, P·q − p for the cross-entropy: a *covector*, dH = Σ logits_c dz_c.
    given_sum : float, Fraction or ndarray of shape (...)
        What the given probabilities summed to.
    loss_function : PredictionLoss or None
        The loss; None for the cross-entropy.

    Notes
    -----
    On the boundary the values are limits from inside. A class without truth (p_c = 0) contributes exactly 0
    whatever q_c is. For a class with p_c > 0 and q_c = 0 the loss is inf and the ambient entry −inf, while
    the logit gradient, affine in q, stays finite. Any other combination Σ v_c a_c of the ambient entries is
    its limit along the segment from q to the truth, where the entries that diverge do so at the same rate
    1/ε: it is −inf (+inf) where the v_c of those classes sum to more (less) than 0, and finite where they
    sum to 0. With one such class this is the limit along every path. Another loss has the same limits, at the rates
    of its own entries; a truth that excludes a class (p_c = 0, where that costs inf) is that of ever smaller p_c,
    equal for all such classes. Nothing is ever NaN.

    A class with q_c = 0 and p_c = 0 takes no part: what is a vector on the simplex (`euclidean`, `natural`,
    `velocities`, the paths of `flow`) lies in the tangent space of the face of the other classes, and is 0 there.
    No descent would leave that face.

    Where ±inf is returned for positive probabilities, the value is beyond float64's range.

    References
    ----------
    S. Amari, *Information Geometry and Its Applications*, 2016, chapters 2 and 12.
    """

    classes: tuple[str, ...]
    probs: Array
    log_probs: Array
    truth: Array
    loss: Any
    logits: Array
    given_sum: Any = 1.0
    loss_function: PredictionLoss | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading axes: () for one prediction."""
        return self.probs.shape[:-1]

    @property
    def exact(self) -> bool:
        """Whether the components are fractions."""
        return is_exact(self.probs)

    @property
    def mass(self) -> Any:
        """The mass P = Σp of the truth, shape (...): 1 for a label or a distribution."""
        return row_sum(self.truth)

    @property
    def ambient(self) -> Array:
        """The derivative when q_c rises and nobody pays, so that the point leaves the simplex: −p_c/q_c."""
        return read_only(payment.ambient(self))

    @property
    def natural(self) -> Array:
        """q_c (a_c − ⟨q, a⟩) = P·q − p as the natural-gradient *vector* (Fisher–Rao metric Σ u_c v_c / q_c)."""
        return self.logits

    @property
    def euclidean(self) -> Array:
        """The Euclidean gradient *vector* a − mean(a): the projection of a to the face's tangent space.

        The mean is over the classes that take part, those with q_c > 0 or p_c > 0; the others have entry 0. Inside
        the simplex it is ``grad("everyone")``.

        >>> from crossent import differential
        >>> differential([0.5, 0.25, 0.25, 0.0], [0.5, 0.5, 0, 0]).euclidean.tolist()
        [0.0, -1.0, 1.0, 0.0]
        """
        return read_only(metrics.euclidean(self))

    @property
    def velocities(self) -> dict[str, Array]:
        """The initial motion of steepest descent by metric, as vectors on the simplex: see `velocity`."""
        return {metric: self.velocity(metric) for metric in metrics.METRICS}

    def velocity(self, metric: int | str) -> Array:
        """Return the motion dq/dt of steepest descent in one metric; its entries sum to 0.

        Parameters
        ----------
        metric : str or int
            ``"euclidean"``: −(a − mean a). ``"natural"`` (Fisher–Rao): p − P·q. ``"logit"`` (Euclidean in logits):
            −J (P·q − p) with J = diag(q) − qqᵀ. A class r by index or name (Euclidean in the chart without r):
            a_r − a_c for c ≠ r, and what they give up for r.

        Raises
        ------
        ValueError, TypeError
            Another metric.

        >>> from crossent import differential
        >>> d = differential([0.5, 0.25, 0.25], 0)
        >>> d.velocity("natural").tolist(), d.velocity("logit").tolist()
        ([0.5, -0.25, -0.25], [0.1875, -0.09375, -0.09375])
        """
        return read_only(metrics.velocity(self, metric))

    def grad(self, pay: Pay = "nobody") -> Array:
        """Return the derivative of the loss as each class rises, by who pays for it: a_c − ⟨w, a⟩.

        Parameters
        ----------
        pay : str, int or array of shape (C,)
            ``"nobody"`` (w = 0), ``"everyone"`` (w = 1/C), ``"in proportion"`` (w = q), a class by index
            or name (w = e_r, the chart without r), or weights that sum to 1.

        Returns
        -------
        ndarray, shape (..., C)
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
        >>> from crossent import differential
        >>> d = differential([0.5, 0.49, 0.01], "dog", classes=["dog", "cat", "bird"])
        >>> d.grad().tolist()
        [-2.0, 0.0, 0.0]
        >>> d.grad("dog").tolist()
        [0.0, 2.0, 2.0]
        """
        return read_only(payment.components(self, pay))

    def multiple(self, pay: Pay) -> Any:
        """Return λ in grad(pay) = ambient + λ·(1, …, 1), which is −⟨w, a⟩, shape (...).

        >>> from crossent import differential
        >>> differential([0.5, 0.49, 0.01], 0).multiple(0)
        2.0
        """
        return payment.multiple(self, pay)

    def along(self, v: ArrayLike) -> Any:
        """Return dH(v) = Σ a_c v_c, the loss's rate of change along a direction that stays on the simplex.

        Parameters
        ----------
        v : array of shape (C,) or (..., C)

        Raises
        ------
        ValueError
            ``v`` does not sum to zero; the message says by how much.

        >>> from crossent import differential
        >>> differential([0.5, 0.49, 0.01], 0).along([1, -1, 0])
        -2.0
        """
        direction = per_class(v, "v", exact=self.exact)
        if direction.shape != self.probs.shape and direction.shape != self.probs.shape[-1:]:
            per_class(direction, "v", self.probs.shape, exact=self.exact)
        finite = np.asarray((direction > -np.inf) & (direction < np.inf), dtype=bool)
        refuse(~finite, direction, self.classes, "v", "a finite number")
        total, size = np.asarray(row_sum(direction)), np.asarray(row_sum(abs(direction)))
        off = np.asarray(abs(total) > (0 if self.exact else ROUNDING) * size, dtype=bool)
        for row in np.argwhere(off):
            want = "0: a direction along the simplex keeps Σq = 1"
            raise wrong_sum(row_name("v", row), total[tuple(row)], want)
        return pair(self, direction)

    def transfer(self, src: int | str, dst: int | str) -> Any:
        """Return the loss per unit of probability moved from one class to another, a_dst − a_src, shape (...).

        >>> from crossent import differential
        >>> d = differential([0.5, 0.49, 0.01], 0)
        >>> d.transfer(0, 1), d.transfer(1, 2)
        (2.0, 0.0)
        """
        source, sink = class_index(src, self.classes, "src"), class_index(dst, self.classes, "dst")
        direction = zeros_like(self.probs, (len(self.classes),))
        direction[sink] += 1
        direction[source] -= 1
        return pair(self, direction)

    def same_as(
        self, other: Pay | Differential, pay: Pay = "nobody", *, tolerance: float = 1e-12
    ) -> certificate.Certificate:
        """Certify that other components are the same derivative: they differ by a multiple of (1, …, 1).

        Parameters
        ----------
        other : str, int, array of shape (..., C) or Differential
            A rule of payment by name (another representative of this derivative), a vector of components, or another
            prediction's derivative, whose components by the rule ``pay`` are taken.
        pay : str, int or array of shape (C,)
            The rule of this derivative's components.
        tolerance : float
            How far a component may be off, relative to itself, beside 2⁻⁴⁹·P. Fractions are compared exactly.

        Returns
        -------
        Certificate
            ``same``, ``multiple`` and ``deviation``.

        Raises
        ------
        ValueError, TypeError
            Other classes, another shape, NaN.

        >>> from crossent import differential
        >>> d = differential([0.5, 0.49, 0.01], 0)
        >>> d.same_as(0)
        Certificate(same=True, multiple=2.0, deviation=0.0, tolerance=1e-12)
        >>> d.same_as([-2.0, 0.0, 1e-9]).same
        False
        """
        return certificate.certify(self, other, pay, tolerance)

    def hessian(self, pay: Pay = "nobody") -> Array:
        """Return the second derivative as classes i and j rise by a rule of payment, (e_i − w)ᵀ A (e_j − w).

        A is the ambient second derivative, diag(p/q²) for the cross-entropy.

        Parameters
        ----------
        pay : str, int or array of shape (C,)
            As for `grad`; ``"in proportion"`` takes w = q as it is at this prediction.

        Returns
        -------
        ndarray, shape (..., C, C)

        >>> from crossent import differential
        >>> differential([0.5, 0.25, 0.25], 0).hessian(2).tolist()
        [[4.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
        """
        return read_only(second_order.hessian(self, pay))

    @property
    def hessian_logits(self) -> Array:
        """The second derivative in logits, P·(diag(q) − qqᵀ) for the cross-entropy, shape (..., C, C)."""
        return read_only(second_order.hessian_logits(self))

    @property
    def fisher(self) -> Array:
        """The Fisher information diag(q) − qqᵀ of the logits, shape (..., C, C): free of the truth.

        It is the softmax Jacobian J too. `fisher_metric` is the same metric on the simplex.
        """
        return read_only(second_order.fisher(self))

    def fisher_metric(self, pay: Pay = "nobody") -> Array:
        """Return the Fisher information of the probabilities, (e_i − w)ᵀ diag(1/q) (e_j − w).

        In the chart of class r (``pay=r``) it is diag(1/q) + 11ᵀ/q_r, the known matrix of C − 1 free probabilities.

        >>> from crossent import differential
        >>> differential([0.5, 0.25, 0.25], 0).fisher_metric(2).tolist()
        [[6.0, 4.0, 0.0], [4.0, 8.0, 0.0], [0.0, 0.0, 0.0]]
        """
        return read_only(second_order.fisher_metric(self, pay))

    def flow(self, metric: int | str, steps: int = 100, step_size: float = 0.1) -> descent.Path:
        """Follow gradient descent from this prediction, in float64.

        Parameters
        ----------
        metric : str or int
            ``"euclidean"``, ``"natural"`` (a step is taken in probabilities and projected to the simplex where it
            leaves it), ``"logit"`` (in logits), ``"exponentiated"`` (q_c exp(−η a_c), normalised), or a class r by
            index or name: descent in the C − 1 probabilities other than q_r, projected likewise.
        steps : int
        step_size : float
            η, the same for every step.

        Returns
        -------
        Path
            ``probs`` (steps + 1, ..., C) and ``losses`` (steps + 1, ...), the start included.

        Raises
        ------
        ValueError, TypeError
            Another metric, a negative number of steps, a step size that is not positive and finite.

        >>> from crossent import differential
        >>> path = differential([0.5, 0.25, 0.25], 0).flow("natural", steps=2, step_size=0.5)
        >>> path.probs.tolist()
        [[0.5, 0.25, 0.25], [0.75, 0.125, 0.125], [0.875, 0.0625, 0.0625]]
        """
        return descent.descend(self, metric, steps, step_size)

    def __getitem__(self, row: Any) -> Differential:
        """Return the differential of one row, or of some rows, of a batch.

        >>> from crossent import differential
        >>> differential([[0.5, 0.5], [0.9, 0.1]], [0, 1])[1].logits.tolist()
        [0.9, -0.9]
        """
        if row == ():
            return self
        if not self.shape:
            raise TypeError("one prediction has no rows to choose from")
        loss, given = np.asarray(self.loss)[row], np.asarray(self.given_sum)[row]
        return Differential(
            self.classes,
            read_only(self.probs[row]),
            read_only(self.log_probs[row]),
            read_only(self.truth[row]),
            loss=float(loss) if np.ndim(loss) == 0 else loss,
            logits=read_only(self.logits[row]),
            given_sum=given.item() if isinstance(given, np.generic) else given,
            loss_function=self.loss_function,
        )

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("one prediction has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Differential]:
        return (self[i] for i in range(len(self)))
