"""The context manager that watches a training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crossent.errors import invalid_value
from crossent.torch.doctor.examination import Examination
from crossent.torch.doctor.report import Report
from crossent.torch.doctor.watch import Watch

if TYPE_CHECKING:
    from crossent.torch.doctor.findings import Finding


_COMPILED = (
    "no loss was seen although an optimizer stepped: losses inside of compiled functions are not watched; "
    "--see-compiled (see_compiled=True) runs the steps looked at without compiling"
)


class LiveReport(Report):
    """The report of what is being watched."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    @property
    def findings(self) -> list[Finding]:
        return self._watch.examination.findings()

    @property
    def steps(self) -> int:
        return self._watch.examination.calls

    @property
    def notes(self) -> list[str]:
        notes = list(self._watch.examination.notes)
        return notes + ([_COMPILED] if self._watch.saw_nothing() else [])

    def on_change(self, tell: Callable[[], None]) -> None:
        """Call back whenever there is more to report."""
        self._watch.examination.on_change = tell


@contextmanager
def doctor(
    *, steps: int | None = None, sample_every: int = 1, grad_check: bool = False, see_compiled: bool = False
) -> Iterator[LiveReport]:
    """Watch the losses of a training loop in PyTorch, and report mistakes that cost accuracy or give NaN.

    Nothing that the loop computes changes: losses, gradients and random numbers are the same bits. The thread that
    enters is watched, and no other.

    Parameters
    ----------
    steps : int, optional
        Stop watching after so many calls of losses.
    sample_every : int
        Look at one step of the optimizer in so many. From 2 on, and without other ranks, fewer are looked at, after the
        first eight, where looks would take more than a tenth of the time.
    grad_check : bool
        Compare the gradient of every loss looked at with the exact one.
    see_compiled : bool
        Let what is compiled by ``torch.compile`` run as it was written in the steps looked at, so that losses inside of
        it are seen. It is the one option that changes results: by what compiling itself changes, in rounding and in the
        random numbers of dropout.

    Yields
    ------
    Report
        ``report.findings``, and ``report.text()``, ``to_json()``, ``to_html()``; it fills while the loop runs.

    Raises
    ------
    ValueError
        ``steps`` or ``sample_every`` is below 1.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(dim=1))
    >>> with doctor() as report:
    ...     x, labels = torch.ones(8, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    ...     torch.nn.functional.cross_entropy(model(x), labels).backward()
    >>> [(finding.code, finding.severity) for finding in report.findings]
    [('double-softmax', 'error')]
    """
    for name, value in (("steps", steps), ("sample_every", sample_every)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise invalid_value(name, value, "a whole number of at least 1")
    with Watch(Examination(grad_check), steps, sample_every, see_compiled) as watch:
        yield LiveReport(watch)
