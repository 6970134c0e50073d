"""Questions to predict before the answer is shown, made from one prediction's own numbers.

Every wrong choice is the number that a known misconception gives, and says which.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crossent.explanation.words import bracketed, number, shown

if TYPE_CHECKING:
    from crossent.explanation.prediction import Explanation
    from crossent.simplex import Differential

_WRITTEN_CLASSES = 4


@dataclass(frozen=True)
class Choice:
    """One answer to choose, whether it is right, and why or why not."""

    text: str
    right: bool
    why: str


@dataclass(frozen=True)
class Question:
    """A question and its choices, exactly one of which is right."""

    text: str
    choices: tuple[Choice, ...]

    @property
    def answer(self) -> Choice:
        """The right choice."""
        return next(choice for choice in self.choices if choice.right)

    def to_dict(self) -> dict[str, Any]:
        """Return the question as plain values."""
        return {"question": self.text, "choices": [vars(choice) for choice in self.choices]}


def questions(explanation: Explanation) -> tuple[Question, ...]:
    """Return the questions that this prediction can ask; none where the truth has mass 0.

    Examples
    --------
    >>> from crossent.explanation.prediction import explain
    >>> first, *_ = questions(explain({"dog": 0.5, "cat": 0.49, "bird": 0.01}, target="dog"))
    >>> first.text
    'The probability of cat rises and every other probability is held fixed. Per unit, the loss changes by'
    >>> [choice.text for choice in first.choices], first.answer.text
    (['-2', '0', '0.49', '2'], '0')
    """
    d = explanation.differential
    if d.mass == 0:
        return ()
    y = int(np.argmax(d.truth))
    others = [c for c in np.argsort(-d.probs, kind="stable").tolist() if c != y]
    made = [_held_fixed(d, y, others[0]), _truth_pays(d, y, others[0])]
    if len(others) > 1:
        made.append(_between_others(d, y, others[0], others[1]))
    made += [_in_logits(d, y, others[0]), _two_learners(d, y), _levelled(explanation, y), _natural_step(d)]
    return tuple(question for question in made if question is not None)


def _ask(text: str, right: tuple[float, str], wrong: Iterable[tuple[float, str]]) -> Question | None:
    """Ask for a number; a misconception that happens to give the right one, or another's, is left out."""
    values: dict[str, tuple[float, Choice]] = {}
    for is_right, (value, why) in ((True, right), *((False, one) for one in wrong)):
        written = number(value + 0)  # no -0
        values.setdefault(written, (value, Choice(written, is_right, why)))
    ordered = sorted(values.values(), key=lambda pair: pair[0])
    return Question(text, tuple(choice for _, choice in ordered)) if len(ordered) > 1 else None


def _name(d: Differential, c: int) -> str:
    name = shown(d.classes[c])
    return f"class {name}" if name.isdigit() else name


def _held_fixed(d: Differential, y: int, c: int) -> Question | None:
    true, rising = _name(d, y), _name(d, c)
    a, chart = d.ambient, d.grad(y)
    return _ask(
        f"The probability of {rising} rises and every other probability is held fixed. Per unit, the loss changes by",
        (a[c], f"Nobody pays: only the term of {rising} itself changes, and the point leaves the simplex."),
        [
            (chart[c], f"This is the derivative if {true} pays. Here {true} is held fixed."),
            (a[y], f"This is the entry of {true}: it belongs to the class that rises, not to the true one."),
            (d.logits[c], f"This is the derivative in the logit of {rising}, not in its probability."),
        ],
    )


def _truth_pays(d: Differential, y: int, c: int) -> Question | None:
    true, rising = _name(d, y), _name(d, c)
    a, chart = d.ambient, d.grad(y)
    return _ask(
        f"Now {true} pays: as the probability of {rising} rises, that of {true} falls by as much. "
        f"Per unit, the loss changes by",
        (
            chart[c],
            f"The chain rule adds the entry of {true}, {number(a[y])}, times −1, for {true} falls: "
            f"{number(a[c])} − {bracketed(a[y])}.",
        ),
        [
            (a[c], f"This holds {true} fixed: nobody pays, and the probabilities no longer sum to 1."),
            (-chart[c], f"The sign is lost: the outer derivative {number(a[y])} meets the inner one, −1."),
            (-1.0, f"This is only the inner factor of the chain rule: how fast {true} falls, not what that costs."),
        ],
    )


def _between_others(d: Differential, y: int, c: int, k: int) -> Question | None:
    true, source, sink = (_name(d, i) for i in (y, c, k))
    a, chart = d.ambient, d.grad(y)
    in_logits = d.logits[k] - d.logits[c] if d.logits[k] != d.logits[c] else 0
    return _ask(
        f"Probability moves from {source} to {sink}, and that of {true} stays. Per unit, the loss changes by",
        (
            d.transfer(c, k),
            f"The entry of {sink} minus that of {source}, in any column: a multiple of (1,…,1) cancels.",
        ),
        [
            (chart[k], f"This is {sink} rising while {true} pays. Here {source} pays, and gives back its own entry."),
            (a[y], f"This is the entry of {true}, whose probability does not change."),
            (in_logits, "This is a difference of logit gradients: it belongs to a move in logits."),
        ],
    )


