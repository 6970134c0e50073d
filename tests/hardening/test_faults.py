"""Whichever call fails while something is saved, the last good one loads, and nothing else is left."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
import warnings

import numpy as np
import polars as pl
import pytest
from hardening.faults import each_fault

from crossent.errors import DataError
from crossent.estimators import SoftmaxClassifier, load_model, save_model
from crossent.estimators.checkpoints import CheckpointDirectory
from crossent.training.state import Snapshot

X, Y = np.eye(3), np.arange(3)
CODES = (errno.ENOSPC, errno.EIO)
ROUNDS = int(os.environ.get("CROSSENT_TEST_KILLS", "50"))


def fitted(names):
    return SoftmaxClassifier(max_epochs=1, random_state=0).fit(X, np.array(names))


OLD, NEW = fitted(["a", "b", "c"]), fitted(["d", "e", "f"])


def first_class(folder):
    return str(load_model(folder).estimator.classes_[0])


def age(folder):
    """Make what lies in a folder, hidden, old enough to be taken for left over."""
    for path in folder.glob(".*"):
        os.utime(path, (0, 0))


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("is_there", [True, False], ids=["replaced", "new"])
def test_a_model_survives_every_failure(tmp_path, code, is_there):
    failures = 0
    for call, problem in each_fault(lambda: save_model(tmp_path / "model", NEW), code):
        failures += problem is not None
        if is_there or (tmp_path / "model").exists():
            assert first_class(tmp_path / "model") in "ad", call
        if problem is None:
            assert first_class(tmp_path / "model") == "d", call
        assert visible(tmp_path) in ([], ["model"])
        # Only a failure of deleting itself may leave something, which the next save deletes.
        left = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
        assert not left or call in ("unlink", "rmdir", "open"), (call, left)
        age(tmp_path)
        save_model(tmp_path / "model", OLD)
        assert [path.name for path in tmp_path.iterdir()] == ["model"], call
        assert first_class(tmp_path / "model") == "a"
        if not is_there:
            shutil.rmtree(tmp_path / "model")
    assert failures > 8


def test_what_lies_beside_a_model_survives_every_failure(tmp_path):
    save_model(tmp_path / "model", OLD)
    (tmp_path / "model" / "report.html").write_text("mine")
    for call, _ in each_fault(lambda: save_model(tmp_path / "model", NEW), errno.EIO):
        age(tmp_path)
        save_model(tmp_path / "model", OLD)
        assert (tmp_path / "model" / "report.html").read_text() == "mine", call
        assert [path.name for path in tmp_path.iterdir()] == ["model"], call


def snapshot(value):
    return Snapshot({"theta": np.full(4, value)}, {"optimizer": {"steps": int(value)}})


def reopened(folder):
    return CheckpointDirectory(folder, {"what": "this"}, np.random.default_rng(0))


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_checkpoint_survives_every_failure(tmp_path, code):
    keeper = reopened(tmp_path / "run")
    keeper.offer(lambda: snapshot(1.0))
    keeper.flush()
    newer = reopened(tmp_path / "run")
    newer.offer(lambda: snapshot(2.0))
    for call, problem in each_fault(newer.flush, code):
        found = reopened(tmp_path / "run").load().values["optimizer"]["steps"]
        assert found in (1, 2), call
        assert problem is not None or found == 2
        assert visible(tmp_path) == ["run"]
        age(tmp_path)
        keeper.flush()
        assert [path.name for path in tmp_path.iterdir()] == ["run"], call
    for call, problem in each_fault(reopened(tmp_path / "run").finish, code):
        if (tmp_path / "run").exists() and problem is not None:
            # A state without its arrays would be an error: it is whole, or gone.
            found = step_of(tmp_path / "run")
            assert found in (None, 1), call
        keeper.flush()


def step_of(folder):
    stored = reopened(folder).load()
    return None if stored is None else stored.values["optimizer"]["steps"]


@pytest.fixture
def one_rank():
    from hardening.targets import one_rank

    ranks = one_rank()
    yield ranks
    # Tests of what a process without a group is told come later.
    import torch.distributed as dist

    dist.destroy_process_group()


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_sharded_checkpoint_survives_every_failure(tmp_path, code, one_rank):
    from crossent.estimators.spread_checkpoints import SpreadCheckpoints

    def keeper():
        return SpreadCheckpoints(tmp_path / "run", {"what": "this"}, np.random.default_rng(0), one_rank)

    keeper()._write(snapshot(1.0))
    writer = keeper()
    tried, newest = 1, 1

    def write():
        nonlocal tried
        tried += 1
        writer._write(snapshot(float(tried)))

    for call, problem in each_fault(write, code):
        found = keeper().load().values["optimizer"]["steps"]
        assert problem is not None or found == tried, call
        assert found >= newest
        newest = found
    keeper().finish()
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("kind", ["predictions", "report"])
def test_a_file_of_results_survives_every_failure(tmp_path, code, kind):
    from crossent.cli.predict import write_frames
    from crossent.data.files import whole_or_nothing

    path = tmp_path / ("rows.csv" if kind == "predictions" else "report.html")
    path.write_text("old")

    def save():
        with whole_or_nothing(path) as temporary:
            if kind == "predictions":
                write_frames(iter([pl.DataFrame({"x": [1, 2]})]), temporary, as_csv=True)
            else:
                temporary.write_text("x\n1\n2\n", encoding="utf-8")

    for call, problem in each_fault(save, code):
        assert path.read_text() == ("x\n1\n2\n" if problem is None else "old"), call
        path.write_text("old")
        age(tmp_path)
        with whole_or_nothing(path) as temporary:
            temporary.write_text("old")
        assert [one.name for one in tmp_path.iterdir()] == [path.name], call


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_model(small_disk):
    save_model(small_disk / "model", OLD)
    with pytest.raises(OSError, match="No space left"):
        save_model(small_disk / "model", NEW, extra_tensors={"much": np.zeros(10**5)})
    assert first_class(small_disk / "model") == "a"
    assert [path.name for path in small_disk.iterdir()] == ["model"]
    save_model(small_disk / "model", NEW)
    assert first_class(small_disk / "model") == "d"


def test_a_process_killed_while_it_saves_leaves_a_good_model(tmp_path, rng):
    """CROSSENT_TEST_KILLS=500 kills so often."""
    save_model(tmp_path / "model", OLD)
    (tmp_path / "model" / "report.html").write_text("mine")
    seen, interrupted = set(), 0
    for _ in range(ROUNDS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the child of a process with threads saves with one
            child = os.fork()
        if child == 0:
            try:
                while True:
                    save_model(tmp_path / "model", NEW)
                    save_model(tmp_path / "model", OLD)
            finally:
                os._exit(1)
        time.sleep(float(rng.uniform(0.001, 0.03)))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        seen.add(first_class(tmp_path / "model"))
        interrupted += len(list(tmp_path.iterdir())) > 1
        age(tmp_path)
    assert seen <= {"a", "d"}
    assert interrupted, "no kill came while a model was being saved"
    save_model(tmp_path / "model", NEW)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert first_class(tmp_path / "model") == "d"
    assert (tmp_path / "model" / "report.html").read_text() == "mine"


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    from crossent.leftovers import in_use

    save_model(tmp_path / "model", OLD)
    other = tmp_path / ".model.0123abcd"
    other.mkdir()
    with in_use(other):
        age(tmp_path)
        save_model(tmp_path / "model", NEW)
        assert other.is_dir()
    save_model(tmp_path / "model", OLD)
    assert not other.exists()


def test_the_faults_are_not_swallowed(tmp_path):
    """Each failure but those of cleaning up reaches the caller."""
    told = {}
    for call, problem in each_fault(lambda: save_model(tmp_path / "model", NEW), errno.EIO):
        told[call] = problem
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
    assert {"mkdir", "write", "fsync", "rename", "open"} <= told.keys()
    assert all(isinstance(told[call], OSError) for call in ("mkdir", "write", "fsync", "rename"))
    assert not issubclass(DataError, OSError)
