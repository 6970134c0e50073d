"""Two predictions for the same classes: what the loss sees of them, and what a step makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from crossent.errors import invalid_value
from crossent.explanation.losses import CROSS_ENTROPY
from crossent.explanation.plain import dump_json, plain
from crossent.explanation.prediction import Explanation
from crossent.simplex import Certificate, Differential

if TYPE_CHECKING:
    from rich.console import RenderableType

_EQUAL = 1e-12


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two explained predictions; made by `compare`.

    Attributes
    ----------
    first, second : Explanation
    step : float
        How far each moves against its logit gradient in ``losses_after_step``.
    """

    first: Explanation
    second: Explanation
    step: float = 1.0

    @property
    def losses_after_step(self) -> tuple[float, float]:
        """The losses (nats) after one gradient step in logits."""
        return _after(self.first.differential, self.step), _after(self.second.differential, self.step)

    @property
    def same_loss(self) -> bool:
        """Whether the losses agree to 1e-12 of their size."""
        one, two = self.first.differential.loss, self.second.differential.loss
        return bool(one == two or abs(one - two) <= _EQUAL * max(one, two))

    @property
    def certificate(self) -> Certificate:
        """Whether the two derivatives are one: their ambient components differ by a multiple of (1, …, 1)."""
        return self.first.differential.same_as(self.second.differential)

    @property
    def same_differential(self) -> bool:
        """Whether every transfer costs the same at both predictions, to rounding."""
        return bool(self.certificate)

    @property
    def differential_deviation(self) -> float | Fraction:
        """The largest difference between the two derivatives over all transfers from one class to another."""
        deviation: float | Fraction = self.certificate.deviation
        return deviation

    @property
    def logit_gradient_deviation(self) -> float | Fraction:
        """The largest difference between entries of the two logit gradients."""
        one, two = self.first.differential.logits, self.second.differential.logits
        gaps = [Fraction(0) if a == b else abs(a - b) for a, b in zip(one.tolist(), two.tolist(), strict=True)]
        largest = max(gaps)
        return largest if self.first.differential.exact and self.second.differential.exact else float(largest)

    def to_dict(self) -> dict[str, Any]:
        """Return the first explanation's dict, the second's as "against", and what sets them apart."""
        return {
            **self.first.to_dict(),
            "against": self.second.to_dict(),
            "comparison": {
                "same_loss": self.same_loss,
                "same_differential": self.same_differential,
                "differential_deviation": plain(self.differential_deviation),
                "logit_gradient_deviation": plain(self.logit_gradient_deviation),
                "step": self.step,
                "losses_after_step": list(self.losses_after_step),
            },
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return `to_dict` as JSON, infinities as the strings "inf" and "-inf"."""
        return dump_json(self.to_dict(), indent=indent)

    def to_text(self, width: int = 80) -> str:
        """Return plain text in lines of at most ``width`` columns."""
        from crossent.explanation.text import comparison_view, plain_text

        return plain_text(comparison_view(self), width)

    def __rich__(self) -> RenderableType:
        from crossent.explanation.text import comparison_view

        return comparison_view(self)

    def __str__(self) -> str:
        return self.to_text()


def compare(first: Explanation, second: Explanation, *, step: float = 1.0) -> Comparison:
    """Compare two explained predictions of the same classes.

    Raises
    ------
    ValueError
        The classes or the losses differ, or the step is not a positive, finite number.

    Examples
    --------
    >>> from crossent.explanation.prediction import explain
    >>> pair = compare(explain([0.5, 0.49, 0.01], target=0), explain([0.5, 0.25, 0.25], target=0))
    >>> pair.same_loss, pair.same_differential, pair.logit_gradient_deviation
    (True, True, 0.24)
    >>> [round(loss, 4) for loss in pair.losses_after_step]
    [0.3193, 0.3869]
    """
    ours, theirs = first.differential.classes, second.differential.classes
    if ours != theirs:
        raise invalid_value("the classes of second", list(theirs), f"those of first, {list(ours)!r}")
    one, two = (_loss_name(explained.differential) for explained in (first, second))
    if one != two:
        raise invalid_value("the loss of second", two, f"that of first, {one!r}")
    if not 0 < step < math.inf:
        raise invalid_value("step", step, "a positive, finite number")
    return Comparison(first, second, step)


def _loss_name(d: Differential) -> str:
    return CROSS_ENTROPY if d.loss_function is None else d.loss_function.name


def _after(d: Differential, step: float) -> float:
    return float(d.flow("logit", steps=1, step_size=step).losses[-1])
