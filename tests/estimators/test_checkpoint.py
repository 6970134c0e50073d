"""A run that is broken off goes on from its checkpoint, in another process too, to the same bits."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits

from crossent.errors import DataError
from crossent.estimators import SoftmaxClassifier, checkpoints
from crossent.stored import sha256


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


def stop_at(epoch):
    def callback(event):
        if event.epoch == epoch and event.kind == "batches":
            raise KeyboardInterrupt

    return callback


def assert_same_bits(one, other):
    for a, b in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        assert a.tobytes() == b.tobytes()
    assert one.loss_curve_ == other.loss_curve_
    assert one.validation_scores_ == other.validation_scores_
    assert (one.n_iter_, one.best_iter_, one.learning_rate_) == (other.n_iter_, other.best_iter_, other.learning_rate_)


RUNS = {
    "linear": {},
    "network": {"hidden_layer_sizes": (16,), "dropout": 0.2},
    "Adam": {"optimizer": "adam"},
    "schedule-free": {"optimizer": "schedule-free"},
    "averaged": {"schedule": "constant", "average": 0.9},
    "early stopping": {"hidden_layer_sizes": (16,), "early_stopping": True, "n_iter_no_change": 2, "calibrate": True},
    "halved": {"hidden_layer_sizes": (16,), "learning_rate": 1e3},
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("parameters", RUNS.values(), ids=RUNS.keys())
def test_interrupted_run_goes_on_to_the_same_bits(digits, tmp_path, parameters):
    parameters = {"max_epochs": 12, "random_state": 0} | parameters
    whole = SoftmaxClassifier(**parameters).fit(*digits)
    for epoch in (4, 9):
        broken = SoftmaxClassifier(**parameters, checkpoint=tmp_path / "run", callbacks=[stop_at(epoch)])
        with pytest.raises(KeyboardInterrupt):
            broken.fit(*digits)
        assert {path.name for path in (tmp_path / "run").iterdir()} == {"state.json", "state.safetensors"}
    resumed = SoftmaxClassifier(**parameters, checkpoint=tmp_path / "run")
    epochs = []
    resumed.set_params(callbacks=[lambda event: epochs.append(event.epoch)]).fit(*digits)
    assert epochs[0] == 9
    assert_same_bits(resumed, whole)
    assert resumed.temperature_ == whole.temperature_
    assert not (tmp_path / "run").exists()


PROGRAM = """
import sys, numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits
from crossent.estimators import SoftmaxClassifier, checkpoints, save_model
checkpoints.SECONDS_BETWEEN = 0.0
x, y = load_digits(return_X_y=True)
def tell(event):
    if event.kind == "epoch":
        print(event.epoch, flush=True)
        if event.epoch == 5:
            sys.stdin.readline()
