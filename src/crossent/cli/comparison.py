"""The same split given to scikit-learn: what its classifier takes and reaches beside ours."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table
    from sklearn.linear_model import LogisticRegression

    from crossent.cli.training_rows import Part
    from crossent.report import RunningScores, Scores

# Logits that are scored at a time.
SCORED_VALUES = 2**22


@dataclass(frozen=True)
class Contender:
    """A classifier fitted on the training rows and scored on the others.

    Attributes
    ----------
    seconds : float
        Of the fit alone.
    """

    name: str
    seconds: float
    log_loss: float
    accuracy: float
    remark: str = ""


def of_evaluation(name: str, seconds: float, evaluation: Scores) -> Contender:
    return Contender(name, seconds, evaluation.log_loss, evaluation.accuracy)


def logistic_regression(training: Part, scored: Part, classes: list[str], frequencies: np.ndarray) -> Contender:
    """Fit scikit-learn's LogisticRegression, as it is by default, and score it."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression()
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(training.x, training.y, training.dataset.weights)
    seconds = time.perf_counter() - start
    evaluation = _scores(model, scored, classes, frequencies)
    remark = "stopped at its 100 iterations" if caught else ""
    if training.probs is not None:
        remark = "; ".join(filter(None, ["fitted to the most probable classes: it takes no probabilities", remark]))
    return Contender("LogisticRegression", seconds, evaluation.log_loss, evaluation.accuracy, remark)


def _scores(model: LogisticRegression, scored: Part, classes: list[str], frequencies: np.ndarray) -> RunningScores:
    from crossent.report import Evaluation, RunningScores

    running, weights = RunningScores(), scored.dataset.weights
    step = max(1, SCORED_VALUES // len(classes))
    for start in range(0, len(scored), step):
        at = slice(start, start + step)
        scores = np.asarray(model.decision_function(scored.x[at]), np.float64)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        # A class that no training row is of has no probability there.
        logits = np.full((len(scores), len(classes)), -np.inf)
        logits[:, model.classes_] = scores
        weight, probs = (None if of is None else of[at] for of in (weights, scored.probs))
        running.add(Evaluation(logits, scored.y[at], classes, frequencies, weight, probs))
    return running


def table(contenders: list[Contender], scored: str) -> Table:
    """Return the contenders side by side."""
    from rich.table import Table

    from crossent.report.numbers import percent, significant

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "seconds to fit", f"{scored} log-loss", "accuracy", ""):
        shown.add_column(heading, justify="left" if not heading else "right")
    for one in contenders:
        loss = significant(one.log_loss)
        shown.add_row(one.name, f"{one.seconds:.2f}", loss, percent(one.accuracy), one.remark)
    return shown
