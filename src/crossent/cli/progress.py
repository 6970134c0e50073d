"""How a training run shows itself while it runs: a live bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from crossent.report.numbers import percent, significant

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from crossent.training import TrainingEvent

_MOST_LINES = 25


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
            self._validation = (
                f"validation {significant(event.validation_loss)}, {percent(event.validation_accuracy)} right"
            )
        scores = ", ".join(part for part in (f"loss {significant(event.loss)}", self._validation) if part)
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                description=f"epoch {event.epoch}/{event.max_epochs}",
                completed=(event.epoch - 1) * event.n_batches + event.batch,
                total=event.max_epochs * event.n_batches,
                scores=scores,
            )
        elif self._shows_lines and event.kind == "epoch" and self._is_shown(event):
            print(f"epoch {event.epoch}/{event.max_epochs}: {scores}", flush=True)

    def _is_shown(self, event: TrainingEvent) -> bool:
        """Whether an epoch gets a line: each of a few, of many the first, the last and some between."""
        every = -(-event.max_epochs // _MOST_LINES)
        return event.epoch % every == 0 or event.epoch in (1, event.max_epochs)
