"""Each story shows the numbers that it is told for, computed, in every view."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import subprocess

import mpmath
import numpy as np
import pytest
from rich.console import Console

from crossent.stories import STORIES, Fact, story

every_story = pytest.mark.parametrize("one", STORIES.values(), ids=list(STORIES))


def test_the_six_stories_are_there():
    assert list(STORIES) == ["dog", "deck", "vanishing", "soft", "optimum", "margin"]
    assert all(name == one.name for name, one in STORIES.items())
    with pytest.raises(ValueError, match="story = 'cow': expected one of 'dog', 'deck'"):
        story("cow")


def test_dog_two_predictions_of_one_loss_and_one_derivative_learn_differently():
    told = STORIES["dog"].numbers
    assert told["loss_a"] == told["loss_b"] == pytest.approx(0.6931, abs=5e-5)
    assert told["nobody_a"] == told["nobody_b"] == [-2, 0, 0]
    assert told["dog_pays_a"] == told["dog_pays_b"] == [0, 2, 2]
    assert told["everyone_a"] == told["everyone_b"] == pytest.approx([-4 / 3, 2 / 3, 2 / 3])
    assert (told["deviation"], told["cat_to_bird"], told["dog_to_cat"]) == (0, 0, 2)
    assert told["logits_a"] == [-0.5, 0.49, 0.01]
    assert told["logits_b"] == [-0.5, 0.25, 0.25]
    assert told["after_a"] == pytest.approx(0.3193, abs=5e-5)
    assert told["after_b"] == pytest.approx(0.3869, abs=5e-5)


def test_deck_the_card_that_never_comes_is_noticed():
    told = STORIES["deck"].numbers
    assert told["loss"] == pytest.approx(math.log(53), rel=1e-15)
    assert told["true_to_eleven"] == told["eleven_if_true_pays"] == pytest.approx(53, rel=1e-15)
    assert told["eleven_to_other"] == told["other_if_eleven_pays"] == 0
    assert told["true_if_eleven_pays"] == pytest.approx(-53, rel=1e-15)
    assert told["true_logit"] == pytest.approx(-52 / 53)
    assert told["eleven_logit"] == pytest.approx(1 / 53)
    assert told["alike"] == 52
    assert told["masked_probability"] == told["masked_derivative"] == told["masked_logit"] == 0
    assert told["masked_loss"] == pytest.approx(math.log(52), rel=1e-15)
    drawn = STORIES["deck"].predictions["uniform"].differential
    assert len(drawn.classes) == 53
    assert drawn.truth[drawn.classes.index("5♣")] == 1


def test_vanishing_only_the_logit_gradient_stays_finite():
    (table,) = STORIES["vanishing"].tables
    for q, loss, ambient, chart, logit in table.rows:
        assert logit == q - 1
        assert ambient == -chart == pytest.approx(-1 / q if q else -math.inf)
        assert loss == pytest.approx(-math.log(q) if q else math.inf)
    assert table.rows[-1] == (0, math.inf, -math.inf, math.inf, -1)
    assert STORIES["vanishing"].numbers["logits_gone"] == [-1, 0.5, 0.5]


def test_soft_formulas_agree_exactly_where_the_payer_has_no_truth():
    some, every = STORIES["soft"].predictions.values()
    for one in (some, every):
        d = one.differential
        for r, name in enumerate(d.classes):
            same = np.array_equal(one.derivatives[name], one.derivatives["nobody"])
            assert same == (d.truth[r] == 0)
    told = STORIES["soft"].numbers
    assert told["dog_adds"] == pytest.approx(1.6)
    assert told["bird_adds"] == 0
    assert min(told["all_dog_adds"], told["all_cat_adds"], told["all_bird_adds"]) > 0
    assert told["mean_of_labels"] == pytest.approx([-0.3, 0.1, 0.2])
    assert told["difference"] < 1e-15


def test_optimum_a_multiple_of_ones_is_no_slope():
    told = STORIES["optimum"].numbers
    assert told["nobody"] == [-1, -1, -1]
    assert told["dog_pays"] == told["everyone_pays"] == told["in_proportion"] == told["logits"] == [0, 0, 0]
    assert told["loss"] == told["entropy"] == pytest.approx(1.5 * math.log(2))
    assert (told["corner_loss"], told["dog_to_cat"]) == (0, 1)


def test_margin_the_exact_column_is_exact_and_the_textbook_is_zero_from_17():
    (table,) = STORIES["margin"].tables
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert max(rows) == 40
    for m, row in rows.items():
        with mpmath.workdps(40):
            loss, entry = mpmath.log1p(mpmath.exp(-m)), -1 / (1 + mpmath.exp(m))
        assert row["exact loss"] == pytest.approx(float(loss), rel=1e-15, abs=0)
        assert row["exact dog entry"] == pytest.approx(float(entry), rel=1e-15, abs=0)
        assert row["float32 crossent loss"] == pytest.approx(float(loss), rel=3e-7, abs=0)
        assert row["float32 crossent dog entry"] == pytest.approx(float(entry), rel=3e-7, abs=0)
        assert (row["float32 textbook loss"] == 0) == (m >= 17)
        assert (row["float32 textbook dog entry"] == 0) == (m >= 17)
        assert (row["float64 textbook loss"] == 0) == (m >= 37)
    told = STORIES["margin"].numbers
    assert (told["float32_zero_from"], told["float64_zero_from"]) == (17, 37)


@every_story
def test_every_sentence_stands_in_text_html_and_json_with_its_numbers(one):
    text = " ".join(one.to_text().split())
    page = html.unescape(one._repr_html_())
    read = json.loads(one.to_json(), parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))
    assert one.title in text
    assert one.title in page
    for fact, said in zip(one.facts, read["facts"], strict=True):
        assert fact.text in text
        assert fact.text in page
        assert said["text"] == fact.text
        assert list(said["numbers"]) == list(fact.numbers)
        assert set(re.findall(r"{(\w+)", fact.sentence)) == set(fact.numbers), "a number that is not in the sentence"
    for caption, explanation, shown in zip(one.predictions, one.predictions.values(), read["predictions"], strict=True):
        assert shown == {"caption": caption, **json.loads(explanation.to_json())}
    assert [table["rows"] for table in read["tables"]] == [
        [[cell if math.isfinite(cell) else str(cell) for cell in row] for row in table.rows] for table in one.tables
    ]


@every_story
@pytest.mark.parametrize("width", [60, 80, 140])
def test_text_fits_its_width(one, width):
    lines = one.to_text(width).splitlines()
    assert max(Console().measure(line).maximum for line in lines if line) <= width
    assert re.search(r"\bnan\b", one.to_text(width)) is None
    assert str(one) == one.to_text(80)


@every_story
def test_html_tables_have_a_row_per_class_shown(one):
    page = one._repr_html_()
    assert page.count("<table>") == page.count("</table>") == len(one.predictions) + len(one.tables)
    for explanation in one.predictions.values():
        n_rows = len(one.rows(explanation))
        assert n_rows == (3 if one.name == "deck" else len(explanation.differential.classes))


def test_a_sentence_cannot_be_told_without_its_numbers():
    assert Fact("{x:nats} and {v}", {"x": 2.0, "v": [1.0, 0.5]}).text == "2.0000 nats and (1, 0.5)"
    with pytest.raises(KeyError):
        _ = Fact("{x}", {}).text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_of_every_story_compiles(tmp_path):
    body = "\n\\clearpage\n".join(one.to_latex() for one in STORIES.values())
    page = rf"\documentclass{{article}}\usepackage{{amsmath}}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "page.tex").write_text(page)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert run.returncode == 0, run.stdout[-2000:]
