"""How the step size changes over a run."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Schedule = Literal["linear", "constant", "cosine"]
Shares = npt.NDArray[np.float64]


def shares(schedule: Schedule, n_steps: int, *, warmup: int = 0) -> Shares:
    """Return each step's share of the learning rate, (n_steps,).

    >>> shares("cosine", 4).round(2), shares("constant", 4, warmup=1)
    (array([1.  , 0.85, 0.5 , 0.15]), array([0.5, 1. , 1. , 1. ]))
    """
    if schedule == "linear":
        return linear_decay(n_steps, warmup=warmup)
    step = np.arange(n_steps, dtype=np.float64)
    rising = np.minimum((step + 1) / (warmup + 1), 1.0)
    if schedule == "constant":
        return rising
    return np.asarray(rising * (1 + np.cos(np.pi * step / max(n_steps, 1))) / 2)


def linear_decay(n_steps: int, *, warmup: int = 0) -> Shares:
    """Return each step's share of the learning rate: up over the warm-up, then down in a line towards 0.

    Step ``k`` has the share ``min((k + 1) / (warmup + 1), 1) * (n_steps - k) / n_steps``. The last step is
    not 0: it would be lost.

    References
    ----------
    Defazio et al., "Optimal Linear Decay Learning Rate Schedules and Further Refinements", 2023, section 3.

    Examples
    --------
    >>> linear_decay(4)
    array([1.  , 0.75, 0.5 , 0.25])
    >>> linear_decay(4, warmup=1)
    array([0.5 , 0.75, 0.5 , 0.25])
    """
    step = np.arange(n_steps, dtype=np.float64)
    return np.minimum((step + 1) / (warmup + 1), 1.0) * (n_steps - step) / max(n_steps, 1)
