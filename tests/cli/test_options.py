"""Every parameter of the classifier has an option, and what an option says is what the classifier gets."""

import json
import re

import numpy as np
import polars as pl
import pytest

from crossent.cli.options import Options
from crossent.estimators import SoftmaxClassifier

# Those that the command has its own way with: the rows it holds out, how it tells, and where it keeps its state.
# torchrun says whether there are several processes.
OWN_WAY = {"callbacks", "verbose", "checkpoint", "validation_fraction", "warm_start", "distributed"}
GIVEN = {
    "--alpha": ("0.002", "alpha", 0.002),
    "--l1-ratio": ("0.25", "l1_ratio", 0.25),
    "--dropout": ("0.125", "dropout", 0.125),
    "--label-smoothing": ("0.0625", "label_smoothing", 0.0625),
    "--class-weight": ("q=2", "class_weight", [[0, 1.0], [1, 2.0]]),
    "--no-center": (None, "center", False),
    "--no-feature-rates": (None, "feature_rates", False),
    "--dtype": ("float64", "dtype", "float64"),
    "--optimizer": ("sgd", "optimizer", "sgd"),
    "--solver": ("sgd", "solver", "sgd"),
    "--learning-rate": ("0.03", "learning_rate", 0.03),
    "--schedule": ("constant", "schedule", "constant"),
    "--momentum": ("0.75", "momentum", 0.75),
    "--nesterov": (None, "nesterov", True),
    "--average": ("0.3", "average", 0.3),
    "--epochs": ("4", "max_epochs", 4),
    "--batch-size": ("16", "batch_size", 16),
    "--tol": ("1e-9", "tol", 1e-9),
    "--patience": ("3", "n_iter_no_change", 3),
    "--calibrate": (None, "calibrate", True),
    "--threads": ("2", "n_threads", 2),
    "--seed": ("7", "random_state", 7),
    "--hidden": ("9,5", "hidden_layer_sizes", [9, 5]),
}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    kind = np.where(x[:, 0] + rng.normal(size=200) > 0, "p", "q")
    pl.DataFrame(x).with_columns(pl.Series("y", kind)).write_csv(tmp_path / "t.csv")
    return tmp_path


def test_every_parameter_has_an_option():
    of_classifier = set(SoftmaxClassifier().get_params()) - OWN_WAY
    given = {name for _, name, _ in GIVEN.values()} | {"early_stopping"}
    assert of_classifier == given
    everything = Options("t.csv", **dict.fromkeys(("alpha", "l1_ratio", "dropout", "average", "threads", "tol"), 1))
    assert set(everything.parameters()) < of_classifier


def test_the_classifier_gets_what_the_options_say(run, folder):
    arguments = [word for option, (value, *_) in GIVEN.items() for word in (option, value) if word is not None]
    done = run("train", "t.csv", "--label", "y", "--no-report", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    parameters = json.loads((folder / "model" / "model.json").read_text())["content"]["parameters"]
    assert {name: parameters[name] for _, name, _ in GIVEN.values()} == {
        name: value for _, name, value in GIVEN.values()
    }
    assert parameters["early_stopping"] is True


def test_a_temperature_reaches_the_probabilities(run, folder):
    done = run("train", "t.csv", "--label", "y", "--hidden", "none", "--calibrate", "--no-report", cwd=folder)
    assert done.returncode == 0, done.stderr
    temperature = json.loads((folder / "model" / "model.json").read_text())["content"]["record"]["temperature_"]
    assert temperature != 1
    assert run("predict", "model", "t.csv", "--out", "p.csv", cwd=folder).returncode == 0
    from crossent.data import load_trained

    trained = load_trained(folder / "model")
    x = trained.encode(trained.read(folder / "t.csv")).x
    expected = trained.estimator.predict_proba(x)
    assert pl.read_csv(folder / "p.csv").select("p_p", "p_q").to_numpy() == pytest.approx(expected, abs=1e-6)


def test_the_exact_solver_ends_at_the_minimum(run, folder):
    done = run(
        *("train", "t.csv", "--label", "y", "--hidden", "none", "--solver", "exact", "--validation", "0"),
        *("--alpha", "0.01", "--dtype", "float64", "--no-report"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    from sklearn.linear_model import LogisticRegression

    from crossent.data import load_trained

    trained = load_trained(folder / "model")
    dataset = trained.read(folder / "t.csv", label=True)
    x = trained.encode(dataset).x.astype(np.float64)
    # Two classes of opposite weights pay half the penalty of one difference of them.
    peer = LogisticRegression(C=1 / (200 * 0.005), tol=1e-10, max_iter=1000).fit(x, dataset.labels.to_numpy())
    assert trained.estimator.coef_ == pytest.approx(peer.coef_, abs=1e-4)


def test_a_small_linear_model_is_solved_exactly_unless_an_option_is_of_the_descent(run, folder):
    linear = ("train", "t.csv", "--label", "y", "--hidden", "none", "--test", "0.2", "--no-report")
    chosen = run(*linear, cwd=folder)
    assert re.search(r"^solver +exact", chosen.stdout, re.MULTILINE), chosen.stderr
    # No row is held out to choose an epoch by.
    assert "160 rows for training, 40 for test;" in chosen.stdout
    weights = (folder / "model" / "weights.safetensors").read_bytes()
    assert run(*linear, "--solver", "exact", cwd=folder).returncode == 0
    assert (folder / "model" / "weights.safetensors").read_bytes() == weights
    for more in (("--solver", "sgd"), ("--epochs", "3"), ("--optimizer", "adam"), ("--learning-rate", "0.1")):
        done = run(*linear, *more, cwd=folder)
        assert re.search(r"^epochs +\d+", done.stdout, re.MULTILINE), done.stderr
        assert "144 rows for training, 40 for test, 16 for validation;" in done.stdout


def test_a_linear_model_of_many_weights_descends_by_default(run, tmp_path):
    rng = np.random.default_rng(0)
    for features, solver in ((255, "exact"), (256, "sgd")):
        np.savez(tmp_path / "t.npz", X=rng.normal(size=(60, features)), y=np.arange(60) % 2)
        assert run("train", "t.npz", "--hidden", "none", "-q", cwd=tmp_path).returncode == 0
        saved = json.loads((tmp_path / "model" / "model.json").read_text())["content"]["parameters"]
        assert saved["solver"] == solver


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        (("--test", "0.2"), "160 rows for training, 40 for test;"),
        (("--test", "0.2", "--validation", "0.1"), "144 rows for training, 40 for test, 16 for validation;"),
        (("--test", "0.2", "--calibrate"), "144 rows for training, 40 for test, 16 for validation;"),
        ((), "180 rows for training, 20 for validation;"),
    ],
)
def test_the_exact_solver_holds_out_only_rows_that_something_is_done_with(run, folder, more, counts):
    done = run(
        *("train", "t.csv", "--label", "y", "--hidden", "none", "--solver", "exact", "--no-report", *more), cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert counts in done.stdout