model = SoftmaxClassifier((8,), max_epochs=9, random_state=3, checkpoint=sys.argv[1], callbacks=[tell])
model.fit((x / 16).astype(np.float32), y)
save_model(sys.argv[2], model)
"""


def test_killed_process_is_continued_by_another(digits, tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run"), str(tmp_path / "model")]
    killed = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert [int(killed.stdout.readline()) for _ in range(5)] == [1, 2, 3, 4, 5]
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "model").exists()
    done = subprocess.run(command, input="\n", capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["6", "7", "8", "9"]
    from crossent.estimators import load_model

    whole = SoftmaxClassifier((8,), max_epochs=9, random_state=3).fit(*digits)
    assert_same_bits(load_model(tmp_path / "model").estimator, whole)


@pytest.fixture
def broken_off(digits, tmp_path):
    model = SoftmaxClassifier(max_epochs=8, random_state=0, checkpoint=tmp_path / "run", callbacks=[stop_at(3)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(*digits)
    return model.set_params(callbacks=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0.5}, "alpha was .auto., and is 0.5 now"),
        ({"max_epochs": 9}, "max_epochs was 8, and is 9 now"),
        ({"random_state": 1}, "random_state was 0, and is 1 now"),
    ],
)
def test_other_parameters_are_refused_by_name(digits, broken_off, change, message):
    with pytest.raises(DataError, match=message):
        broken_off.set_params(**change).fit(*digits)


def test_other_data_are_refused_by_name(digits, broken_off):
    x, y = digits
    changed = x.copy()
    changed[1000, 3] += 1
    with pytest.raises(DataError, match="X was"):
        broken_off.fit(changed, y)
    with pytest.raises(DataError, match="y was"):
        broken_off.fit(x, np.roll(y, 1))
    with pytest.raises(DataError, match="sample_weight was"):
        broken_off.fit(x, y, np.ones(len(y)))
    with pytest.raises(DataError, match="validation was None"):
        broken_off.fit(x, y, validation=(x, y))


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("harm", ["cut off", "one byte", "missing"])
def test_damaged_checkpoint_is_named(digits, broken_off, tmp_path, name, harm):
    path = tmp_path / "run" / name
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        middle = len(data) // 2
        path.write_bytes(data[:middle] + (bytes([data[middle] ^ 64]) + data[middle + 1 :]) * (harm == "one byte"))
    with pytest.raises(DataError):
        broken_off.fit(*digits)


def replaced(part, name, value):
    return lambda values: values[part].update({name: value})


@pytest.mark.parametrize(("change", "message"), [
    (replaced("result", "loss_curve", ""), r"the stored result has loss_curve = ''"),
    (replaced("result", "loss_curve", [1.0, "2"]), r"the stored result has loss_curve = \"\[1.0, '2'\]\""),
    (replaced("result", "n_epochs", 2.5), r"the stored result has n_epochs = '2.5': expected one like 0"),
    (replaced("run", "epoch", True), r"the stored run has epoch = 'True'"),
    (replaced("run", "rate", "fast"), r"the stored run has rate = 'fast'"),
    (replaced("best", "loss", float("nan")), r"the stored best has loss = 'nan'"),
    (replaced("rng", "bit_generator", "MT19937"), r"the stored state does not fit this run"),
    (lambda values: values.pop("falling"), r"the stored state does not fit this run \(KeyError\('falling'\)\)"),
    (lambda values: values["optimizer"].pop("steps"), r"KeyError\('steps'\)"),
])  # fmt: skip
def test_a_state_that_no_run_has_is_refused_by_name(digits, broken_off, tmp_path, change, message):
    path = tmp_path / "run" / "state.json"
    state = json.loads(path.read_text())
    change(state["values"])
    path.write_text(json.dumps(state))
    with pytest.raises(DataError, match=message):
        broken_off.fit(*digits)


@pytest.mark.parametrize(("change", "message"), [
    (lambda arrays: arrays.update(theta=arrays["theta"][1:]), "the stored array 'theta' is float32 of shape"),
    (lambda arrays: arrays.update(good=arrays["good"].astype(np.float64)), "the stored array 'good' is float64"),
    (lambda arrays: arrays["state"].fill(np.inf), "the stored array 'state' holds a number that is not finite"),
    (lambda arrays: arrays.pop("epoch_start"), "the stored state does not fit this run"),
])  # fmt: skip
def test_arrays_that_no_run_has_are_refused_by_name(digits, broken_off, tmp_path, change, message):
    arrays, document = tmp_path / "run" / "state.safetensors", tmp_path / "run" / "state.json"
    stored = {name: array.copy() for name, array in load_file(arrays).items()}
    change(stored)
    save_file(stored, arrays)
    whole = json.loads(document.read_text()) | {"sha256": sha256(arrays.read_bytes())}
    document.write_text(json.dumps(whole))
    with pytest.raises(DataError, match=message):
        broken_off.fit(*digits)


def test_directory_of_something_else_is_left_alone(digits, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("1")
    with pytest.raises(DataError, match="holds other files"):
        SoftmaxClassifier(checkpoint=tmp_path / "thesis").fit(*digits)
    with pytest.raises(DataError, match="is a file"):
        SoftmaxClassifier(checkpoint=tmp_path / "thesis" / "chapter.txt").fit(*digits)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "1"


def test_error_in_a_callback_leaves_a_checkpoint(digits, tmp_path):
    def fail(event):
        if event.epoch == 3:
            raise ZeroDivisionError

    model = SoftmaxClassifier(max_epochs=5, random_state=0, checkpoint=tmp_path / "run", callbacks=[fail])
    with pytest.raises(ZeroDivisionError):
        model.fit(*digits)
    assert checkpoints.is_checkpoint(tmp_path / "run")
    model.set_params(callbacks=None).fit(*digits)
    assert_same_bits(model, SoftmaxClassifier(max_epochs=5, random_state=0).fit(*digits))


def test_unseeded_run_is_continued_with_its_own_draws(digits, tmp_path):
    state = np.random.default_rng(5)
    whole = SoftmaxClassifier(max_epochs=6, early_stopping=True, random_state=np.random.default_rng(5)).fit(*digits)
    model = SoftmaxClassifier(max_epochs=6, early_stopping=True, random_state=state, checkpoint=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[stop_at(3)]).fit(*digits)
    assert_same_bits(model.set_params(callbacks=None, random_state=np.random.default_rng(99)).fit(*digits), whole)
