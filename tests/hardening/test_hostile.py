"""Files made to do harm: none runs code, each gets an error of one line, soon and in little memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load, save

from crossent.data import TrainedModel, load_trained, read_dataset, save_trained
from crossent.data.encoder import TableEncoder
from crossent.errors import DataError
from crossent.estimators import SoftmaxClassifier, load_model, save_model
from crossent.estimators.checkpoints import CheckpointDirectory
from crossent.stored import read_bytes, read_json, sha256

X, Y = np.eye(3), np.arange(3)


class Touch:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def model(tmp_path):
    save_model(tmp_path / "model", SoftmaxClassifier(max_epochs=1, random_state=0).fit(X, Y))
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def trap(tmp_path):
    """Where a pickle that was loaded leaves its trace."""
    path = tmp_path / "code-ran"
    yield path
    assert not path.exists()


def refused(read, *arguments, megabytes=32):
    """Return the message of the one clear error that a reader gives within seconds and some memory."""
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises((DataError, OSError)) as caught:
        read(*arguments)
    took, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert len(message) <= 4003
    assert took < 5, f"took {took:.1f} s"
    assert peak < megabytes << 20
    return message


def reseal(folder, change=None, weights=None):
    """Alter a model and make its checksums right again."""
    path = folder / "model.json"
    document = json.loads(path.read_text())
    if change is not None:
        change(document["content"])
    if weights is not None:
        (folder / "weights.safetensors").write_bytes(weights)
        document["sha256"]["weights.safetensors"] = sha256(weights)
    text = json.dumps(document["content"], sort_keys=True)
    document["sha256"]["content"] = sha256(text.encode())
    path.write_text(json.dumps(document))


def test_the_trap_works(trap):
    pickle.loads(pickle.dumps(Touch(trap)))
    assert trap.exists()
    trap.rmdir()


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_pickle_disguised_as_a_model(model, trap, name):
    attack = pickle.dumps(Touch(trap))
    if name == "model.json":
        (model / name).write_bytes(attack)
    else:
        reseal(model, weights=attack)
    assert name in refused(load_model, model)


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_a_pickle_disguised_as_a_checkpoint(tmp_path, trap, name):
    attack = pickle.dumps(Touch(trap))
    state = {"format": "crossent-checkpoint", "format_version": 1, "run": {}, "values": {}, "sha256": sha256(attack)}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.json").write_text(json.dumps(state))
    (tmp_path / "run" / "state.safetensors").write_bytes(attack)
    (tmp_path / "run" / name).write_bytes(attack)
    assert name in refused(CheckpointDirectory, tmp_path / "run", {}, np.random.default_rng(0))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arrow", "npz", "libsvm", "csv.gz"])
@pytest.mark.parametrize("kind", ["pickle", "empty", "one byte", "nothing but zeros"])
def test_a_table_that_is_none(tmp_path, trap, suffix, kind):
    attacks = {"pickle": pickle.dumps(Touch(trap)), "empty": b"", "one byte": b"\x80", "nothing but zeros": bytes(5000)}
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(attacks[kind])
    assert path.name in refused(read_dataset, path)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arrow", "npz", "libsvm"])
def test_a_folder_in_the_place_of_a_file(tmp_path, suffix):
    (tmp_path / f"rows.{suffix}").mkdir()
    assert "is a folder" in refused(read_dataset, tmp_path / f"rows.{suffix}")


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
@pytest.mark.parametrize("kind", ["a folder", "one byte", "empty", "a link to nothing", "a link round itself"])
def test_a_model_with_something_else_in_it(model, name, kind):
    path = model / name
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind.startswith("a link"):
        path.symlink_to(path if "itself" in kind else model / "nothing")
    else:
        path.write_bytes(b"{"[: kind == "one byte"])
    assert name in refused(load_model, model)


def test_a_link_in_a_model_leads_to_no_other_files_content(model, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("root:x:0:0")
    for name in ("model.json", "weights.safetensors"):
        whole = (model / name).read_bytes()
        (model / name).unlink()
        (model / name).symlink_to(secret)
        assert "root:x" not in refused(load_model, model)
        (model / name).unlink()
        (model / name).write_bytes(whole)


def test_an_object_array_in_an_npz(tmp_path, trap):
    for name in ("X", "y"):
        arrays = {"X": np.eye(2), "y": np.arange(2)} | {name: np.array([Touch(trap)] * 2, dtype=object)}
        np.savez(tmp_path / "a.npz", **arrays)
        assert "never unpickled" in refused(read_dataset, tmp_path / "a.npz")


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("name", ["../escaped.npy", "/tmp/escaped.npy", "X.npy/../../escaped.npy"])
def test_a_member_of_an_npz_that_names_a_place_elsewhere(tmp_path, name):
    path = tmp_path / "folder" / "a.npz"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, npy(np.eye(2)))
    before = set(tmp_path.rglob("*"))
    refused(read_dataset, path)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(9223372036854775807, 2)", "(-1, 2)", "(0, 1000000000000)"])
def test_an_npz_whose_header_asks_for_memory(tmp_path, shape):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", data)
    assert "a.npz" in refused(read_dataset, tmp_path / "a.npz")


def tensors(header, data=b""):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


HEADERS = {
    "10^5 entries": tensors({f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(10**5)}),
    "a length of 2^63": (2**63).to_bytes(8, "little") + b"{}",
    "an enormous shape": tensors({"coefs.0": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 8]}}, bytes(8)),
    "parts that overlap": tensors(
        {n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in ("coefs.0", "intercepts.0")}, bytes(8)
    ),
    "a type that NumPy lacks": tensors(
        {"coefs.0": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "deep nesting": len(b"[" * 10**5).to_bytes(8, "little") + b"[" * 10**5,
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_safetensors_header_made_to_do_harm(model, kind):
    reseal(model, weights=HEADERS[kind])
    refused(load_model, model, megabytes=200)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["coefs.0", "intercepts.0"])
def test_a_weight_that_is_not_finite(model, name, value):
    from safetensors.numpy import load, save

    found = load((model / "weights.safetensors").read_bytes())
    found[name].flat[0] = value
    reseal(model, weights=save(found))
    assert "not finite" in refused(load_model, model)


CHANGES = {
    "NaN": lambda content: content["record"].update(temperature_=float("nan")),
    "10^400": lambda content: content["record"].update(temperature_=10**400),
    "no temperature": lambda content: content["record"].update(temperature_=0),
    "text of a gigabyte": lambda content: content["classes"].update(dtype="<U999999999", values=["a", "b", "c"]),
    "objects of another kind": lambda content: content["classes"].update(dtype="O", values=[["a"], ["b"], ["c"]]),
    "dates": lambda content: content["classes"].update(dtype="M8[ns]"),
    "2^31 threads": lambda content: content["parameters"].update(n_threads=2.5),
    "another class's callbacks": lambda content: content["parameters"].update(callbacks=["os.system"]),
    "10^9 units": lambda content: content["parameters"].update(hidden_layer_sizes=[10**9]),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_model_whose_values_do_harm(model, kind):
    reseal(model, CHANGES[kind])
    assert "model.json" in refused(load_model, model)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What `crossent train` writes of a table with a number, a category and a text."""
    folder = tmp_path_factory.mktemp("trained")
    path = folder / "rows.csv"
    path.write_text("height,colour,note\n1.5,red,long ago\n2.5,blue,\n,red,now\n3.5,blue,then and now\n")
    rows = read_dataset(path)
    encoder = TableEncoder.fit(rows, text=("note",), text_features=4)
    estimator = SoftmaxClassifier(max_epochs=1, random_state=0).fit(encoder.transform(rows).x, [0, 1, 0, 1])
    model = TrainedModel(estimator, encoder, ["a", "b"], "kind", np.array([0.5, 0.5]), "rows")
    save_trained(folder / "model", model)
    return folder / "model"


