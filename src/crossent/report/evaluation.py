"""The scores of predicted probabilities on rows whose classes are known, all from the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crossent import cross_entropy

N_BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Rows binned by the probability of their predicted class.

    Attributes
    ----------
    confidence, accuracy : float64 arrays of shape (N_BINS,)
        Weighted means over the rows of each bin; nan in an empty one.
    count : int64 array of shape (N_BINS,)
    share : float64 array of shape (N_BINS,)
        Of the total weight.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]
    share: NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Scores of n rows and C classes; means are weighted by the sample weights, if any.

    Attributes
    ----------
    logits : float64 array of shape (n, C)
    labels : integer array of shape (n,)
    classes : list of str
    frequencies : float64 array of shape (C,)
        The share of each class in training: the baseline predicts it for every row.
    weights : float64 array of shape (n,), optional
    label_probs : float64 array of shape (n, C), optional
        The truth where it is no single class; ``labels`` are then its most probable classes.

    Examples
    --------
    >>> logits = np.array([[2.0, 0.0], [0.0, 1.0]])
    >>> scores = Evaluation(logits, np.array([0, 1]), ["a", "b"], np.array([0.5, 0.5]))
    >>> round(scores.log_loss, 6), scores.accuracy, round(scores.baseline, 6)
    (0.220095, 1.0, 0.693147)
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    classes: list[str]
    frequencies: NDArray[np.float64]
    weights: NDArray[np.float64] | None = None
    label_probs: NDArray[np.float64] | None = None

    @classmethod
    def concatenated(cls, parts: Sequence[Evaluation]) -> Evaluation:
        """Return the scores of all rows of some parts, of one model and one kind of truth."""
        return cls(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.labels for part in parts]),
            parts[0].classes,
            parts[0].frequencies,
            _joined([part.weights for part in parts]),
            _joined([part.label_probs for part in parts]),
        )

    @cached_property
    def probs(self) -> NDArray[np.float64]:
        """softmax of the logits."""
        from scipy.special import softmax

        return np.asarray(softmax(self.logits, axis=1))

    @cached_property
    def predictions(self) -> NDArray[np.int64]:
        return np.asarray(self.logits.argmax(axis=1))

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class."""
        return np.asarray(self.probs.max(axis=1))

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """The loss of each row in nats."""
        truth = self.labels if self.label_probs is None else self.label_probs
        return np.asarray(cross_entropy(self.logits, truth, reduction="none"))

    @property
    def log_loss(self) -> float:
        """Mean of ``-log q_y`` in nats, from the logits: finite and exact however small ``q_y`` is."""
        return self._mean(self.losses)

    @property
    def baseline(self) -> float:
        """The log-loss of predicting the class frequencies of the training rows for every row."""
        if self.label_probs is None:
            return self._mean(-np.log(self.frequencies)[self.labels])
        return self._mean(self.label_probs @ -np.log(self.frequencies))

    @property
    def accuracy(self) -> float:
        return self._mean(self.predictions == self.labels)

    @property
    def hits(self) -> NDArray[np.float64]:
        """How much of each row's truth is the predicted class: for a label 1 or 0."""
        if self.label_probs is None:
            return np.asarray(self.predictions == self.labels, np.float64)
        return np.take_along_axis(self.label_probs, self.predictions[:, None], axis=1)[:, 0]

    @property
    def n_rows(self) -> int:
        return len(self.labels)

    @property
    def n_wrong(self) -> int:
        return int((self.predictions != self.labels).sum())

    @property
    def brier(self) -> float:
        """Mean of ``Σ_c (q_c - p_c)²``, from 0 to 2; for a label y, p_c is 1 at y and 0 elsewhere.

        Brier, "Verification of forecasts expressed in terms of probability", 1950, equation 2.
        """
        if self.label_probs is not None:
            return self._mean(((self.probs - self.label_probs) ** 2).sum(axis=1))
        true_class = self.probs[np.arange(len(self.labels)), self.labels]
        return self._mean((self.probs**2).sum(axis=1) - 2 * true_class + 1)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: ``Σ_b share_b |accuracy_b - confidence_b|`` over equal-width bins.

        Guo et al., "On calibration of modern neural networks", 2017, section 2, equation 3.
        """
        bins = self.reliability
        filled = bins.count > 0
        return float(np.sum(bins.share * np.abs(bins.accuracy - bins.confidence), where=filled))

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus what it should be, the mean of the hits."""
        return self._mean(self.confidence) - self._mean(self.hits)

    @cached_property
    def reliability(self) -> Reliability:
        bins = np.minimum((self.confidence * N_BINS).astype(np.int64), N_BINS - 1)
        weights = np.ones(len(bins)) if self.weights is None else self.weights
        mass = np.bincount(bins, weights, N_BINS)
        right = weights * self.hits
        with np.errstate(invalid="ignore"):
            confidence = np.bincount(bins, weights * self.confidence, N_BINS) / mass
            accuracy = np.bincount(bins, right, N_BINS) / mass
        return Reliability(confidence, accuracy, np.bincount(bins, minlength=N_BINS), mass / mass.sum())

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """How many rows of each class (first axis) were predicted as each class (second axis)."""
        from sklearn.metrics import confusion_matrix

        return np.asarray(confusion_matrix(self.labels, self.predictions, labels=np.arange(len(self.classes))))

    def confident_mistakes(self, n: int = 10) -> NDArray[np.int64]:
        """Return the wrongly predicted rows of the highest confidence, then of the highest loss."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        order = np.lexsort((-self.losses[wrong], -self.confidence[wrong]))
        return wrong[order[:n]]

    def _mean(self, values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
        return float(np.average(values, weights=self.weights))


def _joined(parts: list[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None
