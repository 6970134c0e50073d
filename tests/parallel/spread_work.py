"""What the ranks of a test of the distributed fit do: each takes its part of the rows, and tells what came of it."""

from __future__ import annotations

import itertools
import os
import shutil

import numpy as np
import scipy.sparse as sp
import torch.distributed as dist
from sklearn.datasets import load_digits

from crossent.estimators import SoftmaxClassifier
from crossent.training import engine

CASES = {
    "linear": {},
    "float32": {"dtype": "float32"},
    "network": {"hidden_layer_sizes": (16,), "calibrate": True, "early_stopping": True},
    "adam": {"optimizer": "adam", "l1_ratio": 0.5, "alpha": 1e-3},
    "schedule-free": {"optimizer": "schedule-free", "learning_rate": 0.5},
    "average": {"average": True, "nesterov": True, "schedule": "cosine"},
    "balanced": {"class_weight": "balanced", "label_smoothing": 0.1},
    "raw features": {"center": False, "feature_rates": False},
    "dropout": {"hidden_layer_sizes": (16, 8), "dropout": 0.3},
}
KINDS = ("dense", "bytes", "sparse", "soft", "weighted", "names")


def data(kind):
    """Return rows, truth and weights, sorted by label so that a part by itself would teach nothing."""
    x, y = load_digits(return_X_y=True)
    order = np.lexsort((np.arange(len(y)), y))
    x, y = x[order], y[order]
    weight = None
    if kind == "bytes":
        x = x.astype(np.uint8)
    if kind == "sparse":
        x = sp.csr_array(x)
    if kind == "soft":
        y = 0.8 * np.eye(10)[y] + 0.02
    if kind == "weighted":
        weight = (np.arange(len(y)) % 3).astype(float)
    if kind == "names":
        y = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[y]
    return x, y, weight


def parts(n, size):
    """Return each rank's rows: uneven, and of three ranks or more the second has none."""
    cuts = np.linspace(0, n, size + 1).astype(int)
    if size > 2:
        cuts[2] = cuts[1]
    if size == 2:
        cuts[1] = n // 3
    return [slice(a, b) for a, b in itertools.pairwise(cuts)]


def fitted(options, kind, here=None, **more):
    x, y, weight = data(kind)
    here = slice(None) if here is None else here
    model = SoftmaxClassifier(random_state=0, max_epochs=3, **options, **more)
    model.fit(x[here], y[here], None if weight is None else weight[here])
    return result(model)


def result(model):
    return {
        "weights": [*model.coefs_, *model.intercepts_],
        "loss": model.loss_curve_,
        "validation": model.validation_scores_,
        "temperature": model.temperature_,
        "classes": model.classes_.tolist(),
        "rate": model.learning_rate_,
        "gap": model.objective_gap_,
    }


def spread(options, kind):
    # So that epochs come in several pieces here, and in one in the process alone.
    engine.CHUNK_FLOPS = 2e6
    x, _, _ = data(kind)
    return fitted(options, kind, parts(x.shape[0], dist.get_world_size())[dist.get_rank()], distributed=True)


def refusal(change, expected=True):
    """Return the error of a fit in which one rank is given something wrong, and that of the next fit, which is not."""
    rank, size = dist.get_rank(), dist.get_world_size()
    x, y, _ = data("dense")
    here = parts(len(x), size)[rank] if size != 3 else slice(rank * 500, rank * 500 + 500)
    given = {"X": x[here].copy(), "y": y[here].copy()}
    options = {"max_epochs": 1, "random_state": 0, "distributed": True}
    if rank == size - 1:
        change(given, options)
    try:
        SoftmaxClassifier(**options).fit(**given)
        said = None
    except ValueError as error:
        said = str(error)
    after = SoftmaxClassifier(max_epochs=1, random_state=0, distributed=True).fit(x[here], y[here])
    return said, after.loss_curve_[0]


def nan(given, options):
    given["X"][3, 5] = np.nan


def unknown_option(given, options):
    options["momentum"] = 0.5


def fewer_features(given, options):
    given["X"] = given["X"][:, :-1]


def other_type(given, options):
    given["X"] = given["X"].astype(np.float32)


def text_labels(given, options):
    given["y"] = given["y"].astype(str)


def bad_weight(given, options):
    given["sample_weight"] = np.full(len(given["y"]), -1.0)


def shorter_truth(given, options):
    given["y"] = given["y"][:-1]


def failing_callback(given, options):
    def fail(event):
        raise RuntimeError("no more")

    options["callbacks"] = [fail]


def stopping_callback(given, options):
    options["callbacks"] = [lambda event: event.epoch == 2]
    options["max_epochs"] = 5


def stopped_by_one():
    rank, size = dist.get_rank(), dist.get_world_size()
    x, y, _ = data("dense")
    calls = [lambda event: event.kind == "epoch" and event.epoch == 2] if rank == size - 1 else None
    model = SoftmaxClassifier(max_epochs=5, random_state=0, distributed=True, callbacks=calls)
    return model.fit(x[rank::size], y[rank::size]).n_iter_


class Leave(Exception):
    pass


def checkpointed(directory, stop_after, seconds=0.0):
    """Fit with a checkpoint after every epoch; end after some of them as a process does that is no more."""
    from crossent.estimators import spread_checkpoints

    spread_checkpoints.SECONDS_BETWEEN = seconds
    x, y, _ = data("dense")
    here = parts(len(x), dist.get_world_size())[dist.get_rank()]

    def leave(event):
        if event.kind == "epoch" and event.epoch == stop_after:
            raise Leave

    options = {"hidden_layer_sizes": (8,), "max_epochs": 6, "random_state": 0, "early_stopping": True}
    model = SoftmaxClassifier(**options, distributed=True, checkpoint=directory, callbacks=[leave])
    try:
        return result(model.fit(x[here], y[here])), sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    except Leave as error:
        return repr(error), sorted(os.listdir(directory))


def forget(directory):
    if dist.get_rank() == 0:
        shutil.rmtree(directory)
    dist.barrier()


def resumed_past_damage(directory):
    import warnings

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found, _ = checkpointed(directory, 99)
    return found, " ".join(str(warning.message) for warning in told)


def damage(directory, times):
    """Damage a checkpoint's files in one place after another, and count how often it is loaded all the same."""
    from pathlib import Path

    from crossent.errors import DataError
    from crossent.estimators.spread_checkpoints import SpreadCheckpoints
    from crossent.ranks import current_ranks

    steps = sorted(Path(directory).iterdir())
    for step in steps[:-1]:
        shutil.rmtree(step)
    files = sorted(path for path in steps[-1].iterdir() if path.name != "manifest.json")
    rng, counts = np.random.default_rng(0), {}
    reader = object.__new__(SpreadCheckpoints)
    reader.directory, reader.run, reader._ranks = Path(directory), {}, current_ranks()
    for at in range(times):
        path = files[at % len(files)]
        whole = path.read_bytes()
        place = int(rng.integers(len(whole)))
        if at % 3:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
        else:
            path.write_bytes(whole[:place])
        try:
            reader._newest()
            kind = "loaded"
        except DataError as error:
            kind = "refused" if "altered" in str(error) else str(error)
        counts[kind] = counts.get(kind, 0) + 1
        path.write_bytes(whole)
    return counts
