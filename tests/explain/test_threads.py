"""The public questions of threads.yaml: every call gives its numbers, and would be caught giving others."""

from __future__ import annotations

import ast
import copy
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import crossent

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("questions", ROOT / "docs" / "questions.py")
questions = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(questions)
QUESTIONS = questions.load()


def named(question):
    return question["id"]


def names_in(expression):
    return {node.id for node in ast.walk(ast.parse(expression, mode="eval")) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("question", QUESTIONS, ids=named)
def test_the_calls_settle_the_question(question):
    assert len(questions.settled(question)) == len(question["checks"]) > 0


def other(numbers):
    """The numbers with each one wrong by a tenth of a percent, or a thousandth."""
    numbers = np.asarray(numbers, dtype=np.float64)
    return np.where(np.isinf(numbers), -numbers, numbers * 1.001 + 0.001).tolist()


@pytest.mark.parametrize("question", QUESTIONS, ids=named)
def test_other_numbers_are_noticed(question):
    for place in range(len(question["checks"])):
        wrong = copy.deepcopy(question)
        check = wrong["checks"][place]
        if "refuses" in check:
            check["refuses"] = "something else"
        else:
            check["gives"] = other(check["gives"])
        with pytest.raises(questions.WrongNumber, match=question["id"]):
            questions.settled(wrong)


def test_a_call_that_should_be_refused_and_is_not_is_noticed():
    check = {"shows": "", "call": "entropy([0.5, 0.5])", "refuses": "sum"}
    with pytest.raises(questions.WrongNumber, match="expected to be refused"):
        questions.settled({"id": "x", "given": {}, "checks": [check]})


@pytest.mark.parametrize("question", QUESTIONS, ids=named)
def test_crossent_is_what_settles_it(question):
    used = set().union(*map(names_in, question["given"].values()), *(names_in(c["call"]) for c in question["checks"]))
    assert used & set(crossent.__all__)


@pytest.mark.parametrize("question", QUESTIONS, ids=named)
def test_a_question_is_complete(question):
    assert question["question"].strip().endswith(("?", "."))
    assert len(question["answer"].split()) > 15
    assert question["asked"]
    for thread in question["asked"]:
        assert thread["title"]
        assert thread["place"]
        assert thread.get("url", "https://").startswith("https://")
    for check in question["checks"]:
        assert check["shows"]
        assert ("gives" in check) != ("refuses" in check)
        assert float(check.get("within", 0)) <= 1e-5


def test_there_are_many_questions_each_asked_once():
    assert len({question["id"] for question in QUESTIONS}) == len(QUESTIONS) >= 16
    assert len({question["title"] for question in QUESTIONS}) == len(QUESTIONS)


def test_a_call_has_no_names_beyond_the_public_ones():
    with pytest.raises(NameError):
        questions.evaluate("open('/etc/passwd')", {})
    with pytest.raises(NameError):
        questions.evaluate("__import__('os')", {})


def test_the_page_shows_questions_calls_and_computed_numbers(monkeypatch):
    monkeypatch.setattr(questions, "load", lambda: QUESTIONS[:1])
    text = questions.page()
    assert "### Zero, or one over the true probability?" in text
    assert ">>> d = differential([0.5, 0.3, 0.2], 0)" in text
    assert '>>> d.grad("nobody")\n[-2, 0, 0]' in text
    assert "[Question on the Partial Derivative" in text
