"""What a loss of the prediction has to say: its value and, above all, its ambient gradient."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike

from crossent.family.prediction import Array, Prediction, from_log_probs, from_logits, from_probs, truth_of


class PredictionLoss(Protocol):
    r"""A loss ℓ(q, p) of a prediction q and a truth p, known by its ambient gradient.

    The ambient gradient a has the derivative as q_c rises and nobody pays. It says everything: the derivative by any
    rule of payment w is a_c − ⟨w, a⟩, and the one in logits q_c (a_c − ⟨q, a⟩). A loss of your own that inherits from
    this class gives ``name``, ``value``, ``ambient`` and ``hessian``; its gradient in logits follows.

    Arrays have the classes along the last axis; any leading axes are a batch.

    Examples
    --------
    >>> class ExpectedCost(PredictionLoss):
    ...     name = "expected cost"
    ...     cost = np.array([[0.0, 1.0, 5.0], [1.0, 0.0, 5.0], [2.0, 2.0, 0.0]])
    ...     def value(self, probs, truth):
    ...         return np.sum(np.asarray(probs) * (truth @ self.cost), axis=-1)
    ...     def ambient(self, probs, truth):
    ...         return truth @ self.cost
    ...     def hessian(self, probs, truth):
    ...         return np.zeros((*np.shape(probs), np.shape(probs)[-1]))
    >>> loss, grad = value_and_logit_gradient(ExpectedCost(), np.log([0.5, 0.25, 0.25]), np.array([1.0, 0.0, 0.0]))
    >>> loss.item(), grad.round(4).tolist()
    (1.5, [-0.75, -0.125, 0.875])
    """

    @property
    def name(self) -> str:
        """What to call the loss, parameters included."""
        ...

    def value(self, probs: ArrayLike, truth: ArrayLike) -> Array:
        """Return the loss of each row, shape (...); in nats where the loss is an information."""
        ...

    def ambient(self, probs: ArrayLike, truth: ArrayLike) -> Array:
        """Return the derivative as each q_c rises and nobody pays, shape (..., C)."""
        ...

    def hessian(self, probs: ArrayLike, truth: ArrayLike) -> Array:
        """Return the second derivative as q_c and q_k rise and nobody pays, shape (..., C, C)."""
        ...

    def logit_gradient(self, log_probs: ArrayLike, truth: ArrayLike) -> Array:
        """Return the derivative in logits, q_c (a_c − ⟨q, a⟩), shape (..., C).

        A class of probability 0 adds nothing: a loss whose ambient entry diverges there as fast as 1/q_c gives its own.
        """
        q = from_log_probs(log_probs)
        a = np.broadcast_to(np.asarray(self.ambient(q.probs, truth), dtype=np.float64), q.probs.shape)
        scaled = np.zeros_like(q.probs)
        np.multiply(q.probs, a - q.of_top(a), out=scaled, where=q.probs > 0)
        return pulled_back(q, scaled)


def pulled_back(q: Prediction, chart: Array) -> Array:
    """Return the derivative in logits from q_c (a_c − a_k), where k is the likeliest class, which pays.

    With k paying nothing near 1 is subtracted from anything near 1, so that confident rows keep their gradient.
    """
    chart = np.where(q.is_top, 0.0, chart)
    return np.asarray(chart - q.probs * chart.sum(axis=-1, keepdims=True)) + 0.0


class FamilyLoss(PredictionLoss):
    """The losses of this package: each is written once, for rows that carry log q and 1 − q as well."""

    # A loss that is linear in the truth takes one of any mass; for the others it is a distribution.
    any_mass: ClassVar[bool] = False

    def value(self, probs: ArrayLike, truth: ArrayLike) -> Array:
        """Return the loss of each row, shape (...).

        Parameters
        ----------
        probs : array-like (..., C)
            Rows that sum to 1 within 1e-6; each is divided by its sum.
        truth : array-like
            Integer labels (...), or masses (..., C).
        """
        q = from_probs(probs)
        return self.value_of(q, self._truth(truth, q))

    def ambient(self, probs: ArrayLike, truth: ArrayLike) -> Array:
        """Return the derivative as each q_c rises and nobody pays, shape (..., C); arguments as for `value`."""
        q = from_probs(probs)
        return self.ambient_of(q, self._truth(truth, q))

    def hessian(self, probs: ArrayLike, truth: ArrayLike) -> Array:
        """Return the ambient second derivative, shape (..., C, C); arguments as for `value`."""
        q = from_probs(probs)
        return self.hessian_of(q, self._truth(truth, q))

    def logit_gradient(self, log_probs: ArrayLike, truth: ArrayLike) -> Array:
        """Return the derivative in logits, shape (..., C), finite wherever its limit is.

        Parameters
        ----------
        log_probs : array-like (..., C)
            Log-probabilities; −inf for a class that takes no part.
        truth : array-like
            Integer labels (...), or masses (..., C).
        """
        q = from_log_probs(log_probs)
        return self.logit_gradient_of(q, self._truth(truth, q))

    def ambient_growth(self, log_probs: Array, truth: Array) -> tuple[Array, ...] | None:
        """Return the ambient entries' growth where they are infinite, on the segment from q to the truth p/Σp.

        With δ the share of the way that is gone, q_c = δ p_c/Σp where it was 0, and an entry is a sum of powers of
        δ and log(1/δ). Returned are the coefficients of those that grow, the fastest first, and last what is finite,
        (..., C) each; None where one power is all there is.
        """
        return None

    def hessian_growth(self, truth: Array) -> tuple[Array, ...] | None:
        """Return the same of the ambient second derivative's diagonal."""
        return None

    @abstractmethod
    def value_of(self, q: Prediction, p: Array) -> Array: ...

    @abstractmethod
    def ambient_of(self, q: Prediction, p: Array) -> Array: ...

    @abstractmethod
    def hessian_of(self, q: Prediction, p: Array) -> Array: ...

    def logit_gradient_of(self, q: Prediction, p: Array) -> Array:
        a = self.ambient_of(q, p)
        chart = np.zeros_like(a)
        np.multiply(q.probs, a - q.of_top(a), out=chart, where=q.probs > 0)
        return pulled_back(q, chart)

    def _truth(self, truth: ArrayLike, q: Prediction) -> Array:
        return truth_of(truth, q.probs.shape, any_mass=self.any_mass)


def value_and_logit_gradient(loss: PredictionLoss, logits: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    """Return the loss of softmax(logits), shape (...), and its derivative in the logits, shape (..., C).

    Parameters
    ----------
    loss : PredictionLoss
    logits : array-like (..., C)
        Finite, or −inf for a class that takes no part.
    truth : array-like
        Integer labels (...), or masses (..., C).

    Raises
    ------
    ValueError, TypeError
        Naming the place, the value and what was expected.

    Examples
    --------
    >>> from crossent.family import Brier
    >>> loss, grad = value_and_logit_gradient(Brier(), [[40.0, 0.0]], [0])
    >>> loss.tolist(), grad.tolist()
    ([3.609702...e-35], [[-7.219405...e-35, 7.219405...e-35]])
    """
    q = from_logits(logits)
    if isinstance(loss, FamilyLoss):
        p = truth_of(truth, q.probs.shape, any_mass=loss.any_mass)
        return loss.value_of(q, p), loss.logit_gradient_of(q, p)
    p = truth_of(truth, q.probs.shape, any_mass=True)
    return np.asarray(loss.value(q.probs, p)), np.asarray(loss.logit_gradient(q.log_probs, p))
