"""What ONNX Runtime says of an exported model is what crossent says, to 1e-6."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression

from crossent.cli import main
from crossent.data import load_trained
from crossent.data.onnx_pipeline import OUTPUTS, pipeline_to_onnx
from crossent.errors import DataError
from crossent.estimators import SoftmaxClassifier

onnxruntime = pytest.importorskip("onnxruntime")
from crossent.estimators.onnx_export import to_onnx  # noqa: E402


def run(model, inputs):
    content = model if isinstance(model, (str, bytes)) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(list(OUTPUTS), inputs)


def crossent(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code or 0


NAMES = {
    "str": np.array(["setosa", "versicolor", "virginica"]),
    "object": np.array(["setosa", "versicolor", "virginica"], dtype=object),
    "int": np.array([3, -1, 7]),
    "float": np.array([1.0, 2.0, 4.0]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden", [(), (8, 5)])
@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("classes", [2, 3])
def test_label_and_probabilities_are_the_models(dtype, hidden, names, classes):
    x, y = load_iris(return_X_y=True)
    x, y = x[y < classes].astype(dtype), NAMES[names][y[y < classes]]
    model = SoftmaxClassifier(hidden, random_state=0).fit(x, y)
    label, probabilities = run(to_onnx(model), {"X": x})
    assert probabilities.dtype == dtype
    np.testing.assert_allclose(probabilities, model.predict_proba(x), atol=1e-6)
    np.testing.assert_array_equal(label, model.predict(x))


def test_truth_values_as_classes():
    x, y = load_iris(return_X_y=True)
    model = SoftmaxClassifier(random_state=0).fit(x, y == 1)
    label, _ = run(to_onnx(model), {"X": x})
    assert label.dtype == bool
    np.testing.assert_array_equal(label, model.predict(x))


def test_the_temperature_is_exported():
    x, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier((16,), calibrate=True, random_state=0).fit(x, y)
    assert model.temperature_ != 1
    _, probabilities = run(to_onnx(model), {"X": x})
    np.testing.assert_allclose(probabilities, model.predict_proba(x), atol=1e-6)


def test_a_model_from_scikit_learn_can_go_on_to_onnx():
    x, y = load_iris(return_X_y=True)
    peer = LogisticRegression(max_iter=1000).fit(x, y)
    label, probabilities = run(to_onnx(SoftmaxClassifier.from_sklearn(peer)), {"X": x})
    np.testing.assert_allclose(probabilities, peer.predict_proba(x), atol=1e-6)
    np.testing.assert_array_equal(label, peer.predict(x))


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A table with every kind of column, as a file, and a model trained on it by the command."""
    folder = tmp_path_factory.mktemp("pets")
    rng = np.random.default_rng(7)
    n = 400
    kind = rng.choice(["cat", "dog", "bird"], n)
    weight = np.where(kind == "dog", 20.0, np.where(kind == "cat", 4.0, 0.1)) * rng.uniform(0.5, 1.5, n)
    home = np.where(rng.random(n) < 0.1, None, np.where(kind == "bird", "cage", rng.choice(["flat", "house"], n)))
    rare = rng.choice([f"place {at}" for at in range(80)], n)
    frame = pl.DataFrame(
        {
            "weight": [None if rng.random() < 0.1 else float(w) for w in weight],
            "legs": np.where(kind == "bird", 2, 4),
            "home": home.tolist(),
            "place": rare,
            "indoor": (kind != "dog").tolist(),
            "kind": kind,
        }
    )
    frame.write_csv(folder / "pets.csv")
    arguments = ["train", folder / "pets.csv", "--label", "kind", "--out", folder / "model", "--seed", "0"]
    assert crossent(*arguments) == 0
    return folder


def columns_of(trained, frame):
    """Return a table as the exported model takes it."""
    inputs = {}
    for column in trained.encoder.columns:
        series = frame[column.name]
        if hasattr(column, "mean"):
            values = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        else:
            values = np.array(series.cast(pl.String).fill_null("").to_list(), dtype=object)
        inputs[column.name] = values[:, None]
    return inputs


def test_the_command_exports_a_table_with_its_preprocessing(pets):
    assert crossent("export", pets / "model", "--onnx", pets / "model.onnx") == 0
    trained = load_trained(pets / "model")
    frame = pl.read_csv(pets / "pets.csv")
    # And what training never saw: an unknown category, a missing one, a missing number.
    odd = frame[:3].with_columns(
        pl.Series("home", ["tent", None, "flat"]),
        pl.Series("place", ["nowhere", None, "place 1"]),
        pl.Series("weight", [None, 1e6, 0.0]),
    )
    odd.write_csv(pets / "odd.csv")
    for name, table in (("pets.csv", frame), ("odd.csv", odd)):
        label, probabilities = run(str(pets / "model.onnx"), columns_of(trained, table))
        logits = trained.logits(pets / name)
        expected = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected /= expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probabilities, expected, atol=1e-6)
        assert label.tolist() == [trained.classes[at] for at in logits.argmax(axis=1)]


def test_the_metadata_say_what_goes_in(pets):
    model = pipeline_to_onnx(load_trained(pets / "model"))
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(notes["classes"]) == ["bird", "cat", "dog"]
    assert json.loads(notes["inputs"])["weight"] == "number, NaN where missing"
    assert json.loads(notes["inputs"])["home"] == "category, empty where missing"


def test_a_model_of_images_takes_pixels(tmp_path):
    assert crossent("train", "digits", "--out", tmp_path / "model", "--seed", "0") == 0
    assert crossent("export", tmp_path / "model", "--onnx", tmp_path / "digits.onnx") == 0
    trained = load_trained(tmp_path / "model")
    data = trained.read("digits")
    _, probabilities = run(str(tmp_path / "digits.onnx"), {"X": data.features.astype(np.float32)})
    logits = trained.logits("digits")
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)


def test_a_column_with_the_name_of_an_output_is_refused(pets):
    from dataclasses import replace

    trained = load_trained(pets / "model")
    first = replace(trained.encoder.columns[0], name="label")
    clash = replace(trained, encoder=replace(trained.encoder, columns=(first, *trained.encoder.columns[1:])))
    with pytest.raises(DataError, match="column 'label': has the name of an output"):
        pipeline_to_onnx(clash)


def test_an_unwritable_place_leaves_nothing(pets, capsys):
    assert crossent("export", pets / "model", "--onnx", pets / "nowhere" / "model.onnx") == 2
    assert "there is no folder" in capsys.readouterr().err


def test_without_onnx_the_message_says_what_to_install(pets):
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from crossent.cli import main\n"
        f"main(['export', {str(pets / 'model')!r}, '--onnx', {str(pets / 'no.onnx')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'crossent[onnx]'" in done.stderr
    assert not (pets / "no.onnx").exists()
