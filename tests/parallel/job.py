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

out, fault = Path(sys.argv[1]), sys.argv[2]
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
first_life = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
spread_checkpoints.SECONDS_BETWEEN = 0.0
FAULTY, EPOCH = 1, 4


def break_down(event):
    if not (first_life and rank == FAULTY and event.kind == "epoch" and event.epoch == EPOCH):
        return
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "stop":
        # Whoever waits for it gives up after the timeout; then it goes on, to be ended.
        subprocess.Popen(["sh", "-c", f"sleep 9; kill -CONT {os.getpid()}"])
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == "raise":
        raise RuntimeError("a fault of one rank")


if fault == "full disk" and first_life and rank == FAULTY:
    write = spread_checkpoints.write_whole

    def write_on_full_disk(path, data):
        # What there is room for is taken by another file, on the file system that the test made small.
        if int(path.parent.name.partition("-")[2]) >= 100:
            (out / "filler").write_bytes(b"0" * 2**22)
        write(path, data)

    spread_checkpoints.write_whole = write_on_full_disk

with closing_group():
    dist.init_process_group("gloo", timeout=timedelta(seconds=5))
    x, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier(
        (16,),
        max_epochs=8,
        random_state=0,
        distributed=True,
        checkpoint=out / "checkpoints",
        callbacks=[break_down],
    )
    part = np.array_split(np.arange(len(x)), size)[rank]
    started = time.time()
    model.fit(x[part], y[part])
    if rank == 0:
        np.savez(out / "model.npz", *model.coefs_, *model.intercepts_)
        lives = 1 + int(os.environ["TORCHELASTIC_RESTART_COUNT"])
        (out / "told.json").write_text(json.dumps({"lives": lives, "left": os.listdir(out / "checkpoints")}))