def column(k, **values):
    return lambda extra: extra["encoder"]["columns"][k].update(values)


@pytest.mark.parametrize(("change", "message"), [
    (lambda extra: extra.update(format=1), "was written in format 1: expected 2"),
    (lambda extra: extra.update(classes=["a", "b", "c"]), "there are names or frequencies of 3 classes, expected 2"),
    (lambda extra: extra.update(classes="ab"), "ab: expected a list of names"),
    (lambda extra: extra.update(ignored=[1]), "[1]: expected a list of names"),
    (lambda extra: extra.update(label=["kind"]), "['kind']: expected the name of the label's column"),
    (lambda extra: extra.pop("missing"), "KeyError('missing')"),
    (lambda extra: extra["encoder"]["columns"].pop(), "features, the classifier takes"),
    (lambda extra: extra.update(encoder={"kind": "sparse", "n_features": 3}), "the encoder makes 3 features"),
    (lambda extra: extra.update(encoder={"kind": "sparse", "n_features": 8.5}), "TypeError"),
    (lambda extra: extra.update(encoder={"kind": "images", "shape": [2, 4], "largest": 0}), "the largest pixel is 0"),
    (lambda extra: extra["encoder"].update(kind="tree", columns=[{"kind": "tree"}]), "KeyError('tree')"),
    (column(0, std=0.0), "the encoder's column 'height' is none that training makes"),
    (column(0, mean="2"), "the encoder's column 'height' is none that training makes"),
    (column(0, marks_missing=1), "the encoder's column 'height' is none that training makes"),
    (column(0, name=7), "the encoder's column 7 is none that training makes"),
    (column(1, levels=["red", "red"]), "the encoder's column 'colour' is none that training makes"),
    (column(1, levels=["red", 2]), "the encoder's column 'colour' is none that training makes"),
    (column(1, has_other="no"), "the encoder's column 'colour' is none that training makes"),
    (column(2, n_features=-4), "the encoder's column 'note' is none that training makes"),
])  # fmt: skip
def test_parts_of_a_trained_model_that_do_not_fit_are_refused(trained, tmp_path, change, message):
    shutil.copytree(trained, tmp_path / "model")
    reseal(tmp_path / "model", lambda content: change(content["extra"]))
    assert message in refused(load_trained, tmp_path / "model").replace('"', "'").replace("\\'", "'")
    assert load_trained(trained).classes == ["a", "b"]


