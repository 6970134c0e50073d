"""The sentences and short numbers that every view of an explanation shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from crossent.simplex import symbolic_loss

if TYPE_CHECKING:
    from crossent.explanation.prediction import Explanation
    from crossent.simplex import Differential

_SHOWN_CLASSES = 4
_MOST_ROWS = 100


def number(value: float | Fraction, digits: int = 4) -> str:
    """Return a number for reading; a fraction stays one.

    >>> number(2 / 3), number(-float("inf")), number(1e-20)
    ('0.6667', '-inf', '1e-20')
    """
    return str(value) if isinstance(value, Fraction) else f"{value:.{digits}g}"


def bracketed(value: float | Fraction) -> str:
    """Return a number to be subtracted: in brackets if it has a sign."""
    text = number(value)
    return f"({text})" if text.startswith("-") else text


def nats(loss: float) -> str:
    """Return a loss for reading: four decimals, or four digits where that would say too little.

    >>> nats(3.970291913552122), nats(1e-20), nats(float("inf"))
    ('3.9703 nats', '1e-20 nats', 'inf nats')
    """
    return (f"{loss:.4f}" if 0.1 <= loss < 1e4 else number(loss)) + " nats"


def loss_text(d: Differential, loss: float) -> str:
    """Return a loss with its unit, which only the cross-entropy is sure to have."""
    return nats(loss) if d.loss_function is None else nats(loss).removesuffix(" nats")


def probability(d: Differential, c: int, digits: int = 4) -> str:
    """Return q_c for reading, with no false 0 and no false 1.

    >>> from crossent.simplex import differential_from_logits
    >>> d = differential_from_logits([800.0, 0.0], 0)
    >>> probability(d, 0), probability(d, 1)
    ('1 - 3.67e-348', '3.67e-348')
    """
    if d.exact:
        return number(d.probs[c])
    q, log_q = float(d.probs[c]), float(d.log_probs[c])
    if q == 0 and math.isfinite(log_q):
        return _power(log_q)
    text = number(q, digits)
    if text == "1":
        others = np.delete(d.log_probs, c)
        top = float(others.max())
        if math.isfinite(top):
            return "1 - " + _power(top + math.log(float(np.exp(others - top).sum())))
    return text


def logit_entry(d: Differential, c: int, digits: int = 4) -> str:
    """Return the logit gradient's entry for reading, with no false 0 below float64's range."""
    value = d.logits[c]
    if (
        value == 0
        and d.loss_function is None
        and d.probs[c] == 0
        and d.truth[c] == 0
        and d.mass > 0
        and math.isfinite(d.log_probs[c])
    ):
        return _power(float(d.log_probs[c]) + math.log(d.mass))
    return number(value, digits)


def _power(log_value: float) -> str:
    """Return exp(log_value), which may be below float64's range, in scientific notation."""
    exponent, fraction = divmod(log_value / math.log(10), 1)
    mantissa = f"{10**fraction:.3g}"
    return f"1e{exponent + 1:+.0f}" if mantissa == "10" else f"{mantissa}e{exponent:+03.0f}"


def shown(name: str) -> str:
    """Return a class name with characters that would break a line or drive a terminal escaped."""
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")


def _q(d: Differential, c: int) -> str:
    return f"q_{shown(d.classes[c])}"


def is_label(d: Differential) -> bool:
    """Whether all of the truth is on one class, with mass 1."""
    return d.mass == 1.0 and bool((d.truth == 1.0).any())


def pays(explanation: Explanation, rule: str) -> str:
    """Return a rule of payment as a subject and its verb: nobody pays, in proportion, dog pays.

    >>> from crossent.explanation.prediction import explain
    >>> story = explain([0.5, 0.3, 0.2], target=0, classes=["dog", "cat", "bird"], pay={"cat": 0.5, "bird": 0.5})
    >>> [pays(story, rule) for rule in story.rules]
    ['nobody pays', 'everyone pays', 'in proportion', '0.5 cat + 0.5 bird pay']
    """
    pay = explanation.payments[rule]
    if rule == "in proportion":
        return rule
    return f"{shown(rule)} pays" if isinstance(pay, (int, str)) else f"{shown(rule)} pay"


