"""Every loss of the family can be explained in every view, inside the simplex and at its boundary."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from crossent.explanation.losses import LOSS_NAMES, loss_function
from crossent.explanation.prediction import explain

PREDICTIONS = {
    "inside": {"probs": [0.5, 0.49, 0.01], "target": 0},
    "soft": {"probs": [0.5, 0.3, 0.2], "target": [0.8, 0.2, 0.0]},
    "optimum": {"probs": [0.5, 0.3, 0.2], "target": [0.5, 0.3, 0.2]},
    "wrong": {"probs": [0.0, 0.5, 0.5], "target": 0},
    "certain": {"probs": [1.0, 0.0, 0.0], "target": 0},
    "beyond": {"logits": [800.0, 0.0, -800.0], "target": 2},
    "masked": {"logits": [3.0, 0.0, -np.inf], "target": 0},
}
every_loss = pytest.mark.parametrize("name", LOSS_NAMES)


@every_loss
@pytest.mark.parametrize("given", PREDICTIONS.values(), ids=list(PREDICTIONS))
def test_every_view_of_every_loss_is_free_of_nan(name, given):
    case = explain(**given, loss=name, metric=("euclidean", "natural", "logit"))
    for view in (case.to_text(), case.to_latex(), case._repr_html_(), case.to_json()):
        assert re.search(r"\bnan\b|NaN", view) is None
    for question in case.quiz():
        assert [choice.right for choice in question.choices].count(True) == 1


@every_loss
def test_every_rule_of_every_loss_is_certified_inside(name):
    case = explain([0.5, 0.3, 0.2], target=[0.7, 0.2, 0.1], pay=[0, [0.2, 0.3, 0.5]], loss=name)
    for rule, one in case.certificates.items():
        assert one.same
        assert one.multiple == pytest.approx(case.multiples[rule], abs=1e-14)


@every_loss
@pytest.mark.parametrize("metric", ["euclidean", "natural", "logit"])
def test_a_small_step_lowers_every_loss_by_what_the_derivative_says(name, metric):
    case = explain([0.5, 0.3, 0.2], target=[0.2, 0.7, 0.1], loss=name, metric=metric, step=1e-6)
    d, one = case.differential, case.descents[metric]
    slope = float(np.dot(d.ambient, one.velocity))
    assert slope < 0
    assert (one.loss - d.loss) / 1e-6 == pytest.approx(slope, rel=1e-4)


def test_names_take_spaces_capitals_and_parameters():
    assert loss_function("Reverse KL").name == "reverse KL"
    assert loss_function("generalized_cross-entropy:q=0.5").q == 0.5
    assert loss_function("focal:gamma=0").value([0.5, 0.5], 0) == pytest.approx(math.log(2))
    assert loss_function("cross entropy") is None
    assert loss_function(None) is None


def test_an_infinite_entry_hides_no_finite_multiple():
    text = " ".join(explain([0.5, 0.49, 0.01], target=0, loss="reverse-kl").to_text(120).split())
    assert "dog" not in text
    assert "0 pays -0.3069." in text
