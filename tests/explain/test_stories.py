"""Two stories whose numbers everyone can check: 50/49/1 against 50/25/25, and a deck of 53 cards."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from crossent.explanation.comparison import compare
from crossent.explanation.prediction import explain

FIRST = explain({"dog": 0.5, "cat": 0.49, "bird": 0.01}, target="dog")
SECOND = explain({"dog": 0.5, "cat": 0.25, "bird": 0.25}, target="dog")
RANKS = ["A", *map(str, range(2, 11)), "J", "Q", "K"]
DECK = [rank + suit for suit in "♠♥♦♣" for rank in RANKS] + ["11♥"]


def test_same_loss_same_derivative_along_the_simplex_different_logit_gradients():
    pair = compare(FIRST, SECOND)
    for story in (FIRST, SECOND):
        assert story.differential.loss == pytest.approx(math.log(2), rel=1e-15)
        assert story.derivatives["nobody"].tolist() == [-2, 0, 0]
        assert story.derivatives["dog"].tolist() == [0, 2, 2]
        np.testing.assert_allclose(story.derivatives["everyone"], [-4 / 3, 2 / 3, 2 / 3], rtol=1e-15)
    assert FIRST.differential.logits.tolist() == [-0.5, 0.49, 0.01]
    assert SECOND.differential.logits.tolist() == [-0.5, 0.25, 0.25]
    assert pair.same_loss
    assert pair.same_differential
    assert pair.differential_deviation == 0
    assert pair.logit_gradient_deviation == pytest.approx(0.24)
    assert pair.losses_after_step == pytest.approx((0.3193, 0.3869), abs=5e-5)


def test_comparison_shows_its_numbers_in_text_and_json():
    pair = compare(FIRST, SECOND)
    text = " ".join(pair.to_text().split())
    for part in (
        "the same, 0.6931 nats and 0.6931 nats",
        "every transfer",
        "0.3193 nats and 0.3869 nats",
        "0.24",
    ):
        assert part in text
    assert str(pair) == pair.to_text()
    read = json.loads(pair.to_json())
    assert read["prediction"] == [0.5, 0.49, 0.01]
    assert read["against"]["prediction"] == [0.5, 0.25, 0.25]
    assert read["comparison"]["same_differential"] is True
    assert read["comparison"]["losses_after_step"] == list(pair.losses_after_step)


def test_a_comparison_that_differs_says_so():
    other = explain({"dog": 0.4, "cat": 0.5, "bird": 0.1}, target="dog")
    pair = compare(FIRST, other)
    assert not pair.same_loss
    assert not pair.same_differential
    assert pair.differential_deviation == pytest.approx(0.5)
    assert "differs by up to 0.5" in pair.to_text(200)
    gone = explain({"dog": 0.0, "cat": 0.5, "bird": 0.5}, target="dog")
    assert compare(gone, gone).same_differential
    assert compare(gone, FIRST).differential_deviation == math.inf
    assert compare(gone, gone).losses_after_step == (math.inf, math.inf)


def test_components_that_differ_by_a_constant_are_one_derivative():
    q = [0.5, 0.3, 0.2]
    optimum, twice = explain(q, target=q), explain(q, target=[1.0, 0.6, 0.4])
    assert (twice.derivatives["nobody"] - optimum.derivatives["nobody"]).tolist() == [-1, -1, -1]
    assert compare(optimum, twice).same_differential


def test_a_tiny_difference_is_not_called_the_same():
    near = explain({"dog": 0.5 + 1e-9, "cat": 0.25, "bird": 0.25 - 1e-9}, target="dog")
    assert not compare(SECOND, near).same_differential
    assert not compare(SECOND, near).same_loss


def test_predictions_of_other_classes_are_not_compared():
    with pytest.raises(ValueError, match="the classes of second"):
        compare(FIRST, explain([0.5, 0.25, 0.25], target=0))
    with pytest.raises(ValueError, match="the loss of second = 'Brier': expected that of first, 'cross-entropy'"):
        compare(FIRST, explain(FIRST.differential.probs, target=0, classes=FIRST.differential.classes, loss="brier"))
    with pytest.raises(ValueError, match="step = 0"):
        compare(FIRST, SECOND, step=0)


def test_deck_with_an_eleven_of_hearts():
    five, eleven = DECK.index("5♣"), DECK.index("11♥")
    story = explain(np.full(53, 1 / 53), classes=DECK, target="5♣", pay=["5♣", "11♥"])
    d = story.differential
    assert d.loss == pytest.approx(math.log(53), rel=1e-15)
    true = np.arange(53) == five
    np.testing.assert_allclose(story.derivatives["nobody"], np.where(true, -53, 0), rtol=1e-15)
    np.testing.assert_allclose(story.derivatives["5♣"], np.where(true, 0, 53), rtol=1e-15)
    assert np.array_equal(story.derivatives["11♥"], story.derivatives["nobody"])
    np.testing.assert_allclose(d.logits, np.where(true, -52 / 53, 1 / 53), rtol=1e-14)
    assert d.transfer("5♣", "11♥") == pytest.approx(53, rel=1e-15)
    assert d.transfer("11♥", "6♣") == 0
    assert d.logits[eleven] > 0, "the card that never occurs is pushed down"


def test_deck_whose_eleven_of_hearts_is_masked():
    logits = np.where(np.array(DECK) == "11♥", -np.inf, 0.0)
    d = explain(logits=logits, classes=DECK, target="5♣").differential
    assert d.loss == pytest.approx(math.log(52), rel=1e-15)
    eleven = DECK.index("11♥")
    assert d.probs[eleven] == d.ambient[eleven] == d.logits[eleven] == 0
