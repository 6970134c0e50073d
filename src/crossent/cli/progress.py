"""How a training run shows itself while it runs: a live bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from crossent.training import TrainingEvent


class Progress:
    """A callback for the training, and the context it is shown in."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._shows_bar = not quiet and sys.stdout.isatty()
        self._shows_lines = not quiet and not self._shows_bar
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._validation = ""

    def __enter__(self) -> Self:
        if self._shows_bar:
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            text = TextColumn("{task.description}")
            self._bar = Bar(text, BarColumn(bar_width=None), TextColumn("{task.fields[scores]}"), TimeElapsedColumn())
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None, scores="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: TrainingEvent) -> None:
        if event.validation_loss is not None and event.validation_accuracy is not None:
            self._validation = f"validation {event.validation_loss:.4f}, {100 * event.validation_accuracy:.1f} % right"
        scores = ", ".join(part for part in (f"loss {event.loss:.4f}", self._validation) if part)
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                description=f"epoch {event.epoch}/{event.max_epochs}",
                completed=(event.epoch - 1) * event.n_batches + event.batch,
                total=event.max_epochs * event.n_batches,
                scores=scores,
            )
        elif self._shows_lines and event.kind == "epoch":
            print(f"epoch {event.epoch}/{event.max_epochs}: {scores}", flush=True)