@pytest.mark.parametrize("frequencies", [[0.5, np.nan], [1.5, -0.5], [1.0], [[0.5], [0.5]]])
def test_frequencies_that_are_none_are_refused(trained, tmp_path, frequencies):
    shutil.copytree(trained, tmp_path / "model")
    tensors = load(read_bytes(trained / "weights.safetensors"))
    tensors["extra.frequencies"] = np.array(frequencies)
    shape = {"extra.frequencies": list(np.shape(frequencies))}
    reseal(tmp_path / "model", lambda content: content["shapes"].update(shape), save(tensors))
    assert "frequenc" in refused(load_trained, tmp_path / "model")


@pytest.mark.parametrize("text", ["[" * 10**6, '{"a":' * 10**5, "1" * 10**5, '"\\ud800"', "\ufeff{}", "NaN"])
def test_json_made_to_do_harm(model, text):
    (model / "model.json").write_text(text)
    assert "model.json" in refused(load_model, model)
    assert "model.json" in refused(load_trained, model)


@pytest.mark.parametrize("text", [b'{"a": "\\uD800"}', b'{"a": ["\\udfff"]}', b'{"a": "\xed\xa0\x80"}'])
def test_half_of_a_surrogate_pair_is_no_text(tmp_path, text):
    (tmp_path / "model.json").write_bytes(text)
    assert "is no JSON" in refused(read_json, tmp_path / "model.json")
    (tmp_path / "model.json").write_bytes(b'{"a": "\\ud83d\\ude00"}')
    assert read_json(tmp_path / "model.json") == {"a": "\U0001f600"}


@pytest.mark.parametrize("value", ["1e308", "-1e308", "1e309", "inf", "NaN"])
def test_numbers_at_the_end_of_the_range_are_told_or_taken(tmp_path, value):
    path = tmp_path / "rows.csv"
    path.write_text(f"x,y\n1,2\n{value},3\n-1e308,4\n")

    def fit():
        dataset = read_dataset(path)
        return TableEncoder.fit(dataset).transform(dataset).x

    if value in ("NaN", "1e308"):
        assert np.isfinite(fit()).all()
    else:
        assert "column 'x'" in refused(fit)
