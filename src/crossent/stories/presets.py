"""The six stories. Every number in them is computed when this module is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossent.errors import invalid_choice
from crossent.explanation.comparison import compare
from crossent.explanation.prediction import Explanation, explain
from crossent.probabilities import entropy
from crossent.stories.margin import margin
from crossent.stories.story import Fact, Story, StoryTable

_CLASSES = ("dog", "cat", "bird")
_RANKS = ("A", *map(str, range(2, 11)), "J", "Q", "K")
_DECK = (*(rank + suit for suit in "♠♥♦♣" for rank in _RANKS), "11♥")
_FALLING = (0.5, 1e-2, 1e-4, 1e-8, 1e-16, 1e-300, 0.0)


def dog() -> Story:
    """Return the story of 50/49/1 against 50/25/25."""
    first = _explained((0.5, 0.49, 0.01), "dog")
    second = _explained((0.5, 0.25, 0.25), "dog")
    pair = compare(first, second)
    after = pair.losses_after_step
    d = first.differential
    return Story(
        "dog",
        "50/49/1 against 50/25/25",
        "Both predictions give the true class, dog, one half. Are they equally good, and do they learn the same?",
        {"A": first, "B": second},
        (
            Fact(
                "Both give dog the probability {q_dog}, so A loses {loss_a:nats} and B {loss_b:nats}.",
                {"q_dog": float(d.probs[0]), "loss_a": d.loss, "loss_b": second.differential.loss},
            ),
            Fact(
                "Their derivatives are one and the same: {nobody_a} and {nobody_b} if nobody pays, {dog_pays_a} and "
                "{dog_pays_b} if dog does, {everyone_a} and {everyone_b} if everyone does. Over all transfers between "
                "two classes they differ by at most {deviation}.",
                {
                    "nobody_a": first.derivatives["nobody"].tolist(),
                    "nobody_b": second.derivatives["nobody"].tolist(),
                    "dog_pays_a": first.derivatives["dog"].tolist(),
                    "dog_pays_b": second.derivatives["dog"].tolist(),
                    "everyone_a": first.derivatives["everyone"].tolist(),
                    "everyone_b": second.derivatives["everyone"].tolist(),
                    "deviation": float(pair.differential_deviation),
                },
            ),
            Fact(
                "Probability moved from cat to bird costs {cat_to_bird} per unit at both; from dog to cat it costs "
                "{dog_to_cat}. This is all that “the wrong classes do not matter” says.",
                {"cat_to_bird": d.transfer("cat", "bird"), "dog_to_cat": d.transfer("dog", "cat")},
            ),
            Fact(
                "But the logit gradients differ: {logits_a} and {logits_b}. One unit step against them leaves losses "
                "of {after_a:nats} and {after_b:nats}: the same loss, the same derivative along the simplex, and yet "
                "another lesson learned.",
                {
                    "logits_a": d.logits.tolist(),
                    "logits_b": second.differential.logits.tolist(),
                    "after_a": after[0],
                    "after_b": after[1],
                },
            ),
        ),
    )


def deck() -> Story:
    """Return the story of 53 cards, one of which no deck holds."""
    uniform = explain(np.full(len(_DECK), 1 / len(_DECK)), classes=_DECK, target="5♣", pay=["5♣", "11♥"])
    logits = np.where(np.array(_DECK) == "11♥", -np.inf, 0.0)
    masked = explain(logits=logits, classes=_DECK, target="5♣", pay=["5♣", "11♥"])
    d, m = uniform.differential, masked.differential
    true, eleven, other = (_DECK.index(card) for card in ("5♣", "11♥", "6♣"))
    columns = np.array([d.probs, d.truth, d.logits, *uniform.derivatives.values()])
    alike = int((columns == columns[:, [other]]).all(axis=0).sum())
    return Story(
        "deck",
        "A deck with an 11 of hearts",
        "A model knows 53 cards, among them an 11♥ that no deck holds. The card drawn is 5♣. Does the loss notice what "
        "the model gives to a card that never comes?",
        {"uniform": uniform, "11♥ masked (logit -inf)": masked},
        (
            Fact(
                "Uniform over {n_cards} cards, the loss is log {n_cards} = {loss:nats}.",
                {"n_cards": len(_DECK), "loss": d.loss},
            ),
            Fact(
                "Probability moved from 5♣ to 11♥ costs 1/q = {true_to_eleven} per unit; from 11♥ to 6♣, another wrong "
                "card, it costs {eleven_to_other}.",
                {"true_to_eleven": d.transfer("5♣", "11♥"), "eleven_to_other": d.transfer("11♥", "6♣")},
            ),
            Fact(
                "If 5♣ pays, 11♥ has the derivative {eleven_if_true_pays}, like every other card: in "
                "q_5♣ = 1 − the sum of the others it counts with the factor 1, whatever its truth. If 11♥ pays, "
                "5♣ has {true_if_eleven_pays} and every other card {other_if_eleven_pays}, as if nobody did.",
                {
                    "eleven_if_true_pays": float(uniform.derivatives["5♣"][eleven]),
                    "true_if_eleven_pays": float(uniform.derivatives["11♥"][true]),
                    "other_if_eleven_pays": float(uniform.derivatives["11♥"][other]),
                },
            ),
            Fact(
                "In logits 5♣ has {true_logit} and 11♥ {eleven_logit}: a descent pushes down the card that never "
                "comes. {alike} cards have exactly the numbers of 6♣, 11♥ among them.",
                {"true_logit": float(d.logits[true]), "eleven_logit": float(d.logits[eleven]), "alike": alike},
            ),
            Fact(
                "Masked, 11♥ takes no part: its probability is {masked_probability}, its derivative "
                "{masked_derivative}, its logit gradient {masked_logit}, all exact zeros, and the loss is "
                "{masked_loss:nats}.",
                {
                    "masked_probability": float(m.probs[eleven]),
                    "masked_derivative": float(m.ambient[eleven]),
                    "masked_logit": float(m.logits[eleven]),
                    "masked_loss": m.loss,
                },
            ),
        ),
        shown=("5♣", "6♣", "11♥"),
    )


def vanishing() -> Story:
    """Return the story of a true class that loses all of its probability."""
    falling = {q: _explained((q, (1 - q) / 2, (1 - q) / 2), "dog") for q in _FALLING}
    rows = tuple(
        (
            q,
            one.differential.loss,
            float(one.derivatives["nobody"][0]),
            float(one.derivatives["dog"][1]),
            float(one.differential.logits[0]),
        )
        for q, one in falling.items()
    )
    small, gone = falling[1e-16].differential, falling[0.0].differential
    return Story(
        "vanishing",
        "The true class vanishes",
        "The true class is dog and its probability falls to 0. Which of the derivatives survives?",
        {f"q_dog = {q:g}": falling[q] for q in (0.5, 1e-8, 0.0)},
        (
            Fact(
                "The loss rises with the logarithm only: {loss_half:nats} at 1/2, {loss_small:nats} at {q_small}, "
                "{loss_gone:nats} at 0.",
                {
                    "loss_half": falling[0.5].differential.loss,
                    "loss_small": small.loss,
                    "q_small": float(small.probs[0]),
                    "loss_gone": gone.loss,
                },
            ),
            Fact(
                "−1/q_dog (nobody pays) and +1/q_dog (dog pays) leave every bound: {ambient_small} and {chart_small} "
                "at {q_small}, {ambient_gone} and {chart_gone} at 0.",
                {
                    "q_small": float(small.probs[0]),
                    "ambient_small": float(small.ambient[0]),
                    "chart_small": float(small.grad("dog")[1]),
                    "ambient_gone": float(gone.ambient[0]),
                    "chart_gone": float(gone.grad("dog")[1]),
                },
            ),
            Fact(
                "The logit gradient q − p is affine in q. It reaches {logits_gone} at 0, finite and no entry beyond 1: "
                "this is why training with cross-entropy survives a prediction that is entirely wrong.",
                {"logits_gone": gone.logits.tolist()},
            ),
        ),
        (
            StoryTable(
                "As the probability of dog falls",
                ("q_dog", "loss (nats)", "dog, if nobody pays", "cat, if dog pays", "logit gradient of dog"),
                rows,
            ),
        ),
    )


def soft() -> Story:
    """Return the story of a truth with more than one class."""
    q = (0.5, 0.3, 0.2)
    two = _explained(q, {"dog": 0.8, "cat": 0.2}, pay=_CLASSES)
    three = _explained(q, {"dog": 0.7, "cat": 0.2, "bird": 0.1}, pay=_CLASSES)
    d = two.differential
    labels = [_explained(q, name).differential.logits for name in _CLASSES]
    mean = sum(p * logits for p, logits in zip(d.truth, labels, strict=True))
    return Story(
        "soft",
        "A truth with more than one class",
        "Is −p/q right only when no class has a true probability of 0?",
        {"bird has no truth": two, "every class has truth": three},
        (
            Fact(
                "Both formulas are right for every truth. They agree entry by entry exactly where the payer r has "
                "p_r = 0, for the payer adds p_r/q_r to every entry. Here dog adds {dog_adds}, cat {cat_adds} and "
                "bird {bird_adds}: with bird paying, the column is that of nobody.",
                _adds(two),
            ),
            Fact(
                "When every class has truth, no payer gives nobody's column: dog adds {all_dog_adds}, cat "
                "{all_cat_adds}, bird {all_bird_adds}. The condition in the question is the wrong way round.",
                {f"all_{name}": value for name, value in _adds(three).items()},
            ),
            Fact(
                "A truth of 80 % dog and 20 % cat is what labels drawn at these rates teach on average: the mean of "
                "their logit gradients is {mean_of_labels}, and q − p is {logits}; the largest difference is "
                "{difference}.",
                {
                    "mean_of_labels": np.asarray(mean).tolist(),
                    "logits": d.logits.tolist(),
                    "difference": float(np.abs(mean - d.logits).max()),
                },
            ),
        ),
    )


def _adds(explanation: Explanation) -> dict[str, float]:
    return {f"{name}_adds": float(explanation.multiples[name]) for name in _CLASSES}


def optimum() -> Story:
    """Return the story of a prediction that equals the truth."""
    p = (0.5, 0.25, 0.25)
    inside = _explained(p, dict(zip(_CLASSES, p, strict=True)), pay=_CLASSES)
    corner = _explained((1.0, 0.0, 0.0), "dog")
    d, c = inside.differential, corner.differential
    return Story(
        "optimum",
        "The prediction is the truth",
        "At the best prediction the gradient is zero. Then why is −p/q not?",
        {"q = p, inside": inside, "q = p, at a corner": corner},
        (
            Fact(
                "The loss is {loss:nats}, the entropy of the truth is {entropy:nats}: no prediction loses less.",
                {"loss": d.loss, "entropy": float(entropy(p))},
            ),
            Fact(
                "If nobody pays the entries are {nobody}: a multiple of (1,…,1), which no move along the simplex sees. "
                "It is the Lagrange multiplier of Σq = 1.",
                {"nobody": d.ambient.tolist()},
            ),
            Fact(
                "Whoever pays, the derivative is zero: dog {dog_pays}, everyone {everyone_pays}, in proportion "
                "{in_proportion}; so is the logit gradient, {logits}.",
                {
                    "dog_pays": d.grad("dog").tolist(),
                    "everyone_pays": d.grad("everyone").tolist(),
                    "in_proportion": d.grad("in proportion").tolist(),
                    "logits": d.logits.tolist(),
                },
            ),
            Fact(
                "At a corner, q = p = {corner}, the loss is {corner_loss:nats} and moving probability from dog to cat "
                "still costs {dog_to_cat} per unit: the minimum is on the edge. The logit gradient is {corner_logits}, "
                "but no finite logits lead there.",
                {
                    "corner": c.probs.tolist(),
                    "corner_loss": c.loss,
                    "dog_to_cat": c.transfer("dog", "cat"),
                    "corner_logits": c.logits.tolist(),
                },
            ),
        ),
    )


def story(name: str) -> Story:
    """Return a story by name.

    Raises
    ------
    ValueError
        There is no story of that name; the message lists them.

    Examples
    --------
    >>> story("dog").facts[0].text
    'Both give dog the probability 0.5, so A loses 0.6931 nats and B 0.6931 nats.'
    """
    if name not in STORIES:
        raise invalid_choice("story", name, STORIES)
    return STORIES[name]


def _explained(q: tuple[float, ...], target: Any, pay: Any = "nobody") -> Explanation:
    return explain(q, target=target, classes=_CLASSES, pay=pay)


STORIES: dict[str, Story] = {one.name: one for one in (dog(), deck(), vanishing(), soft(), optimum(), margin())}
