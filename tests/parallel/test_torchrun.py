"""Jobs under torchrun: the command, and faults in the middle of a run that goes on from its checkpoint."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

JOB = Path(__file__).with_name("job.py")


def launched(*arguments, ranks=2, restarts=3, **more):
    # Without the first, restarts may read a dead attempt's addresses.
    environment = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += [f"--max-restarts={restarts}", "--monitor-interval=0.2", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0, **more
    )


def torchrun(*arguments, **more):
    job = launched(*arguments, **more)
    out, err = ended(job)
    return subprocess.CompletedProcess(job.args, job.returncode, out, err)


def ended(job, timeout=180):
    try:
        return job.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        job.terminate()  # which it hands on to its ranks
        job.communicate(timeout=60)
        raise


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


def test_ctrl_c_stops_all_ranks_at_one_step_with_the_model_so_far(tmp_path):
    job = launched(JOB, tmp_path, "interrupt", restarts=0)
    deadline = time.monotonic() + 120
    while not (tmp_path / "ready").exists() and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    job.send_signal(signal.SIGINT)
    err = ended(job)[1]
    assert (tmp_path / "interrupted-0.npz").exists(), err
    same(tmp_path / "interrupted-0.npz", tmp_path / "interrupted-1.npz")
    assert any((step / "manifest.json").exists() for step in (tmp_path / "checkpoints").iterdir())


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
