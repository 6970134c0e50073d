"""Run without compiling for a while, so that what is inside of compiled functions can be watched."""

from __future__ import annotations

import torch


class Eagerly:
    """Let compiled functions run as they were written, between `begin` and `end`; what was compiled is kept.

    A script that has taken a stance of its own is left to it.
    """

    def __init__(self) -> None:
        self._on = False

    @property
    def _stance(self) -> str:
        from torch._dynamo import eval_frame  # seconds of imports, which most runs do without

        return eval_frame._stance.stance

    def begin(self) -> None:
        if not self._on and self._stance == "default":
            torch.compiler.set_stance("force_eager")
            self._on = True

    def end(self) -> None:
        if self._on and self._stance == "force_eager":
            torch.compiler.set_stance("default")
        self._on = False
