"""The multinomial loss in the form that scikit-learn's estimators call, computed by the kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossent.arrays import Array
from crossent.loss import cross_entropy, cross_entropy_and_grad


class HalfMultinomialLoss:
    r"""Loss, gradient, curvature and probabilities of rows, written to arrays that are given.

    It has the methods of ``sklearn._loss._loss.CyHalfMultinomialLoss`` and can be put in its place: scikit-learn's own
    tests pass on it (``make parity``), and confident rows keep their digits.

    Every method takes ``y_true`` (n,), labels as integers or as floats with integer values; ``raw_prediction`` (n, C),
    the logits; ``sample_weight`` (n,), of either sign, or None; arrays to write to; and ``n_threads``. Losses are of
    each row, in nats:

    .. math:: L_i = s_i (\mathrm{lse}(z_i) - z_{i y_i})

    Raises
    ------
    TypeError, ValueError
        As :func:`crossent.cross_entropy` does.

    References
    ----------
    N. Simon, J. Friedman and T. Hastie, "A Blockwise Descent Algorithm for Group-penalized Multiresponse and
    Multinomial Regression" (2013), for the diagonal of the Hessian, :math:`s\,q_c (1 - q_c)`.

    Examples
    --------
    >>> import numpy as np
    >>> from crossent.estimators.multinomial_loss import HalfMultinomialLoss
    >>> z, loss = np.array([[40.0, 0.0]]), np.empty(1)
    >>> HalfMultinomialLoss().loss(np.array([0.0]), z, None, loss)
    >>> loss
    array([4.24835426e-18])
    """

    def loss(
        self, y_true: Array, raw_prediction: Array, sample_weight: Any, loss_out: Array, n_threads: int = 1
    ) -> None:
        """Write the rows' losses."""
        weight, sign = _sizes(sample_weight)
        loss_out[...] = cross_entropy(
            raw_prediction, _labels(y_true), sample_weight=weight, reduction="none", n_threads=n_threads
        )
        if sign is not None:
            loss_out *= sign

    def loss_gradient(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Any,
        loss_out: Array,
        gradient_out: Array,
        n_threads: int = 1,
    ) -> None:
        """Write the rows' losses and gradients."""
        weight, sign = _sizes(sample_weight)
        loss_out[...], gradient_out[...] = cross_entropy_and_grad(
            raw_prediction, _labels(y_true), sample_weight=weight, reduction="none", n_threads=n_threads
        )
        if sign is not None:
            loss_out *= sign
            gradient_out *= sign[:, None]

    def gradient(
        self, y_true: Array, raw_prediction: Array, sample_weight: Any, gradient_out: Array, n_threads: int = 1
    ) -> None:
        """Write the rows' gradients."""
        self.loss_gradient(y_true, raw_prediction, sample_weight, np.empty(len(y_true)), gradient_out, n_threads)

    def gradient_hessian(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Any,
        gradient_out: Array,
        hessian_out: Array,
        n_threads: int = 1,
    ) -> None:
        """Write the rows' gradients and the diagonals of their Hessians."""
        self.gradient(y_true, raw_prediction, sample_weight, gradient_out, n_threads)
        probs, rest = _probabilities(raw_prediction, n_threads)
        hessian_out[...] = probs * rest
        if sample_weight is not None:
            hessian_out *= np.asarray(sample_weight)[:, None]

    def gradient_proba(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Any,
        gradient_out: Array,
        proba_out: Array,
        n_threads: int = 1,
    ) -> None:
        """Write the rows' gradients and probabilities."""
        self.gradient(y_true, raw_prediction, sample_weight, gradient_out, n_threads)
        proba_out[...], _ = _probabilities(raw_prediction, n_threads)

    def _test_cy_gradient(self, y_true: Array, raw_prediction: Array, sample_weight: Any) -> Array:
        """Return the gradients row by row, as scikit-learn's SAG solver asks for them."""
        grads = np.empty_like(raw_prediction)
        weights = np.ones(len(y_true)) if sample_weight is None else sample_weight
        for row in range(len(y_true)):
            one = slice(row, row + 1)
            self.gradient(y_true[one], raw_prediction[one], weights[one], grads[one])
        return grads


def _sizes(sample_weight: Any) -> tuple[Array | None, Array | None]:
    """Return the sizes of the weights, and their signs where there are negative ones, which scikit-learn takes."""
    if sample_weight is None:
        return None, None
    weight = np.asarray(sample_weight)
    return np.abs(weight), np.sign(weight) if (weight < 0).any() else None


def _labels(y_true: Array) -> Array:
    """Return labels as integers; what is not one stays, for the loss to refuse."""
    whole = np.asarray(y_true)
    labels = whole.astype(np.int64)
    return labels if np.array_equal(labels, whole) else whole


def _probabilities(logits: Array, n_threads: int) -> tuple[Array, Array]:
    """Return q and 1 - q, neither of which cancels: the gradient for the likeliest class as label holds all but one."""
    top = np.argmax(logits, axis=1)
    loss, grad = cross_entropy_and_grad(logits, top, reduction="none", n_threads=n_threads)
    rows = np.arange(len(top))
    probs, rest = grad, 1 - grad
    rest[rows, top] = -grad[rows, top]
    probs[rows, top] = np.exp(-loss)
    return probs, rest
