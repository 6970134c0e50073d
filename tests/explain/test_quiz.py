"""A quiz asks what the prediction's own numbers answer, and knows why each wrong choice is wrong."""

from __future__ import annotations

import io
import re

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossent.cli.quiz import play
from crossent.explanation.prediction import explain

DOG = explain({"dog": 0.5, "cat": 0.49, "bird": 0.01}, target="dog")
CASES = {
    "label": DOG,
    "soft": explain({"dog": 0.5, "cat": 0.3, "bird": 0.2}, target={"dog": 0.8, "cat": 0.2}),
    "mass": explain([0.5, 0.3, 0.2], target=[2.0, 1.0, 0.0]),
    "two": explain([0.6, 0.4], target=1),
    "optimum": explain([0.5, 0.5], target=[0.5, 0.5]),
    "boundary": explain([0.0, 0.5, 0.5], target=0),
    "certain": explain([1.0, 0.0], target=0),
    "confident": explain(logits=[800.0, 0.0, -3.0], target=0),
    "deck": explain(np.full(53, 1 / 53), target=3),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


def slope(q, p, direction):
    """The rate of change of the loss along a direction of probabilities, by a central difference in 40 digits."""
    with mpmath.workdps(40):
        h = mpmath.mpf(10) ** -15
        at = [
            -mpmath.fsum(mpmath.mpf(pc) * mpmath.log(mpmath.mpf(qc) + s * h * v) for qc, pc, v in zip(q, p, direction))
            for s in (1, -1)
        ]
        return float((at[0] - at[1]) / (2 * h))


@every_case
def test_one_choice_is_right_all_differ_and_each_says_why(case):
    asked = case.quiz()
    assert asked
    for question in asked:
        texts = [choice.text for choice in question.choices]
        assert len(set(texts)) == len(texts) > 1
        assert sum(choice.right for choice in question.choices) == 1
        assert question.answer.right
        assert all(choice.why.endswith(".") for choice in question.choices)
        for text in (question.text, *texts, *(choice.why for choice in question.choices)):
            assert re.search(r"\bnan\b|-0\b(?!\.)", text) is None


def test_right_answers_are_the_slopes_that_the_questions_describe():
    answers = [question.answer.text for question in DOG.quiz()]
    q, p = (0.5, 0.49, 0.01), (1, 0, 0)
    held, paid, between = ((0, 1, 0), (-1, 1, 0), (0, -1, 1))
    assert [float(text) for text in answers[:3]] == pytest.approx([slope(q, p, v) for v in (held, paid, between)])
    in_logits = -np.array(q) * 0.49 + np.array([0, 0.49, 0])
    assert float(answers[3]) == pytest.approx(slope(q, p, in_logits))
    assert answers[4:] == ["not at all", "the same loss and another logit gradient", "(1, 0, 0)"]


def test_a_soft_truth_gives_another_loss_to_levelled_predictions():
    answers = [question.answer.text for question in CASES["soft"].quiz()]
    q, p = (0.5, 0.3, 0.2), (0.8, 0.2, 0)
    directions = ((0, 1, 0), (-1, 1, 0), (0, -1, 1))
    assert [float(text) for text in answers[:3]] == pytest.approx([slope(q, p, v) for v in directions], rel=1e-3)
    assert answers[5] == "another loss and another logit gradient"


def test_wrong_choices_are_what_misconceptions_give():
    first, second, *_ = DOG.quiz()
    why = {choice.text: choice.why for choice in first.choices}
    assert "if dog pays" in why["2"]
    assert "the class that rises" in why["-2"]
    assert "in the logit of cat" in why["0.49"]
    why = {choice.text: choice.why for choice in second.choices}
    assert "sign is lost" in why["-2"]
    assert "only the inner factor" in why["-1"]
    assert "nobody pays" in why["0"]


def test_nothing_is_asked_where_the_truth_has_no_mass():
    empty = explain([0.5, 0.5], target=[0.0, 0.0])
    assert empty.quiz() == ()
    with pytest.raises(ValueError, match="mass 0"):
        play(empty, io.StringIO())


@settings(max_examples=60)
@given(st.lists(st.floats(-800, 800), min_size=2, max_size=6), st.data())
def test_any_prediction_can_be_asked_about(logits, data):
    case = explain(logits=logits, target=data.draw(st.integers(0, len(logits) - 1)))
    for question in case.quiz():
        assert sum(choice.right for choice in question.choices) == 1
        assert len({choice.text for choice in question.choices}) == len(question.choices)


def right_letters(case):
    return ["abcdef"[[choice.right for choice in question.choices].index(True)] for question in case.quiz()]


@every_case
def test_all_right_scores_all(case, capsys):
    play(case, io.StringIO("".join(letter + "\n" for letter in right_letters(case))))
    n = len(case.quiz())
    out = capsys.readouterr().out
    assert out.rstrip().endswith(f"{n} of {n} right.")
    assert out.count("Right: ") == n


def test_a_wrong_answer_is_explained_and_an_unreadable_one_asked_again(capsys):
    letters = right_letters(DOG)
    wrong = next(letter for letter in "abcd" if letter != letters[0])
    play(DOG, io.StringIO(f"{wrong.upper()})\n maybe \n\n{letters[1]}\nq\n"))
    out = " ".join(capsys.readouterr().out.split())
    chosen = DOG.quiz()[0].choices["abcd".index(wrong)]
    assert f"No. {chosen.why} The answer: 0." in out
    assert "'maybe' is none of a, b, c, d." in out
    assert out.endswith("1 of 2 right; 5 of 7 not answered.")


def test_an_empty_input_shows_the_answers_and_scores_nothing(capsys):
    play(DOG, io.StringIO(""))
    out = " ".join(capsys.readouterr().out.split())
    assert out.endswith("None of 7 answered.")
    assert out.count("The answer: ") == 7
    assert out.count("Your prediction") == 1
