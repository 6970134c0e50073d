"""Jobs under torchrun: the command, and faults in the middle of a run that goes on from its checkpoint."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

JOB = Path(__file__).with_name("job.py")


def torchrun(*arguments, ranks=2, restarts=3, cwd=None):
    # Without the first, restarts may read a dead attempt's addresses.
    environment = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += [f"--max-restarts={restarts}", "--monitor-interval=0.2", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=180)


@contextlib.contextmanager
def small_file_system(path, size):
    """Mount a file system of so many bytes, where this process may."""
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    done = torchrun(JOB, out, "none", restarts=0)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "told.json").read_text()) == {"lives": 1, "left": []}
    return out / "model.npz"


def same(one, other):
    with np.load(one) as a, np.load(other) as b:
        assert a.files == b.files
        assert all(np.array_equal(a[name], b[name]) for name in a.files)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "stop", "raise"])
def test_a_job_with_a_fault_ends_with_the_bits_of_one_without(tmp_path, undisturbed, fault):
    done = torchrun(JOB, tmp_path, fault)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["lives"] >= 2
    assert told["left"] == []
    same(tmp_path / "model.npz", undisturbed)


@pytest.mark.slow
def test_a_full_disk_is_said_and_the_checkpoint_before_is_gone_on_from(tmp_path, undisturbed):
    place = tmp_path / "small"
    with small_file_system(place, 2**20):
        done = torchrun(JOB, place, "full disk", restarts=0)
        assert done.returncode != 0
        assert "No space left on device" in done.stderr
        (place / "filler").unlink()
        sealed = [step for step in (place / "checkpoints").iterdir() if (step / "manifest.json").exists()]
        assert sealed
        done = torchrun(JOB, place, "none", restarts=0)
        assert done.returncode == 0, done.stderr
        same(place / "model.npz", undisturbed)


@pytest.mark.slow
def test_a_directory_that_cannot_be_written_is_said_by_every_rank(tmp_path):
    place = tmp_path / "read-only"
    with small_file_system(place, 2**20):
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        done = torchrun(JOB, place, "none", restarts=0)
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr


@pytest.mark.slow
def test_the_command_trains_on_two_processes_what_it_trains_on_one(tmp_path):
    options = ("digits", "--hidden", "8", "--epochs", "3", "--dtype", "float64", "--test", "0.2")
    alone = [sys.executable, "-m", "crossent", "train", *options, "--out", "one"]
    subprocess.run(alone, cwd=tmp_path, check=True, capture_output=True)
    done = torchrun("-m", "crossent", "train", *options, "--out", "two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test log-loss") == 1
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "model.json",
        "report.html",
        "weights.safetensors",
    ]
    from crossent.data import load_trained

    one, two = (load_trained(tmp_path / name).estimator for name in ("one", "two"))
    for a, b in zip(one.coefs_, two.coefs_, strict=True):
        assert np.abs(a - b).max() <= 1e-9 * np.abs(a).max()
    refused = torchrun("-m", "crossent", "train", "digits", "--stream", cwd=tmp_path, restarts=0)
    assert refused.returncode != 0
    assert refused.stderr.count("--stream = True: expected --no-stream under torchrun") == 1
