"""``crossent explain`` as a user types it."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from crossent.cli import app, main
from crossent.cli.class_numbers import read_numbers
from crossent.cli.explain import LOSSES
from crossent.cli.explaining import explain_row
from crossent.explanation.losses import LOSS_NAMES
from crossent.explanation.prediction import explain
from crossent.stories import STORIES

DOG = ["--probs", "dog=0.5,cat=0.49,bird=0.01", "--label", "dog"]
INF = math.inf


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["explain", *arguments], env={"COLUMNS": "80"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line on stderr that a wrong command line ends with."""
    with pytest.raises(SystemExit) as stop:
        main(["explain", *arguments])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_text_is_the_explanation():
    text = run(*DOG)
    assert text.split() == explain({"dog": 0.5, "cat": 0.49, "bird": 0.01}, target="dog").to_text().split()
    assert "loss 0.6931 nats" in text


def test_a_real_process_prints_json_in_full_precision():
    command = [sys.executable, "-m", "crossent", "explain", *DOG, "--pay", "cat", "--pay", "everyone", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    read = json.loads(done.stdout)
    assert done.stderr == ""
    assert read["loss"] == 0.6931471805599453
    assert read["classes"] == ["dog", "cat", "bird"]
    assert list(read["derivatives"]) == ["nobody", "everyone", "in proportion", "cat"]
    assert read["derivatives"]["nobody"] == read["derivatives"]["cat"] == [-2, 0, 0]


def test_a_real_process_ends_with_one_line_and_code_2_on_bad_input():
    command = [sys.executable, "-m", "crossent", "explain", "--probs", "dog=0.5,cat=0.6", "--label", "dog"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "crossent: error: the sum of --probs = 1.1: expected 1 within 1e-06 (or --normalize)\n"


def test_a_true_distribution_may_leave_classes_out():
    read = json.loads(run("--probs", "dog=0.5,cat=0.49,bird=0.01", "--truth", "cat=0.2,dog=0.8", "--json"))
    assert read["truth"] == [0.8, 0.2, 0]


def test_logits_keep_a_loss_that_probabilities_round_away():
    read = json.loads(run("--logits", "dog=46,cat=0", "--label", "dog", "--json"))
    assert read["prediction"][0] == 1
    assert read["loss"] == -read["logit_gradient"][0] == pytest.approx(1.0530617357553812e-20, rel=1e-15, abs=0)


def test_normalize_accepts_counts():
    text = run("--probs", "dog=3,cat=1", "--label", "dog", "--normalize")
    assert "The probabilities given sum to 4 and were divided by it." in text


def test_latex_is_the_derivation():
    text = run(*DOG, "--latex")
    assert text == explain({"dog": 0.5, "cat": 0.49, "bird": 0.01}, target="dog").to_latex()


def test_against_shows_the_same_loss_and_the_losses_after_one_step():
    text = " ".join(run(*DOG, "--against", "bird=0.25,dog=0.5,cat=0.25").split())
    assert "Loss: the same, 0.6931 nats and 0.6931 nats." in text
    assert "Derivative along the simplex: the same" in text
    assert "0.3193 nats and 0.3869 nats" in text
    read = json.loads(run(*DOG, "--against", "bird=0.25,dog=0.5,cat=0.25", "--json"))
    assert read["against"]["logit_gradient"] == [-0.5, 0.25, 0.25]
    assert read["comparison"]["same_loss"] is True


def test_shares_pay_by_name_and_a_class_that_looks_like_shares_is_a_class():
    read = json.loads(run(*DOG, "--pay", "cat=1/4,bird=3/4", "--pay", "cat", "--json"))
    assert list(read["derivatives"])[3:] == ["0.25 cat + 0.75 bird", "cat"]
    assert read["derivatives"]["0.25 cat + 0.75 bird"] == [-2, 0, 0]
    odd = ["--probs", "cat=1=0.5,b=0.5", "--label", "b", "--pay", "cat=1", "--json"]
    assert list(json.loads(run(*odd))["derivatives"])[3:] == ["cat=1"]


def test_a_fraction_is_a_number():
    assert json.loads(run("--probs", "dog=1/4,cat=3/4", "--label", "dog", "--json"))["prediction"] == [0.25, 0.75]


def test_fractions_are_kept_through_every_format():
    asked = ["--probs", "dog=1/2,cat=0.49,bird=1e-2", "--label", "dog", "--fractions", "--pay", "cat=1/3,bird=2/3"]
    read = json.loads(run(*asked, "--metric", "natural", "--step", "0.25", "--json"))
    assert read["prediction"] == ["1/2", "49/100", "1/100"]
    assert read["loss_in_symbols"] == "log 2"
    assert read["derivatives"]["everyone"] == ["-4/3", "2/3", "2/3"]
    assert read["derivatives"]["1/3 cat + 2/3 bird"] == ["-2", "0", "0"]
    assert read["descents"]["natural"]["prediction"] == ["5/8", "147/400", "3/400"]
    assert "log 2 = 0.6931 nats" in run(*asked)
    assert r"\tfrac{49}{100}" in run(*asked, "--latex")
    pair = json.loads(run(*asked, "--against", "bird=1/4,cat=1/4,dog=1/2", "--json"))["comparison"]
    assert (pair["differential_deviation"], pair["logit_gradient_deviation"]) == ("0", "6/25")


def test_a_metric_shows_where_one_step_leads():
    text = " ".join(run(*DOG, "--metric", "euclidean", "--metric", "natural", "--metric", "logit").split())
    assert "logit: −J·g" in text
    assert "A step of 1 takes the loss from 0.6931 nats to 0.3193 nats." in text
    read = json.loads(run(*DOG, "--metric", "logit", "--json"))
    assert list(read["descents"]) == ["logit"]
    assert read["descents"]["logit"]["velocity"] == read["velocities"]["logit"]


def test_the_help_names_every_loss():
    assert ", ".join(LOSS_NAMES) == LOSSES


def test_other_losses_by_name_with_parameters():
    assert "Brier loss 0.4902" in run(*DOG, "--loss", "brier")
    focal = json.loads(run(*DOG, "--loss", "focal:gamma=3", "--json"))
    assert focal["loss"] == pytest.approx(0.5**3 * math.log(2))
    assert json.loads(run(*DOG, "--loss", "cross-entropy", "--json")) == json.loads(run(*DOG, "--json"))
    pair = json.loads(run(*DOG, "--loss", "brier", "--against", "bird=0.25,dog=0.5,cat=0.25", "--json"))
    assert pair["comparison"]["same_loss"] is False


def test_the_step_of_a_comparison_is_asked_for():
    asked = [*DOG, "--against", "bird=0.25,dog=0.5,cat=0.25", "--step", "0.5", "--json"]
    read = json.loads(run(*asked))["comparison"]
    assert read["step"] == 0.5
    assert 0.3193 < read["losses_after_step"][0] < read["losses_after_step"][1] < math.log(2)


def test_stories_are_listed_and_told():
    assert [line.split()[0] for line in run("--story", "list").splitlines() if line[0] != " "] == list(STORIES)
    assert [one["name"] for one in json.loads(run("--story", "list", "--json"))] == list(STORIES)
    for name, one in STORIES.items():
        assert run("--story", name).split() == one.to_text().split()
        assert json.loads(run("--story", name, "--json")) == json.loads(one.to_json())
    assert run("--story", "dog", "--latex") == STORIES["dog"].to_latex()


def quiz(answers: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "crossent", "explain", *arguments, "--quiz"]
    done = subprocess.run(command, input=answers, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout


def test_a_quiz_reads_a_pipe_and_ends_with_a_score():
    out = quiz("b\na\n", *DOG)
    assert out.rstrip().endswith("1 of 2 right; 5 of 7 not answered.")
    assert quiz("", "--story", "deck").rstrip().endswith("None of 5 answered.")


def test_a_quiz_as_json_has_the_questions_and_the_prediction():
    read = json.loads(run(*DOG, "--quiz", "--json"))
    assert read["prediction"] == json.loads(run(*DOG, "--json"))
    assert len(read["quiz"]) == 7
    for question in read["quiz"]:
        assert [choice["right"] for choice in question["choices"]].count(True) == 1


def test_deck_of_53_cards_from_a_file(tmp_path):
    suits, ranks = "♠♥♦♣", ["A", *map(str, range(2, 11)), "J", "Q", "K"]
    cards = [rank + suit for suit in suits for rank in ranks] + ["11♥"]
    file = tmp_path / "deck.csv"
    file.write_text("card,probability\n" + "".join(f"{card},{1 / 53!r}\n" for card in cards), encoding="utf-8")
    asked = ["--probs", f"@{file}", "--label", "5♣", "--pay", "5♣", "--pay", "11♥"]
    read = json.loads(run(*asked, "--json"))
    assert read["classes"] == cards
    assert read["loss"] == pytest.approx(math.log(53))
    five = np.array(cards) == "5♣"
    np.testing.assert_allclose(read["derivatives"]["5♣"], np.where(five, 0, 53))
    assert read["derivatives"]["11♥"] == read["derivatives"]["nobody"]
    text = run(*asked)
    assert "loss 3.9703 nats" in text
    assert all(any(line.startswith(card + " ") for line in text.splitlines()) for card in cards)


def test_names_may_hold_equals_signs_spaces_commas_and_any_script(tmp_path):
    expected = {"a = b": 0.5, "p, q": 0.25, "犬": 0.25}
    assert read_numbers('a = b=0.5, "p, q"=0.25 ,犬=.25', "--probs") == expected
    table, mapping, lines = tmp_path / "a.csv", tmp_path / "a.json", tmp_path / "b.csv"
    table.write_text('﻿name,probability\na = b,0.5\n"p, q",0.25\n\n犬,0.25\n', encoding="utf-8")
    mapping.write_text(json.dumps(expected), encoding="utf-8")
    lines.write_text('a = b,0.5\n"p, q",0.25\n犬,0.25', encoding="utf-8")
    for file in (table, mapping, lines):
        assert read_numbers(f"@{file}", "--probs") == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--probs", "dog=-0.5,cat=1.5", "--label", "dog"], "--probs['dog'] = -0.5: expected a finite number >= 0"),
        (["--probs", "dog=0.5,dog=0.5", "--label", "dog"], "--probs: class 'dog' is given twice"),
        (["--probs", "dog=0.5,cat=0.5", "--label", "cow"], "--label = 'cow': expected one of 'dog', 'cat'"),
        (["--probs", "dog=0.5,cat=0.5", "--truth", "cow=1"], "--truth = 'cow': expected one of 'dog', 'cat'"),
        (["--probs", "dog=0.5,cat=0.5", "--truth", "dog=-1"], "--truth['dog'] = -1.0"),
        ([*DOG, "--pay", "cow"], "--pay = 'cow': expected one of 'nobody', 'everyone', 'in proportion', 'dog'"),
        (["--probs", "dog=nan,cat=0.5", "--label", "dog"], "--probs: dog = 'nan': expected a number"),
        (["--probs", "dog=half,cat=0.5", "--label", "dog"], "--probs: dog = 'half': expected a number"),
        (["--probs", "dog=1_0,cat=0.5", "--label", "dog"], "--probs: dog = '1_0': expected a number"),
        (["--probs", "dog", "--label", "dog"], "--probs: 'dog' is not NAME=NUMBER"),
        (["--probs", "=1", "--label", "dog"], "--probs: a number without a class name, '1'"),
        (["--probs", "", "--label", "dog"], "--probs is empty"),
        (["--probs", "dog=1", "--label", "dog"], "the number of classes = 1: expected at least 2"),
        (["--probs", "everyone=1,b=0", "--label", "b"], "'everyone': expected a name that is not a rule of payment"),
        (["--logits", "dog=inf,cat=0", "--label", "dog"], "--logits['dog'] = inf"),
        (["--probs", "dog=0.5,cat=0.5"], "expected --label or --truth"),
        (["--label", "dog"], "expected one of --probs, --logits and --model"),
        ([*DOG, "--logits", "dog=1,cat=2"], "expected one of --probs, --logits and --model"),
        ([*DOG, "--truth", "dog=1"], "--label and --truth exclude each other"),
        ([*DOG, "--json", "--latex"], "--json and --latex exclude each other"),
        ([*DOG, "--latex", "--against", "dog=1"], "leave --against out"),
        ([*DOG, "--against", "dog=0.5,cat=0.5"], "--against: 'bird' is missing"),
        ([*DOG, "--against", "dog=1,cow=0"], "--against: 'cow' is not a class of the prediction"),
        ([*DOG, "--against", "dog=1,cat=1,bird=0"], "the sum of --against = 2.0"),
        ([*DOG, "--row", "1"], "--data, --row and --data-dir go with --model"),
        (["--model", "m", "--label", "a"], "--model needs --data and --row"),
        (["--model", "m", "--data", "d", "--row", "0"], "--row = 0: expected a row counted from 1"),
        (["--logits", "a=1,b=2", "--label", "a", "--normalize"], "--normalize divides --probs"),
        ([*DOG, "--row", "x"], "Invalid value for '--row'"),
        ([*DOG, "--pay", "cat=0.5"], "the sum of --pay = 0.5: expected 1"),
        ([*DOG, "--pay", "cow=1"], "--pay = 'cow': expected one of 'dog', 'cat', 'bird'"),
        ([*DOG, "--pay", "cat=x"], "--pay: cat = 'x': expected a number"),
        ([*DOG, "--quiz", "--latex"], "--quiz and --latex exclude each other"),
        ([*DOG, "--quiz", "--against", "dog=1"], "--quiz takes one prediction: leave --against out"),
        (["--probs", "a=1,b=0", "--truth", "a=0", "--quiz"], "--quiz: the truth has mass 0"),
        ([*DOG, "--against", "dog=1,cat=0,bird=0", "--step", "0"], "--step = 0.0: expected a positive, finite number"),
        ([*DOG, "--metric", "fisher"], "--metric = 'fisher': expected one of 'euclidean', 'natural', 'logit'"),
        ([*DOG, "--metric", "logit", "--step", "nan"], "--step = nan: expected a positive, finite number"),
        ([*DOG, "--loss", "hinge"], "--loss = 'hinge': expected one of 'cross-entropy', 'brier'"),
        ([*DOG, "--loss", "focal:delta=1"], "--loss = 'focal:delta=1': expected parameters of Focal"),
        ([*DOG, "--loss", "focal:gamma"], "--loss = 'gamma': expected PARAMETER=NUMBER"),
        (
            [*DOG, "--loss", "brier", "--fractions"],
            "Brier is not computed in fractions",
        ),
        (["--probs", "a=1/2,b=1/3", "--label", "a", "--fractions"], "the sum of --probs = 5/6: expected exactly 1"),
        (["--story", "cow"], "--story = 'cow': expected one of 'dog', 'deck'"),
        (["--story", "dog", "--label", "dog"], "--story dog has its own numbers: leave --label out"),
        (["--story", "list", "--label", "dog"], "--story list has its own numbers: leave --label out"),
        (["--story", "list", "--quiz"], "--story list and --quiz exclude each other"),
        (["--story", "dog", "--fractions"], "leave --fractions out"),
        (["--logits", "a=1,b=2", "--label", "a", "--fractions"], "--fractions goes with --probs"),
        (["--probs", "a=1/0,b=1", "--label", "a"], "--probs: a = '1/0': expected a number"),
        (["--probs", "a=inf,b=1", "--label", "a", "--fractions"], "a = 'inf': expected a fraction, or a decimal"),
        (["--probs", "a=1e9999999,b=1", "--label", "a", "--fractions"], "between 1e-400 and 1e400"),
    ],
)
def test_bad_input_is_one_line_and_code_2(capsys, arguments, message):
    assert message in fails(capsys, *arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b'{"a": 0.5,', "is not JSON"),
        (b"[0.5, 0.5]", "expected one JSON object"),
        (b'{"a": 0.5, "a": 0.5}', "class 'a' is given twice"),
        (b'{"a": true, "b": 0}', "a = True: expected a number"),
        (b'{"a": "x", "b": 0}', "a = 'x': expected a number"),
        (b"a,0.5\nb\n", "line 2 has 1 fields: expected NAME,NUMBER"),
        (b"name,p\na,0.5\nb,half\n", "expected a number"),
        (b"", "is empty"),
    ],
)
def test_bad_files_say_which_and_why(capsys, tmp_path, content, message):
    file = tmp_path / "probs"
    file.write_bytes(content)
    error = fails(capsys, "--probs", f"@{file}", "--label", "a")
    assert message in error
    assert str(file) in error


