"""The story of a confident prediction, whose textbook loss is rounded to 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossent.explanation.prediction import explain
from crossent.loss import cross_entropy_and_grad
from crossent.stories.story import Fact, Story, StoryTable

_MARGINS = (0, 2, 5, 10, 15, 16, 17, 18, 20, 25, 30, 35, 36, 37, 38, 40)
_CLASSES = ("dog", "cat")
_COLUMNS = (
    "margin (nats)",
    "exact loss",
    "float32 textbook loss",
    "float64 textbook loss",
    "float32 crossent loss",
    "exact dog entry",
    "float32 textbook dog entry",
    "float32 crossent dog entry",
)


def margin() -> Story:
    """Return the story of logits (m, 0) with margins m to 40."""
    predictions = {m: explain(logits=[float(m), 0.0], target=0, classes=_CLASSES) for m in _MARGINS}
    rows = tuple((float(m), *_at(m, one.differential.loss, one.differential.logits)) for m, one in predictions.items())
    last = rows[-1]
    return Story(
        "margin",
        "A confident prediction",
        "The logit of the true class leads by a margin of m nats. The loss is positive for every m; what does the "
        "computer return?",
        {f"margin {m}": predictions[m] for m in (5, 20, 40)},
        (
            Fact(
                "The textbook form, z − max − log Σ exp(z − max), adds 1 and exp(−m) first. In float32 its loss and "
                "its derivative are exactly 0 from a margin of {float32_zero_from} on, in float64 from "
                "{float64_zero_from} on.",
                {"float32_zero_from": _zero_from(np.float32), "float64_zero_from": _zero_from(np.float64)},
            ),
            Fact(
                "At a margin of {margin} the loss is {exact_loss:nats}. From float32 logits the textbook form returns "
                "{textbook_loss}, crossent.cross_entropy {crossent_loss}.",
                {"margin": last[0], "exact_loss": last[1], "textbook_loss": last[2], "crossent_loss": last[4]},
            ),
            Fact(
                "The derivative in dog's logit is {exact_entry}. The textbook's q − 1 is {textbook_entry}, and with it "
                "training stops; crossent gives {crossent_entry}.",
                {"exact_entry": last[5], "textbook_entry": last[6], "crossent_entry": last[7]},
            ),
        ),
        (StoryTable("Logits (m, 0), the truth is the first class", _COLUMNS, rows),),
    )


def textbook(logits: NDArray[Any]) -> tuple[float, float]:
    """Return the loss and logit derivative of class 0 by log_softmax as textbooks write it, in the given dtype.

    >>> textbook(np.array([20.0, 0.0], dtype=np.float32))
    (0.0, 0.0)
    """
    shifted = logits - logits.max()
    log_q = shifted - np.log(np.exp(shifted).sum())
    return float(0 - log_q[0]), float(np.exp(log_q[0]) - logits.dtype.type(1))


def _at(m: float, exact_loss: float, exact_grad: NDArray[np.float64]) -> tuple[float, ...]:
    single = np.array([m, 0.0], dtype=np.float32)
    loss32, entry32 = textbook(single)
    loss64, _ = textbook(single.astype(np.float64))
    ours = cross_entropy_and_grad(single[None, :], np.array([0]))
    return (
        exact_loss,
        loss32,
        loss64,
        float(ours.loss),
        float(exact_grad[0]),
        entry32,
        float(np.asarray(ours.grad)[0, 0]),
    )


def _zero_from(dtype: Any) -> int:
    """The smallest whole margin at which both textbook numbers are exactly 0."""
    return next(m for m in range(1000) if textbook(np.array([m, 0.0], dtype=dtype)) == (0.0, 0.0))
