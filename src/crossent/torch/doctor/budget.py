"""How often there is time to look, when only some steps are looked at anyhow."""

from __future__ import annotations

import math
import time

# Of the run is spent on looks at the price of the cheapest; as rare ones cost twice as much, it is less than a tenth
# together with what is done at every step. The first few are free: a short run has them whatever the clock says.
SHARE = 0.04
FIRST_LOOKS = 8


class Budget:
    """What a look costs, from the shortest steps with and without one: a step may be long for reasons of its own."""

    def __init__(self) -> None:
        self._began = self._ended = time.perf_counter()
        self._looks = 0
        self._shortest = {True: math.inf, False: math.inf}

    def ended(self, steps: int, *, looked_at: bool) -> None:
        """Note how long the steps took that end now: one that was looked at, or some that were not."""
        now = time.perf_counter()
        self._shortest[looked_at] = min(self._shortest[looked_at], (now - self._ended) / steps)
        self._looks += looked_at
        self._ended = now

    def allows_a_look(self) -> bool:
        """Whether the next step may be looked at."""
        if self._looks < FIRST_LOOKS:
            return True
        cost = self._shortest[True] - self._shortest[False]
        return self._looks * cost <= SHARE * (self._ended - self._began)