def headline(d: Differential) -> str:
    """Return the loss, the truth and what the prediction gives it."""
    if is_label(d):
        y = int(np.argmax(d.truth))
        truth = f"truth {shown(d.classes[y])} · predicted {probability(d, y)}"
    else:
        there = np.flatnonzero(d.truth)
        parts = [f"{shown(d.classes[c])} {number(d.truth[c])}" for c in there[:_SHOWN_CLASSES]]
        more = f" and {len(there) - len(parts)} more" if len(there) > len(parts) else ""
        truth = "truth " + (", ".join(parts) + more if parts else "of mass 0")
    kind = "loss" if d.loss_function is None else f"{d.loss_function.name} loss"
    symbols = f"{symbolic_loss(d)} = " if d.exact and 0 < d.loss < math.inf and d.loss_function is None else ""
    return f"{kind} {symbols}{loss_text(d, d.loss)} · {truth}"


def multiple(explanation: Explanation, rule: str) -> float | Fraction:
    """Return λ of a rule, 0 where it is rounding.

    The cross-entropy's entries are of one sign; in other losses a sum of both signs may leave rounding for 0.
    """
    d, value = explanation.differential, explanation.multiples[rule]
    largest = max((abs(float(a)) for a in d.ambient if math.isfinite(a)), default=0.0)
    noise = 4 * float(np.finfo(np.float64).eps) * largest
    return 0.0 if d.loss_function is not None and abs(float(value)) < noise else value


def multiples_line(explanation: Explanation) -> str:
    """Return by which multiple of (1,…,1) each column differs from the ambient one."""
    parts = [
        f"{pays(explanation, rule)} {number(multiple(explanation, rule))}"
        for rule in explanation.rules
        if rule != "nobody"
    ]
    return "Column minus the column “nobody”, as a multiple of (1,…,1): " + " · ".join(parts) + "."


