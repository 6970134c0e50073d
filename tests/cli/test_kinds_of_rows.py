"""Training from the command line on probabilities, on text, on a libsvm file, and past bad rows."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import dump_svmlight_file, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from crossent.data import TableEncoder, read_dataset


@pytest.fixture(scope="module")
def soft(tmp_path_factory):
    """Rows whose probabilities are a softmax of their features."""
    folder = tmp_path_factory.mktemp("soft")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3))
    logits = x @ rng.normal(size=(3, 3))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    columns = {f"x{i}": x[:, i] for i in range(3)}
    columns |= {f"p_{name}": probs[:, c] for c, name in enumerate(["cat", "dog", "emu"])}
    pl.DataFrame(columns).write_csv(folder / "soft.csv")
    return folder, float(-(probs * np.log(probs)).sum(axis=1).mean())


def assert_explained(done):
    assert done.returncode == 0, done.stderr
    assert "loss" in done.stdout


def test_probabilities_are_learnt(run, soft):
    folder, entropy = soft
    done = run(
        *("train", "soft.csv", "--label-probs", "p_cat,p_dog,p_emu", "--hidden", "none", "--out", "model", "-q"),
        *("--test", "0.1"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    scores = json.loads(run("evaluate", "model", "soft.csv", "--json", cwd=folder).stdout)
    # The model is the true one, so that all that is left is the entropy of the truth.
    assert entropy < scores["log_loss"] < entropy + 0.002
    assert scores["expected_calibration_error"] < 0.03
    predicted = run("predict", "model", "soft.csv", "--out", "out.csv", cwd=folder)
    assert predicted.returncode == 0, predicted.stderr
    assert pl.read_csv(folder / "out.csv").columns == ["prediction", "p_cat", "p_dog", "p_emu"]
    assert_explained(run("explain", "--model", "model", "--data", "soft.csv", "--row", 3, "--label", "dog", cwd=folder))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--label-probs", "p_cat,p_dgo"), "did you mean 'p_dog'?"),
        (("--label-probs", "p_cat"), "expected two or more classes"),
        (("--label-probs", "p_cat,p_cat"), "different columns"),
        (("--label-probs", "p_cat,p_dog,p_emu", "--label", "x0"), "both given"),
        (("--label-probs", "p_cat,p_dog"), "soft.csv:2"),
    ],
)
def test_columns_that_are_no_probabilities_are_refused(run, soft, arguments, problem):
    done = run("train", "soft.csv", *arguments, cwd=soft[0])
    assert done.returncode == 2
    assert problem in done.stderr


def test_a_libsvm_file_is_learnt(run, tmp_path):
    x, y = load_digits(return_X_y=True)
    dump_svmlight_file(x[:1500], y[:1500], str(tmp_path / "train.svm"))
    dump_svmlight_file(x[1500:], y[1500:], str(tmp_path / "test.svm"))
    done = run("train", "train.svm", "--hidden", "none", "--test", "test.svm", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = json.loads(run("evaluate", "model", "test.svm", "--json", cwd=tmp_path).stdout)
    assert scores["accuracy"] > 0.9
    assert "test.svm" not in run("evaluate", "model", "test.svm", cwd=tmp_path).stderr
    assert run("predict", "model", "test.svm", "--out", "p.csv", cwd=tmp_path).returncode == 0
    right = (pl.read_csv(tmp_path / "p.csv")["prediction"].to_numpy() == y[1500:]).mean()
    assert right == pytest.approx(scores["accuracy"])
    assert_explained(run("explain", "--model", "model", "--data", "test.svm", "--row", 3, cwd=tmp_path))


def test_words_are_learnt_from_their_letters(run, tmp_path):
    # Which of two alphabets a word is of, with words that training has not seen.
    rng = np.random.default_rng(0)
    alphabets = {"vowels": "aeiou", "consonants": "bcdfg"}
    rows = [
        {"word": "".join(rng.choice(list(letters), 6)), "kind": kind}
        for _ in range(200)
        for kind, letters in alphabets.items()
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "words.csv")
    done = run(
        *("train", "words.csv", "--label", "kind", "--text", "word", "--hidden", "none", "--test", "0.2", "-q"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    scores = json.loads(run("evaluate", "model", "words.csv", "--json", cwd=tmp_path).stdout)
    assert scores["accuracy"] == 1
    page = (tmp_path / "model" / "report.html").read_text()
    assert "words.csv" in page
    assert run("predict", "model", "words.csv", "--out", "p.csv", cwd=tmp_path).returncode == 0
    assert (pl.read_csv(tmp_path / "p.csv")["prediction"] == pl.DataFrame(rows)["kind"]).all()
    assert_explained(run("explain", "--model", "model", "--data", "words.csv", "--row", 3, cwd=tmp_path))


def test_bad_rows_end_the_run_or_are_told(run, tmp_path):
    lines = [f"{i % 7},{'cat' if i % 7 > 3 else 'dog'}" for i in range(100)]
    lines[9] = "many,cat"
    lines[19] = "1"
    (tmp_path / "t.csv").write_text("\n".join(["a,kind", *lines, ""]))
    stopped = run("train", "t.csv", "--label", "kind", cwd=tmp_path)
    assert stopped.returncode == 2
    assert "t.csv:21" in stopped.stderr
    done = run("train", "t.csv", "--label", "kind", "--skip-bad-rows", "--epochs", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 bad rows left out" in done.stderr
    assert "89 rows for training, 9 for validation" in done.stdout


def test_the_comparison_is_with_the_default_classifier_on_the_same_rows(run, tmp_path):
    x, y = load_digits(return_X_y=True)
    for name, rows in (("train", slice(0, 900)), ("test", slice(900, None))):
        frame = pl.DataFrame(x[rows], schema=[f"x{i}" for i in range(x.shape[1])])
        frame.with_columns(pl.Series("digit", y[rows])).write_csv(tmp_path / f"{name}.csv")
    done = run(
        *("train", "train.csv", "--label", "digit", "--hidden", "none", "--validation", "0", "--test", "test.csv"),
        *("--compare", "sklearn"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    table = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.count("%") == 1}
    encoder = TableEncoder.fit(train := read_dataset(tmp_path / "train.csv", label="digit"))
    test = read_dataset(tmp_path / "test.csv", label="digit")
    peer = LogisticRegression().fit(encoder.transform(train).x, y[:900])
    expected = log_loss(y[900:], peer.predict_proba(encoder.transform(test).x))
    assert float(table["LogisticRegression"][1]) == pytest.approx(expected, rel=1e-3)
    assert f"test log-loss               {table['crossent'][1]} nats" in done.stdout


def test_another_peer_is_refused(run, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,y\n")
    done = run("train", "t.csv", "--label", "b", "--compare", "torch", cwd=tmp_path)
    assert done.returncode == 2
    assert "'sklearn'" in done.stderr
