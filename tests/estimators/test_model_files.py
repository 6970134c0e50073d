"""A saved model comes back to the bit, and a broken file says which it is."""

import json
import subprocess
import sys

import numpy as np
import pytest

from crossent import replace_directory
from crossent.errors import DataError
from crossent.estimators import SoftmaxClassifier, load_model, save_model

RNG = np.random.default_rng(0)
Y = RNG.integers(3, size=60)
X = RNG.normal(size=(60, 3)) + np.eye(3)[Y]


def trained(names=("ant", "bee", "cat"), dtype=np.float64, **parameters):
    model = SoftmaxClassifier((4,), max_epochs=5, random_state=0, **parameters)
    return model.fit(X.astype(dtype), np.asarray(names)[Y], validation=(X, np.asarray(names)[Y]))


CLASSES = [
    np.array(["ant", "bee", "übung"]),
    np.array(["ant", "bee", "cat"], dtype=object),
    np.array([-5, 0, 2**60]),
    np.array([3, 4, 5], dtype=np.uint8),
    np.array([1.0, 2.0, 1e9]),
    np.array([1, 2, 3], dtype=np.float32),
    np.array([False, True, True]),
]


@pytest.mark.parametrize("names", CLASSES, ids=lambda names: str(names.dtype))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_model_comes_back_to_the_bit(tmp_path, names, dtype):
    model = trained(names, dtype)
    save_model(tmp_path / "model", model)
    loaded = load_model(tmp_path / "model").estimator
    for predict in ("predict_proba", "predict_log_proba", "decision_function", "predict"):
        before, after = getattr(model, predict)(X), getattr(loaded, predict)(X)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    assert loaded.classes_.dtype == model.classes_.dtype
    assert [type(name) for name in loaded.classes_] == [type(name) for name in model.classes_]
    for name in (
        "loss_curve_",
        "validation_scores_",
        "validation_accuracies_",
        "n_iter_",
        "best_iter_",
        "learning_rate_",
    ):
        assert getattr(loaded, name) == getattr(model, name)


def test_parameters_come_back(tmp_path):
    model = trained([1, 2, 3], class_weight={1: 2.0, np.int64(2): 0.5}, dtype=np.float32, label_smoothing=0.1)
    save_model(tmp_path / "model", model)
    loaded = load_model(tmp_path / "model").estimator
    assert loaded.get_params() == model.get_params() | {"dtype": loaded.dtype}
    again = loaded.fit(X, np.array([1, 2, 3])[Y])
    np.testing.assert_array_equal(again.coefs_[0], model.fit(X, np.array([1, 2, 3])[Y]).coefs_[0])


