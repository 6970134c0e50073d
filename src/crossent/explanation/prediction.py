"""One prediction explained: its loss and the derivative for each rule of who pays, in several formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import ArrayLike

from crossent.errors import invalid_choice, invalid_type, invalid_value
from crossent.explanation.descent import METRICS, Descent, descent
from crossent.explanation.losses import CROSS_ENTROPY, loss_function
from crossent.explanation.payments import Asked, Number, Shares, payments
from crossent.explanation.plain import dump_json, plain
from crossent.family import PredictionLoss
from crossent.simplex import (
    Certificate,
    Differential,
    differential,
    differential_from_logits,
    symbolic_loss,
)
from crossent.simplex_inputs import Array, Pay, Target

if TYPE_CHECKING:
    from rich.console import RenderableType

    from crossent.explanation.quiz import Question

Named: TypeAlias = ArrayLike | Sequence[Number] | Shares


@dataclass(frozen=True, eq=False)
class Explanation:
    """Everything that is shown about one prediction; every view of it is made from these numbers.

    Attributes
    ----------
    differential : Differential
        The prediction, the truth, the loss and its derivative.
    payments : dict
        Who pays, by the name of its column, as `Differential.grad` takes it: the three general rules, then
        the classes (by index) and the weights that were asked for.
    metrics : tuple of str
        The metrics whose steepest descent is shown.
    step : float
        How large a step `descents` takes.
    """

    differential: Differential
    payments: Mapping[str, Pay]
    metrics: tuple[str, ...] = ()
    step: float = 1.0

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules of payment shown: nobody, everyone, in proportion, then the payers asked for, by name."""
        return tuple(self.payments)

    @property
    def derivatives(self) -> dict[str, Array]:
        """The derivative as each class rises, by rule of payment."""
        return {rule: self.differential.grad(pay) for rule, pay in self.payments.items()}

    @property
    def multiples(self) -> dict[str, float | Fraction]:
        """λ by rule, in: derivatives[rule] = derivatives["nobody"] + λ·(1, …, 1)."""
        return {rule: self.differential.multiple(pay) for rule, pay in self.payments.items()}

    @property
    def certificates(self) -> dict[str, Certificate]:
        """By rule, that its components are the ambient ones plus a multiple of (1, …, 1): the same derivative."""
        d = self.differential
        return {rule: d.same_as(values) for rule, values in self.derivatives.items()}

    @property
    def descents(self) -> dict[str, Descent]:
        """Steepest descent by metric, and where one step leads."""
        return {metric: descent(self.differential, metric, self.step) for metric in self.metrics}

    def quiz(self) -> tuple[Question, ...]:
        """Return questions about this prediction, whose wrong choices are what known misconceptions give."""
        from crossent.explanation.quiz import questions

        return questions(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain floats and lists, every vector as long as ``"classes"``.

        Fractions are strings, ``"1/2"``, that ``fractions.Fraction`` reads back; then ``"loss_in_symbols"`` has the
        loss as ``"log 2"``.
        """
        d = self.differential
        return {
            "classes": list(d.classes),
            "truth": plain(d.truth),
            "prediction": plain(d.probs),
            "loss": d.loss,
            **({"loss_in_symbols": symbolic_loss(d)} if d.exact and d.loss_function is None else {}),
            "derivatives": {rule: plain(values) for rule, values in self.derivatives.items()},
            "multiples": {rule: plain(value) for rule, value in self.multiples.items()},
            "certificates": {
                rule: {"same": one.same, "multiple": plain(one.multiple), "deviation": plain(one.deviation)}
                for rule, one in self.certificates.items()
            },
            "velocities": {metric: plain(values) for metric, values in d.velocities.items()},
            "logit_gradient": plain(d.logits),
            "natural_gradient": plain(d.natural),
            "descents": {metric: one.to_dict() for metric, one in self.descents.items()},
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return `to_dict` as JSON in full precision.

        JSON has no infinity: it is written as the string ``"inf"`` or ``"-inf"``, which ``float`` reads back.
        """
        return dump_json(self.to_dict(), indent=indent)

    def to_text(self, width: int = 80) -> str:
        """Return plain text in lines of at most ``width`` columns."""
        from crossent.explanation.text import explanation_view, plain_text

        return plain_text(explanation_view(self), width)

    def to_latex(self) -> str:
        """Return the derivation with this prediction's numbers, for a document that loads amsmath."""
        from crossent.explanation.latex import latex

        return latex(self)

    def _repr_html_(self) -> str:
        from crossent.explanation.html import html

        return html(self)

    def __rich__(self) -> RenderableType:
        from crossent.explanation.text import explanation_view

        return explanation_view(self)

    def __str__(self) -> str:
        return self.to_text()


def explain(
    probs: Named | None = None,
    *,
    logits: Named | None = None,
    target: Target,
    classes: Sequence[object] | None = None,
    pay: Asked = "nobody",
    loss: str | PredictionLoss = CROSS_ENTROPY,
    metric: str | Iterable[str] = (),
    step: float = 1.0,
    normalize: bool = False,
) -> Explanation:
    """Explain one prediction: the loss, and its derivative for each rule of who pays.

    Parameters
    ----------
    probs : array-like of shape (C,) or mapping of class name to probability
        The prediction. Give this or ``logits``.
    logits : array-like of shape (C,) or mapping of class name to logit
        The prediction as scores, from which a loss or gradient below 1e-16 is still exact.
    target : int, str, mapping or array-like of shape (C,)
        The truth: a class by index or name, or a distribution.
    classes : sequence of str, optional
        Names; the keys of a mapping otherwise, else ``"0"``, ``"1"``, ….
    pay : str, int, mapping or array-like of shape (C,), or several of them
        Who pays beside nobody, everyone and in proportion, which are always shown: a class, or weights that
        sum to 1, as ``{"cat": 0.5, "bird": 0.5}`` or one per class. Where none is named, it is the class
        with the most truth: the one the popular question is about.
    loss : str or PredictionLoss
        ``"cross-entropy"``, another loss of `crossent.family` by name, or one of one's own.
    metric : str or several
        Metrics whose steepest descent is shown: ``"euclidean"``, ``"natural"``, ``"logit"``.
    step : float
        How large a step the descent takes.
    normalize : bool
        Divide ``probs`` by their sum, whatever it is.

    Raises
    ------
    ValueError, TypeError
        The message names the class, its value and what was expected.

    Examples
    --------
    >>> story = explain({"dog": 0.5, "cat": 0.49, "bird": 0.01}, target="dog")
    >>> story.differential.loss
    0.6931471805599453
    >>> {rule: values.round(4).tolist() for rule, values in story.derivatives.items()}["dog"]
    [0.0, 2.0, 2.0]
    """
    if (probs is None) == (logits is None):
        raise TypeError("explain takes one of probs and logits: " + ("neither" if probs is None else "both") + " given")
    names, values = _split(probs if logits is None else logits, classes, "probs" if logits is None else "logits")
    function = loss_function(loss)
    if logits is None:
        d = differential(values, target, classes=names, normalize=normalize, loss=function)
    elif normalize:
        raise TypeError("normalize divides probs by their sum: logits need no such thing")
    else:
        d = differential_from_logits(values, target, classes=names, loss=function)
    if d.shape:
        argument = "probs" if logits is None else "logits"
        raise invalid_value(f"{argument}.shape", d.probs.shape, "one prediction: one number per class, (C,)")
    return Explanation(d, payments(d, pay), _metrics(metric), _positive(step))


def _metrics(metric: str | Iterable[str]) -> tuple[str, ...]:
    if not isinstance(metric, Iterable):
        raise invalid_type("metric", metric, "a metric by name, or several")
    asked = (metric,) if isinstance(metric, str) else tuple(metric)
    for one in asked:
        if one not in METRICS:
            raise invalid_choice("metric", one, METRICS)
    return tuple(dict.fromkeys(asked))


def _positive(step: float) -> float:
    if isinstance(step, bool) or not isinstance(step, Real):
        raise invalid_type("step", step, "a positive, finite number")
    if not 0 < step < math.inf:
        raise invalid_value("step", step, "a positive, finite number")
    return float(step)


def _split(given: Named | None, classes: Sequence[object] | None, argument: str) -> tuple[Sequence[object] | None, Any]:
    if not isinstance(given, Mapping):
        assert given is not None
        return classes, given
    if classes is not None:
        raise TypeError(f"classes is given twice: {argument} is a mapping and names them already")
    return tuple(given), list(given.values())
