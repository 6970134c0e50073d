"""A training job as torchrun starts it, with one fault in its first life: ``job.py OUT FAULT``."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch.distributed as dist
from sklearn.datasets import load_digits

from crossent.estimators import SoftmaxClassifier, spread_checkpoints
from crossent.ranks import closing_group

FAULTY, EPOCH = 1, 4


def main(out, fault):
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    life = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    spread_checkpoints.SECONDS_BETWEEN = 0.0
    faulty = life == 0 and rank == FAULTY

    def break_down(event):
        if faulty and event.kind == "epoch" and event.epoch == EPOCH:
            break_in_a_way(fault)

    if faulty and fault == "full disk":
        fill_the_disk(out)

    def say_ready(event):
        if event.kind == "epoch" and event.epoch == EPOCH and rank == 0:
            (out / "ready").touch()

    meet(out, life, rank, size)
    with closing_group():
        dist.init_process_group("gloo", timeout=timedelta(seconds=5))
        x, y = load_digits(return_X_y=True)
        model = SoftmaxClassifier(
            (16,),
            max_epochs=100_000 if fault == "interrupt" else 8,
            random_state=0,
            distributed=True,
            checkpoint=out / "checkpoints",
            callbacks=[break_down, say_ready],
        )
        part = np.array_split(np.arange(len(x)), size)[rank]
        try:
            model.fit(x[part], y[part])
        except KeyboardInterrupt:
            np.savez(out / f"interrupted-{rank}.npz", *model.coefs_, *model.intercepts_, model.loss_curve_)
            return
        if rank == 0:
            np.savez(out / "model.npz", *model.coefs_, *model.intercepts_)
            told = {"lives": 1 + life, "left": os.listdir(out / "checkpoints")}
            (out / "told.json").write_text(json.dumps(told))


def meet(out, life, rank, size):
    """Wait until all ranks are here: the group's short timeout is for faults, not for imports on a busy machine."""
    (out / f"here-{life}-{rank}").touch()
    end = time.monotonic() + 60
    while any(not (out / f"here-{life}-{other}").exists() for other in range(size)) and time.monotonic() < end:
        time.sleep(0.02)


def break_in_a_way(fault):
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "stop":
        # Whoever waits for it gives up after the timeout; then it goes on, to be ended.
        subprocess.Popen(["sh", "-c", f"sleep 9; kill -CONT {os.getpid()}"])
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == "raise":
        raise RuntimeError("a fault of one rank")


def fill_the_disk(out):
    """Take what room there is, on the file system that the test made small, once the run is well under way."""
    write = spread_checkpoints.write_whole

    def write_on_full_disk(path, data):
        if int(path.parent.name.partition("-")[2]) >= 100:
            (out / "filler").write_bytes(b"0" * 2**22)
        write(path, data)

    spread_checkpoints.write_whole = write_on_full_disk


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
