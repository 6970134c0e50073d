"""The scores of rows that come in batches, of which only sums are kept."""

from __future__ import annotations

import numpy as np

from crossent.report.evaluation import N_BINS, Evaluation


class RunningScores:
    """``Evaluation``'s scores of all rows that were added, to rounding: every one is a ratio of sums over the rows.

    Examples
    --------
    >>> logits, labels = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
    >>> scores = RunningScores()
    >>> for row in range(2):
    ...     at = slice(row, row + 1)
    ...     scores.add(Evaluation(logits[at], labels[at], ["a", "b"], np.array([0.5, 0.5])))
    >>> round(scores.log_loss, 6), scores.accuracy, scores.n_rows
    (0.220095, 1.0, 2)
    """

    def __init__(self) -> None:
        self.n_rows, self.n_wrong, self.weight = 0, 0, 0.0
        self._sums = np.zeros(4)  # of the log-loss, the baseline's, the hits of the label, and the Brier score
        self._bins = np.zeros((2, N_BINS))  # of the hits and of the confidence

    def add(self, batch: Evaluation) -> None:
        """Take the rows of a batch in."""
        self.n_rows += batch.n_rows
        self.n_wrong += batch.n_wrong
        weight = float(batch.n_rows if batch.weights is None else batch.weights.sum())
        if weight == 0:
            return
        self.weight += weight
        self._sums += weight * np.array([batch.log_loss, batch.baseline, batch.accuracy, batch.brier])
        bins = batch.reliability
        mass = weight * bins.share
        self._bins += np.nan_to_num([mass * bins.accuracy, mass * bins.confidence])

    @property
    def log_loss(self) -> float:
        """Mean of ``-log q_y`` in nats."""
        return self._mean(0)

    @property
    def baseline(self) -> float:
        """The log-loss of predicting the class frequencies of the training rows for every row."""
        return self._mean(1)

    @property
    def accuracy(self) -> float:
        """The share of rows whose most probable class is the true one."""
        return self._mean(2)

    @property
    def brier(self) -> float:
        """Mean of ``Σ_c (q_c - p_c)²``."""
        return self._mean(3)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, ``Σ_b |hits_b - confidence_b| / weight`` over equal-width bins."""
        hits, confidence = self._bins
        return float(np.abs(hits - confidence).sum() / self.weight) if self.weight else float("nan")

    def _mean(self, which: int) -> float:
        return float(self._sums[which] / self.weight) if self.weight else float("nan")
