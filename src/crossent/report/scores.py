"""What is told of rows whose classes are known, however it was computed."""

from __future__ import annotations

from typing import Protocol


class Scores(Protocol):
    """The scores of some rows; means are over the rows, weighted by the sample weights if there are any."""

    @property
    def n_rows(self) -> int: ...
    @property
    def n_wrong(self) -> int: ...
    @property
    def log_loss(self) -> float: ...
    @property
    def baseline(self) -> float: ...
    @property
    def accuracy(self) -> float: ...
    @property
    def brier(self) -> float: ...
    @property
    def calibration_error(self) -> float: ...


def summary(scores: Scores) -> dict[str, float]:
    """Return the scores by name."""
    return {
        "rows": scores.n_rows,
        "log_loss": scores.log_loss,
        "accuracy": scores.accuracy,
        "brier_score": scores.brier,
        "expected_calibration_error": scores.calibration_error,
        "baseline_log_loss": scores.baseline,
    }
