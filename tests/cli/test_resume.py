"""A run that is killed goes on from its checkpoint, to the bits of a run without a break; or it says why it cannot."""

import shutil
import signal
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

# As often as it can, so that a short run is long enough.
OFTEN = """
import sys
from crossent.cli import main
from crossent.estimators import checkpoints
checkpoints.SECONDS_BETWEEN = 0.0
main(sys.argv[1:])
"""
TRAIN = ("train", "t.csv", "--label", "kind", "--hidden", "32", "--epochs", "60", "--no-report")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resumed")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6000, 5))
    kind = (x @ rng.normal(size=(5, 3)) + rng.gumbel(size=(6000, 3))).argmax(axis=1)
    frame = pl.DataFrame(x, schema=[f"x{i}" for i in range(5)])
    frame.with_columns(pl.Series("kind", [f"k{k}" for k in kind])).write_csv(folder / "t.csv")
    return folder


def killed(folder, out, *arguments, epoch, how=signal.SIGKILL):
    """Begin a run and end it from outside after an epoch."""
    command = [sys.executable, "-c", OFTEN, *TRAIN, "--out", out, *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while f"epoch {epoch}/" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        process.send_signal(how)
        return process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("streamed", ["--no-stream", "--stream"])
def test_a_killed_run_goes_on_to_the_same_bits(run, folder, streamed):
    name = streamed.strip("-")
    whole = run(*TRAIN, "--out", f"whole-{name}", streamed, cwd=folder)
    assert whole.returncode == 0, whole.stderr
    killed(folder, f"cut-{name}", streamed, epoch=24)
    assert not (folder / f"cut-{name}" / "model.json").exists()
    done = run(*TRAIN, "--out", f"cut-{name}", streamed, "--resume", cwd=folder)
    assert done.returncode == 0, done.stderr
    # It did not begin anew.
    assert "epoch 1/60" not in done.stdout
    assert "epoch 60/60" in done.stdout
    models = [folder / f"{what}-{name}" for what in ("whole", "cut")]
    weights = [(model / "weights.safetensors").read_bytes() for model in models]
    assert weights[0] == weights[1]
    assert sorted(path.name for path in models[1].iterdir()) == ["model.json", "weights.safetensors"]


def test_a_stopped_run_keeps_its_model_and_goes_on(run, folder):
    said = killed(folder, "stopped", epoch=24, how=signal.SIGINT)
    assert "stopped: the best model so far is kept; --resume goes on from here" in said
    assert run("evaluate", "stopped", "t.csv", cwd=folder).returncode == 0
    done = run(*TRAIN, "--out", "stopped", "--resume", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/60" not in done.stdout


@pytest.fixture(scope="module")
def cut(folder):
    killed(folder, "cut", epoch=24)
    return folder / "cut"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--epochs", "61"), "--epochs was 60, and is 61 now"),
        (("--momentum", "0.8", "--seed", "3"), "--momentum was None, and is 0.8 now; --seed was 0, and is 3 now"),
        (("--drop", "x3"), "--drop was (), and is ('x3',) now"),
    ],
)
def test_other_options_are_refused_by_name(run, folder, cut, change, told):
    done = run(*TRAIN, "--out", "cut", "--resume", *change, cwd=folder)
    assert done.returncode == 2
    assert done.stderr == f"crossent: error: cut: the unfinished run is another one: {told}\n"
    assert (cut / "unfinished" / "state").is_dir()


def test_changed_data_are_refused(run, folder, cut, tmp_path):
    shutil.copytree(cut, tmp_path / "cut")
    text = (folder / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(text.replace("k1", "k2", 1))
    done = run(*TRAIN, "--out", "cut", "--resume", cwd=tmp_path)
    assert done.returncode == 2
    assert "contents (sha256) was" in done.stderr


def test_without_an_unfinished_run_there_is_nothing_to_resume(run, folder):
    done = run(*TRAIN, "--out", "none", "--resume", cwd=folder)
    assert done.returncode == 2
    assert "none: holds no unfinished run to --resume" in done.stderr
    assert not (folder / "none").exists()


def test_a_run_from_the_start_forgets_the_unfinished_one(run, folder, cut, tmp_path):
    shutil.copytree(cut, tmp_path / "cut")
    shutil.copy(folder / "t.csv", tmp_path)
    done = run(*TRAIN, "--out", "cut", "--epochs", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["model.json", "weights.safetensors"]
