"""``crossent doctor``: a training script in PyTorch, watched while it runs."""

from __future__ import annotations

import json as json_format
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossent.errors import DataError, invalid_choice

if TYPE_CHECKING:
    from crossent.torch.doctor import Report

_FAIL_ON = ("error", "warning", "never")
_children: list[subprocess.Popen[bytes]] = []


def command(
    script: Annotated[Path, typer.Argument(help="A Python script that trains with PyTorch.", metavar="SCRIPT")],
    arguments: Annotated[list[str] | None, typer.Argument(help="The script's own.", metavar="[ARGS]...")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop watching after so many calls of losses.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Look at one step of the optimizer in so many.")] = 1,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as a page.")] = None,
    fail_on: Annotated[
        str, typer.Option(metavar="SEVERITY", help="Exit with 1 at a finding of it: error, warning or never.")
    ] = "error",
    grad_check: Annotated[bool, typer.Option("--grad-check", help="Compare gradients with the exact ones.")] = False,
    see_compiled: Annotated[
        bool, typer.Option("--see-compiled", help="Run the steps looked at without torch.compile, to see inside.")
    ] = False,
) -> None:
    """Run a training script in PyTorch, unmodified, and report mistakes with its loss.

    The script computes the same bits as without, but for --see-compiled. Its own exit status is passed on when it
    fails.

    Examples:

        crossent doctor train.py --epochs 1

        crossent doctor --every 10 --json report.json --fail-on warning train.py

        torchrun --nproc-per-node 2 -m crossent doctor train.py
    """
    if fail_on not in _FAIL_ON:
        raise invalid_choice("--fail-on", fail_on, _FAIL_ON)
    if not script.is_file():
        raise DataError("is no file: expected a Python script", path=script)
    for path in (json, html):
        if path is not None and not path.parent.is_dir():
            raise DataError(f"cannot be written: there is no folder {path.parent}", path=path)
    settings = {"steps": steps, "sample_every": every, "grad_check": grad_check, "see_compiled": see_compiled}
    with _passing_signals_on():
        own, status = _watched(str(script), arguments or [], settings)
        from crossent.torch.doctor.launched import own_path, together

        report = together(own)
        if report is None:  # the first rank tells it
            raise typer.Exit(status)
        _write(report, json and own_path(json), html and own_path(html))
        _print(report)
    worst = ("error",) if fail_on == "error" else ("error", "warning")
    found = fail_on != "never" and any(finding.severity in worst for finding in report.findings)
    raise typer.Exit(status or int(found))


def _watched(script: str, arguments: list[str], settings: dict[str, Any]) -> tuple[Report, int]:
    """Run the script in a process of its own: whatever ends it, what it has found by then is read here."""
    with tempfile.TemporaryDirectory(prefix="crossent-doctor-") as folder:
        python = [sys.executable, *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]
        run = ["-m", "crossent.torch.doctor.run", folder, json_format.dumps(settings), script, *arguments]
        status = _run([*python, *run])
        from crossent.torch.doctor.log import read

        report = read(Path(folder))
    report.script = script
    if status < 0:
        report.ended = f"signal {signal.Signals(-status).name}"
    elif not report.ended or (status and report.ended == "normally"):
        report.ended = f"exit status {status}"
    return report, 128 - status if status < 0 else status


def _run(run: list[str]) -> int:
    """Run a process to its end."""
    child = subprocess.Popen(run)
    _children.append(child)
    return child.wait()


@contextmanager
def _passing_signals_on() -> Iterator[None]:
    """Send what would end this process to the script instead; and once that is over, report all the same."""

    def forward(number: int, frame: FrameType | None) -> None:
        for child in _children:
            # A terminal's Ctrl-C reaches the script by itself.
            if not (number == signal.SIGINT and sys.stdin.isatty()) and child.poll() is None:
                child.send_signal(number)

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, forward) for number in kinds}
    try:
        yield
    finally:
        _children.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(report: Report, json: Path | None, html: Path | None) -> None:
    from crossent.data.files import whole_or_nothing

    for path, content in ((json, report.to_json), (html, report.to_html)):
        if path is not None:
            with whole_or_nothing(path) as temporary:
                temporary.write_text(content() + "\n", encoding="utf-8")


def _print(report: Report) -> None:
    from rich.console import Console

    from crossent.torch.doctor.render import text

    console = Console()
    sys.stdout.write(text(report, colour=console.is_terminal, width=console.width))
    sys.stdout.flush()