def test_a_missing_file_is_named(capsys, tmp_path):
    assert "No such file" in fails(capsys, "--probs", f"@{tmp_path / 'none.csv'}", "--label", "a")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model trained by the real command on three separable classes, and its table."""
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    labels = np.repeat(["ant", "bee", "cow"], 40)
    x = rng.normal(size=(120, 2)) + 3 * np.array([[0, 0], [1, 0], [0, 1]]).repeat(40, axis=0)
    rows = "".join(f"{a},{b},{name}\n" for (a, b), name in zip(x.tolist(), labels))
    (folder / "train.csv").write_text("x,y,kind\n" + rows)
    (folder / "new.csv").write_text("x,y\n0.1,0.2\n3.0,0.1\n")
    out = ["--out", str(folder / "model"), "--epochs", "5"]
    with pytest.raises(SystemExit) as stop:
        main(["train", str(folder / "train.csv"), "--label", "kind", *out])
    assert not stop.value.code
    return folder


def test_a_trained_models_row_is_explained_against_its_own_label(trained):
    given = ["--model", str(trained / "model"), "--data", str(trained / "train.csv"), "--row", "41", "--json"]
    read = json.loads(run(*given))
    assert read["classes"] == ["ant", "bee", "cow"]
    assert read["truth"] == [0, 1, 0]
    assert sum(read["prediction"]) == pytest.approx(1)
    assert list(read["derivatives"])[3:] == ["bee"]
    assert read["loss"] == pytest.approx(-math.log(read["prediction"][1]))


def test_a_row_without_label_needs_one(trained, capsys):
    given = ["--model", str(trained / "model"), "--data", str(trained / "new.csv"), "--row", "2"]
    assert "row 2: has no label: give --label or --truth" in fails(capsys, *given)
    assert json.loads(run(*given, "--label", "ant", "--json"))["truth"] == [1, 0, 0]
    whole = explain_row(trained / "model", trained / "new.csv", 2, {"ant": 0.5, "bee": 0.5}, pay=["cow"])
    assert whole.differential.truth.tolist() == [0.5, 0.5, 0]
    assert whole.rules[3:] == ("cow",)


def test_a_row_or_model_that_is_not_there_is_an_error(trained, capsys):
    data = ["--data", str(trained / "new.csv")]
    assert "row" in fails(capsys, "--model", str(trained / "model"), *data, "--row", "9", "--label", "ant")
    assert "none" in fails(capsys, "--model", str(trained / "none"), *data, "--row", "1", "--label", "ant")
