"""What is trained in one process is judged and used in others, from the model's directory alone."""

import json
import re
import shutil

import numpy as np
import polars as pl
import pytest
from scipy.special import softmax

from crossent.data import load_trained


def test_training_says_what_it_did(trained):
    said = (trained / "said.txt").read_text()
    assert re.search(
        r"train\.csv: 8\d rows for training, 24 for test, \d+ for validation; \d+ features, 3 classes", said
    )
    assert re.search(r"^epoch 1/\d+: loss \d\.\d+, validation \d\.\d+, \d+\.\d % right$", said, re.MULTILINE)
    for word in (
        "test log-loss",
        "class frequencies alone",
        "test accuracy",
        "Brier",
        "calibration",
        "model",
        "report",
    ):
        assert word in said
    assert sorted(path.name for path in (trained / "model").iterdir()) == [
        "model.json",
        "report.html",
        "weights.safetensors",
    ]


def test_evaluation_in_a_new_process_and_folder_needs_the_directory_alone(trained, tmp_path, run):
    shutil.copytree(trained / "model", tmp_path / "moved")
    shutil.copy(trained / "new.csv", tmp_path)
    done = run("evaluate", "moved", "new.csv", "--json", "--report", "r.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["rows"] == 58
    assert scores["log_loss"] < 0.5 < scores["baseline_log_loss"]
    assert scores["accuracy"] > 0.85
    assert 0 < scores["brier_score"] < 0.3
    assert 0 < scores["expected_calibration_error"] < 0.2
    assert "</html>" in (tmp_path / "r.html").read_text()
    table = run("evaluate", "moved", "new.csv", cwd=tmp_path)
    assert f"{scores['log_loss']:.4f} nats" in table.stdout


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_predictions_are_the_softmax_of_the_logits_in_the_order_of_the_rows(trained, tmp_path, name, run):
    done = run("predict", "model", "new.csv", "--out", tmp_path / name, "--keep", "region", cwd=trained)
    assert done.returncode == 0, done.stderr
    found = pl.read_csv(tmp_path / name) if name.endswith("csv") else pl.read_parquet(tmp_path / name)
    model = load_trained(trained / "model")
    logits = model.logits(trained / "new.csv")
    assert found.columns == ["region", "prediction", "p_barbera", "p_barolo", "p_grignolino"]
    np.testing.assert_allclose(found[:, 2:].to_numpy(), softmax(logits, axis=1), rtol=1e-14)
    assert found["prediction"].to_list() == [model.classes[c] for c in logits.argmax(axis=1)]
    assert found["region"].to_list() == pl.read_csv(trained / "new.csv")["region"].to_list()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_only_the_most_probable_classes_are_written(trained, tmp_path, run):
    done = run(
        "predict", "model", "new.csv", "--out", tmp_path / "p.csv", "--top", 2, "--label-column", "kind", cwd=trained
    )
    assert done.returncode == 0, done.stderr
    found = pl.read_csv(tmp_path / "p.csv")
    assert found.columns == ["kind", "top_1", "top_1_p", "top_2", "top_2_p"]
    assert found["kind"].equals(found["top_1"], check_names=False)
    assert (found["top_1_p"] >= found["top_2_p"]).all()


def test_small_probabilities_are_written_whole(trained, tmp_path, run, wine):
    frame = wine()[120:123].with_columns(pl.col("malic_acid") * 30)
    frame.write_csv(tmp_path / "far.csv")
    assert run("predict", "model", tmp_path / "far.csv", "--out", tmp_path / "p.csv", cwd=trained).returncode == 0
    found = pl.read_csv(tmp_path / "p.csv")[:, 1:].to_numpy()
    expected = softmax(load_trained(trained / "model").logits(tmp_path / "far.csv"), axis=1)
    assert 0 < found.min() < 1e-20
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_a_row_has_the_logits_of_its_place_and_its_label(trained):
    model = load_trained(trained / "model")
    all_logits = model.logits(trained / "new.csv")
    labels = pl.read_csv(trained / "new.csv")["cultivar"]
    for row in (1, 30, 58):
        logits, label = model.logits_of_row(trained / "new.csv", row)
        assert logits.dtype == np.float64
        np.testing.assert_allclose(logits, all_logits[row - 1], rtol=1e-5)
        assert label == labels[row - 1]


def test_rows_without_labels_can_be_predicted(trained, tmp_path, run, wine):
    wine()[120:].drop("cultivar", "bottle").write_parquet(tmp_path / "new.parquet")
    done = run("predict", "model", tmp_path / "new.parquet", "--out", tmp_path / "p.csv", cwd=trained)
    assert (done.returncode, done.stderr) == (0, "")
    logits, label = load_trained(trained / "model").logits_of_row(tmp_path / "new.parquet", 1)
    assert label is None
    np.testing.assert_allclose(logits, load_trained(trained / "model").logits(trained / "new.csv")[0], rtol=1e-5)


def test_further_columns_and_unknown_categories_are_said_once(trained, tmp_path, run, wine):
    frame = wine()[120:].with_columns(pl.lit("west").alias("region"), pl.lit(1).alias("price"))
    frame.write_csv(tmp_path / "new.csv")
    done = run("predict", "model", tmp_path / "new.csv", "--out", tmp_path / "p.csv", cwd=trained)
    assert done.returncode == 0
    notes = done.stderr.splitlines()
    assert len(notes) == 2
    assert notes[0].endswith("columns the model does not use: price")
    assert "column 'region': 58 rows have categories not seen in training" in notes[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda frame: frame.drop("alcohol", "ash"),
            "new.csv: lacks the columns 'alcohol', 'ash' that the model needs",
        ),
        (
            lambda frame: frame.with_columns(pl.col("ash").cast(pl.String).replace(frame["ash"][6], "much")),
            "new.csv, column 'ash', row 7: 'much' is not a number",
        ),
        (
            lambda frame: frame.with_columns(pl.col("cultivar").replace("barbera", "merlot")),
            "'merlot' is none of the 3 classes",
        ),
        (lambda frame: frame.drop("cultivar"), "there is no column 'cultivar'"),
    ],
)
def test_rows_that_do_not_fit_the_model_are_refused(trained, tmp_path, change, message, run, wine):
    frame = wine()[120:].with_columns(pl.col("ash") + pl.int_range(pl.len()) * 1e-6)
    change(frame).write_csv(tmp_path / "new.csv")
    done = run("evaluate", "model", tmp_path / "new.csv", cwd=trained)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_same_seed_gives_the_same_model(trained, tmp_path, run):
    options = ("--label", "cultivar", "--epochs", 3, "--no-report", "--quiet", "--threads", 1)
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        done = run("train", trained / "train.csv", *options, "--seed", seed, "--out", name, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    a, b, c = ((tmp_path / name / "weights.safetensors").read_bytes() for name in "abc")
    assert a == b != c
    assert not (tmp_path / "a" / "report.html").exists()


def test_every_option_takes_part(trained, tmp_path, run, wine):
    frame = wine()[:120].with_columns(pl.Series("weight", np.linspace(0.5, 2, 120)))
    frame = frame.with_columns(cultivar=pl.when(pl.int_range(pl.len()) == 4).then(None).otherwise("cultivar"))
    frame.write_csv(tmp_path / "t.csv")
    frame[:40].drop("bottle").write_csv(tmp_path / "test.csv")
    done = run(
        "train", "t.csv", "--label", "cultivar", "--hidden", "8,4", "--epochs", 4, "--batch-size", 16,
        "--learning-rate", 0.05, "--alpha", 0.01, "--class-weight", "balanced", "--label-smoothing", 0.1,
        "--sample-weight", "weight", "--validation", 0.2, "--test", "test.csv", "--drop-missing-label",
        "--drop", "bottle", "--out", "m", "--threads", 2,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("1 rows without a label left out") == 2
    parameters = load_trained(tmp_path / "m").estimator.get_params()
    expected = {
        "hidden_layer_sizes": (8, 4), "max_epochs": 4, "batch_size": 16, "learning_rate": 0.05, "alpha": 0.01,
        "class_weight": "balanced", "label_smoothing": 0.1, "n_threads": 2, "random_state": 0,
    }  # fmt: skip
    assert {name: parameters[name] for name in expected} == expected


def test_images_in_arrays_can_be_trained_on_and_explained(tmp_path, run):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    x = rng.integers(0, 100, (200, 4, 5)) + 100 * y[:, None, None] * (np.arange(5) > 2)
    np.savez(tmp_path / "i.npz", X=x.astype(np.uint8), y=y)
    done = run("train", "i.npz", "--hidden", "none", "--out", "m", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "20 features, 2 classes" in done.stdout
    model = load_trained(tmp_path / "m")
    assert model.logits(tmp_path / "i.npz").shape == (200, 2)
    assert json.loads(run("evaluate", "m", "i.npz", "--json", cwd=tmp_path).stdout)["accuracy"] > 0.95
    done = run("explain", "--model", "m", "--data", "i.npz", "--row", 3, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["classes"] == ["0", "1"]


def test_a_table_in_an_array_is_a_table(tmp_path, run):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    np.savez(tmp_path / "t.npz", X=x, y=np.where(x[:, 0] > x[:, 1], "up", "down"))
    assert run("train", "t.npz", "--out", "m", "--quiet", "--validation", 0, cwd=tmp_path).returncode == 0
    scores = json.loads(run("evaluate", "m", "t.npz", "--json", cwd=tmp_path).stdout)
    assert scores["accuracy"] > 0.95