def _in_logits(d: Differential, y: int, c: int) -> Question | None:
    true, rising = _name(d, y), _name(d, c)
    form = "q·(a − ⟨q, a⟩)" if d.loss_function is not None else "q − p" if d.mass == 1 else "P·q − p"
    return _ask(
        f"The prediction is softmax of logits, and the logit of {rising} rises. Per unit, the loss changes by",
        (d.logits[c], f"{form} of {rising}: its own probability rises, and every other one pays in proportion."),
        [
            (0.0, f"A class without truth still takes part: when its logit rises, softmax lowers {true}."),
            (-d.logits[c], "The sign: a descent subtracts the gradient, so it moves the logit the other way."),
            (d.grad(y)[c], f"This is per unit of probability with {true} paying; a logit moves by less than that."),
            (d.ambient[c], "This is per unit of probability with nobody paying, a move that softmax never makes."),
        ],
    )


def _two_learners(d: Differential, y: int) -> Question:
    true, gap = _name(d, y), number(d.multiple(y))
    right = "not at all"
    choices = [
        Choice(
            f"by {gap} in every logit",
            False,
            f"The columns differ by {gap} in every entry, but softmax's Jacobian takes every multiple of (1,…,1) to 0.",
        ),
        Choice(right, True, "Softmax only makes moves that keep the sum at 1, and these cannot see a constant."),
        Choice(
            f"only in the logit of {true}",
            False,
            f"Only the entries of {true} look special; the columns differ by the same {gap} everywhere.",
        ),
    ]
    text = (
        f"One learner takes the column where nobody pays, another the one where {true} pays; both go back through "
        f"softmax by the chain rule. Their gradients in logits differ"
    )
    return Question(text, tuple(choices if 0 < d.multiple(y) < math.inf else choices[1:]))


def _levelled(explanation: Explanation, y: int) -> Question | None:
    """The same probability for the true class, and the others made equal."""
    from crossent.explanation.comparison import compare
    from crossent.explanation.prediction import explain

    d = explanation.differential
    probs = d.probs.astype(float)
    level = np.full(probs.size, (1.0 - probs[y]) / (probs.size - 1))
    level[y] = probs[y]
    if np.allclose(level, probs, rtol=1e-3):
        return None
    given: dict[str, Any] = {
        "target": d.truth.astype(float),
        "classes": d.classes,
        "normalize": True,
        "loss": d.loss_function,
    }
    pair = compare(explain(probs, **given), explain(level, **given))
    loss = pair.same_loss
    losses = " and ".join(number(one.differential.loss) for one in (pair.first, pair.second))
    after = " and ".join(number(value) for value in pair.losses_after_step)
    of_loss = f"The losses are {losses}" + (
        ": only the classes with truth count in them." if d.loss_function is None else "."
    )
    of_learning = f"The logit gradients differ by up to {number(pair.logit_gradient_deviation)}" + (
        f"; one unit step against them leaves losses of {after}."
    )
    texts = {
        (True, True): "the same loss and the same logit gradient",
        (False, False): "another loss and another logit gradient",
        (True, False): "the same loss and another logit gradient",
        (False, True): "another loss and the same logit gradient",
    }
    choices = []
    for (same_loss, same_learning), text in texts.items():
        right = same_loss == loss and not same_learning
        parts = [of_loss] * (right or same_loss != loss) + [of_learning] * (right or same_learning)
        choices.append(Choice(text, right, " ".join(parts)))
    text = (
        f"Another prediction gives {_name(d, y)} the same probability, {number(d.probs[y])}, and each other "
        f"class {number(level[1 - min(y, 1)])}. Beside this one it has"
    )
    return Question(text, tuple(choices))


def _natural_step(d: Differential) -> Question | None:
    if d.mass != 1 or d.loss_function is not None or len(d.classes) > _WRITTEN_CLASSES:
        return None
    places = [
        (d.truth, True, "The natural gradient is the vector q − p on the simplex: q − (q − p) = p."),
        (
            d.flow("logit", steps=1, step_size=1.0).probs[-1],
            False,
            "This is a step of the same numbers in logits, where q − p is a covector and softmax follows.",
        ),
        (d.probs, False, "The prediction stays where it is only if it equals the truth."),
    ]
    seen: dict[str, Choice] = {}
    for where, right, why in places:
        text = "(" + ", ".join(number(x) for x in where) + ")"
        seen.setdefault(text, Choice(text, right, why))
    if len(seen) < 2:
        return None
    text = "One step of size 1 against the natural gradient, taken on the simplex, leads from this prediction to"
    return Question(text, tuple(sorted(seen.values(), key=lambda choice: choice.text)))
