"""What the ranks of a test of reading do, and what one process reads."""

from __future__ import annotations

import numpy as np
import torch.distributed as dist
from scipy.sparse import issparse

from crossent.cli.options import Options
from crossent.cli.spread_rows import read_spread
from crossent.cli.training_rows import read_whole
from crossent.ranks import current_ranks


def told(rows):
    """Return everything that a run takes from its rows."""
    parts = {
        name: {
            "x": part.x.toarray() if issparse(part.x) else part.x,
            "truth": part.truth,
            "weights": part.dataset.weights,
            "rows": part.dataset.rows,
        }
        for name, part in rows.parts.items()
    }
    about = {"encoder": rows.encoder.to_json(), "classes": rows.classes, "notes": rows.notes, "counts": rows.counts}
    return parts, about, rows.frequencies


def alone(options):
    try:
        return told(read_whole(Options(**options)))
    except ValueError as error:
        return str(error)


def spread(options):
    try:
        return told(read_spread(Options(**options), current_ranks()))
    except ValueError as error:
        return str(error)


def bytes_read(options):
    """Return how many bytes this rank has read from files while it read its rows."""

    def so_far():
        with open("/proc/self/io", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("rchar"))

    spread(options)  # what is loaded with the first call
    before = so_far()
    rows = len(read_spread(Options(**options), current_ranks()).parts["training"])
    return so_far() - before, rows, dist.get_world_size()


def joined(parts):
    """Return the training rows of all ranks."""
    found = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        found[name] = None if arrays[0] is None else np.concatenate(arrays)
    return found