def classes_shown(*explanations: Explanation) -> list[int]:
    """Return the classes that tables show: all of a hundred, else those with truth, the payers and the likeliest."""
    n_classes = len(explanations[0].differential.classes)
    if n_classes <= _MOST_ROWS:
        return list(range(n_classes))
    kept: dict[int, None] = {}
    for one in explanations:
        d = one.differential
        payers = [pay for pay in one.payments.values() if isinstance(pay, int)]
        with_truth = np.argsort(-d.truth, kind="stable")[: np.count_nonzero(d.truth)]
        likeliest = np.argsort(-d.probs, kind="stable")
        for some in (payers, with_truth[: _MOST_ROWS // 2].tolist(), likeliest[:_MOST_ROWS].tolist()):
            kept.update(dict.fromkeys(some))
    return sorted(list(kept)[:_MOST_ROWS])


def left_out(d: Differential, shown_classes: Sequence[int]) -> list[str]:
    """Return the line that says how many classes a table leaves out, if it does."""
    left = len(d.classes) - len(shown_classes)
    return [f"… and {left} more classes; the JSON has them all."] if left else []


def notes(d: Differential) -> list[str]:
    """Return what a reader must know about the numbers themselves."""
    found = []
    if abs(d.given_sum - 1.0) > np.finfo(np.float64).eps:
        found.append(f"The probabilities given sum to {number(d.given_sum, 10)} and were divided by it.")
    if ((d.ambient == -np.inf) & np.isfinite(d.log_probs)).any():
        found.append("Where a probability is positive, inf stands for a value beyond float64's range, about 1.8e308.")
    return found


_VECTORS = {
    "euclidean": "−(a − mean(a)): lengths are measured in probabilities",
    "natural": "−q·(a − ⟨q, a⟩): lengths are measured by Σ v²/q (Fisher–Rao)",
    "logit": "−J·g with J = diag(q) − qqᵀ: lengths are measured in logits, where the vector is −g, minus the numbers "
    "of the covector, and softmax carries it to probabilities",
}


def descent_lines(explanation: Explanation) -> list[str]:
    """Return what the metrics make of the derivative, and where a step of each leads."""
    if not explanation.metrics:
        return []
    lines = [
        "The derivative is a covector: it says what a move costs, not where to go. A metric, which says how long a "
        "move is, turns it into a vector; each metric gives another, along which q begins to move:"
    ]
    for metric, one in explanation.descents.items():
        lines.append(
            f"{metric}: {_VECTORS[metric]}. A step of {number(one.step)} takes the loss from "
            f"{loss_text(explanation.differential, explanation.differential.loss)} to "
            f"{loss_text(explanation.differential, one.loss)}."
        )
    return lines


def why_both_are_right(explanation: Explanation) -> str:
    """Return the paragraph that answers the question, with this prediction's numbers."""
    d = explanation.differential
    if d.mass == 0 and d.loss_function is None:
        return "The truth has mass 0, so the loss and every derivative of it are 0."
    y = int(np.argmax(d.truth))
    if np.isneginf(d.log_probs[y]) and d.loss_function is None:
        return _absent(d, y)
    return " ".join([_two_answers(d, y), _same_moves(d, y), _logit_sentence(d)])


def _two_answers(d: Differential, y: int) -> str:
    name, ambient, share = shown(d.classes[y]), number(d.ambient[y]), number(d.multiple(y))
    begin = (
        "Two derivatives with respect to one probability are in use, and both are right: they answer "
        "different questions. If every other probability is held fixed (nobody pays), the derivative is "
    )
    if is_label(d) and d.loss_function is None:
        return (
            f"{begin}−1/{_q(d, y)} = {ambient} for {name} and 0 for every other class; that move leaves "
            f"the simplex, for the probabilities no longer sum to 1. If {name} pays, so that {_q(d, y)} = "
            f"1 − the sum of the others, it is +1/{_q(d, y)} = {share} for every other class, and {name}, "
            f"which is no coordinate any more, has the entry 0."
        )
    if d.loss_function is not None:
        other = _other(d, y)
        return (
            f"{begin}{ambient} for {name} and {number(d.ambient[other])} for {shown(d.classes[other])}; that move "
            f"leaves the simplex. If {name} pays, so that {_q(d, y)} = 1 − the sum of the others, its {ambient} is "
            f"taken off every entry, and its own is 0."
        )
    return (
        f"{begin}−p/q of the class that rises, {ambient} for {name}; that move leaves the simplex. If {name} "
        f"pays, so that {_q(d, y)} = 1 − the sum of the others, p_{name}/{_q(d, y)} = {share} is added to it, "
        f"and {name}'s own entry is 0."
    )


def _other(d: Differential, y: int) -> int:
    """The likeliest of the other classes."""
    order: list[int] = np.argsort(-d.probs, kind="stable").tolist()
    return next(i for i in order if i != y)


def _same_moves(d: Differential, y: int) -> str:
    c = _other(d, y)
    name, other = shown(d.classes[y]), shown(d.classes[c])
    chart, ambient = d.grad(y), d.ambient
    return (
        f"The two differ by {number(d.multiple(y))} in every entry, and a move that keeps the sum at 1 "
        f"cannot see a constant: moving probability from {name} to {other} costs, per unit, "
        f"{number(ambient[c])} − {bracketed(ambient[y])} = {number(d.transfer(y, c))} by the first and "
        f"{number(chart[c])} − {number(chart[y])} = {number(chart[c] - chart[y])} by the second."
        + (" (A payer adds its own p/q to every entry: nothing, if it has no truth.)" * (d.loss_function is None))
    )


def _logit_sentence(d: Differential) -> str:
    form = "q − p" if d.mass == 1.0 else "P·q − p"
    if d.loss_function is not None:
        form = "q·(a − ⟨q, a⟩)"
    values = ""
    if len(d.classes) <= _SHOWN_CLASSES:
        values = " = (" + ", ".join(logit_entry(d, c) for c in range(len(d.classes))) + ")"
    return (
        f"Softmax only makes such moves, so in logits both become the same covector {form}{values}, "
        f"and SGD on a softmax model cannot tell them apart."
    )


def _absent(d: Differential, y: int) -> str:
    name, mass = shown(d.classes[y]), "1" if is_label(d) else f"p_{shown(d.classes[y])}"
    return (
        f"{name} has probability 0, so the loss is inf. As {_q(d, y)} falls to 0, −{mass}/{_q(d, y)} (nobody "
        f"pays) falls to -inf and +{mass}/{_q(d, y)} ({name} pays) rises to inf: both are right, they differ "
        f"by the same in every entry, and a move that keeps the sum at 1 cannot see a constant. "
        f"{_logit_sentence(d)} It stays finite here: {number(d.logits[y])} for {name}."
    )