def test_another_process_predicts_the_same_bits(tmp_path):
    model = trained()
    save_model(tmp_path / "model", model)
    np.save(tmp_path / "x.npy", X)
    code = (
        "import sys, numpy as np; from crossent.estimators import load_model; "
        "model = load_model(sys.argv[1] + '/model').estimator; "
        "np.save(sys.argv[1] + '/p.npy', model.predict_proba(np.load(sys.argv[1] + '/x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), model.predict_proba(X))


def test_feature_names_and_extras_come_back(tmp_path):
    model = SoftmaxClassifier(max_epochs=2, random_state=0)
    import pandas as pd

    model.fit(pd.DataFrame(X, columns=["a", "b", "c"]), Y)
    tensors = {"mean": np.arange(3.0), "codes": np.array([[1, 2]], dtype=np.int32), "fortran": np.asfortranarray(X)}
    extra = {"columns": ["a", "b"], "nested": {"π": [1.5, None, True]}}
    save_model(tmp_path / "model", model, extra_tensors=tensors, extra=extra)
    loaded = load_model(tmp_path / "model")
    assert loaded.estimator.feature_names_in_.tolist() == ["a", "b", "c"]
    assert loaded.extra == extra
    assert loaded.extra_tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(loaded.extra_tensors[name], tensor)
        assert loaded.extra_tensors[name].dtype == tensor.dtype


def test_saving_twice_replaces_and_leaves_nothing_behind(tmp_path):
    save_model(tmp_path / "model", trained())
    (tmp_path / "model" / "report.html").write_text("mine")
    other = trained([7, 8, 9])
    save_model(tmp_path / "model", other)
    assert load_model(tmp_path / "model").estimator.classes_.tolist() == [7, 8, 9]
    assert (tmp_path / "model" / "report.html").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_replacing_works_where_names_cannot_be_swapped(tmp_path, monkeypatch):
    monkeypatch.setattr(replace_directory, "_exchange", lambda one, other: False)
    test_saving_twice_replaces_and_leaves_nothing_behind(tmp_path)


def test_failed_replacement_leaves_the_old_model(tmp_path, monkeypatch):
    save_model(tmp_path / "model", trained())

    def full_disk(path, data):
        raise OSError("No space left on device")

    monkeypatch.setattr(replace_directory, "_write", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_model(tmp_path / "model", trained([7, 8, 9]))
    assert load_model(tmp_path / "model").estimator.classes_.tolist() == ["ant", "bee", "cat"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_directory_that_is_no_model_is_left_alone(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("1")
    with pytest.raises(FileExistsError, match="thesis is a directory without a model"):
        save_model(tmp_path / "thesis", trained())
    with pytest.raises(FileExistsError, match=r"chapter\.txt is a file"):
        save_model(tmp_path / "thesis" / "chapter.txt", trained())
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_empty_directory_and_missing_parents_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    save_model(tmp_path / "empty", trained())
    save_model(tmp_path / "a" / "b" / "model", trained())
    assert load_model(tmp_path / "a" / "b" / "model").estimator.n_iter_ == 5
    assert load_model(str(tmp_path / "empty")).estimator.n_iter_ == 5


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
@pytest.mark.parametrize("harm", ["cut off", "empty", "one byte", "missing", "swapped"])
def test_broken_file_is_named(tmp_path, name, harm):
    save_model(tmp_path / "model", trained())
    save_model(tmp_path / "other", SoftmaxClassifier(max_epochs=1, random_state=0).fit(X, Y))
    path = tmp_path / "model" / name
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "swapped":
        path.write_bytes((tmp_path / "other" / name).read_bytes())
    else:
        middle = len(data) * 2 // 3
        broken = {
            "cut off": data[:middle],
            "empty": b"",
            "one byte": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        }
        path.write_bytes(broken[harm])
    # A whole model.json of another model is told from the weights that it does not fit.
    blamed = "weights.safetensors" if harm == "swapped" else name
    with pytest.raises(DataError, match=blamed.replace(".", r"\.")):
        load_model(tmp_path / "model")


def rewrite(path, change):
    from crossent.estimators import model_files

    document = json.loads(path.read_text())
    change(document)
    document["sha256"]["content"] = model_files.sha256(model_files._canonical(document["content"]))
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(format_version=99),
        lambda document: document.update(format="other"),
        lambda document: document["content"].pop("classes"),
        lambda document: document["content"]["classes"].update(values=["a", "b"]),
        lambda document: document["content"]["parameters"].update(hidden_layer_sizes=[5]),
        lambda document: document["content"]["parameters"].update(hidden_layer_sizes=[4, 4]),
        lambda document: document["content"]["parameters"].update(unheard_of=1),
        lambda document: document["content"]["classes"].update(dtype="no dtype"),
        lambda document: document["content"].update(estimator="Other"),
        lambda document: document["content"].update(feature_names_in=["a"]),
    ],
)
def test_well_formed_file_that_fits_no_model_is_refused(tmp_path, change):
    save_model(tmp_path / "model", trained())
    rewrite(tmp_path / "model" / "model.json", change)
    with pytest.raises(DataError, match=r"model\.json"):
        load_model(tmp_path / "model")


def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path):
    model = trained()
    model.classes_ = np.array([b"a", b"b", b"c"])
    with pytest.raises(TypeError, match="class b'a'"):
        save_model(tmp_path / "model", model)
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_model(tmp_path / "model", trained(), extra={"x": object()})
    with pytest.raises(Exception, match="not fitted"):
        save_model(tmp_path / "model", SoftmaxClassifier())
    assert list(tmp_path.iterdir()) == []


def test_missing_model_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such model directory"):
        load_model(tmp_path / "nowhere")
