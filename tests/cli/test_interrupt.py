"""Ctrl-C ends a training run with the best model so far."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

LONG = ("train", "long.npz", "--hidden", "64", "--epochs", "1000", "--learning-rate", "0.1", "--out", "model")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30000, 20)).astype(np.float32)
    # Labels drawn from a softmax of the features: an early stop for lack of progress is far off at this step size.
    y = (x @ rng.normal(size=(20, 4)) + rng.gumbel(size=(30000, 4))).argmax(axis=1)
    np.savez(tmp_path / "long.npz", X=x, y=y)
    return tmp_path


def start(folder, **options):
    return subprocess.Popen([sys.executable, "-m", "crossent", *LONG], cwd=folder, text=True, **options)


def test_an_interrupted_run_keeps_a_model_that_works(folder, run):
    process = start(folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while "epoch 40/" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "stopped: the best model so far is kept" in said
    assert "Traceback" not in errors
    assert json.loads(run("evaluate", "model", "long.npz", "--json", cwd=folder).stdout)["accuracy"] > 0.4
    assert sorted(path.name for path in folder.iterdir()) == ["long.npz", "model"]


def test_a_run_stopped_before_it_began_leaves_nothing(folder):
    process = start(folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        libraries = Path(f"/proc/{process.pid}/maps")
        while "numpy" not in libraries.read_text() and process.poll() is None:
            time.sleep(0.01)  # Earlier, in the interpreter's own start, Ctrl-C would be answered by that alone.
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (130, -signal.SIGINT)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_on_a_terminal_a_bar_shows_the_epoch_the_loss_and_the_accuracy(folder):
    leader, follower = pty.openpty()
    process = start(folder, stdout=follower, stderr=subprocess.PIPE, stdin=follower)
    os.close(follower)
    shown = b""
    try:
        while b"% right" not in shown:
            shown += os.read(leader, 4096)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                shown += os.read(leader, 4096)
            except OSError:
                break  # the process closed its end
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        os.close(leader)
    assert process.returncode == 130
    assert b"/1000" in shown
    assert b"validation" in shown
    assert b"stopped: the best model so far is kept" in shown
