"""The commands put together, and how their errors end: one line, exit code 2."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from crossent.cli import demo, doctor, evaluate, explain, explore, export, info, predict, train

_ERROR, _INTERRUPTED = 2, 130

app = typer.Typer(
    name="crossent",
    help="Train a softmax classifier on a table or on images, judge its probabilities, explain a prediction.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.command)
app.command("evaluate")(evaluate.command)
app.command("predict")(predict.command)
app.command("explain")(explain.command)
app.command("export")(export.command)
app.command("explore")(explore.command)
app.command("doctor", context_settings={"allow_interspersed_args": False})(doctor.command)
app.command("info")(info.command)
app.command("demo")(demo.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"crossent {version('crossent')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train a softmax classifier on a table or on images, judge its probabilities, explain a prediction."""
    if debug:
        os.environ["CROSSENT_DEBUG"] = "1"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    warnings.showwarning = _show_warning
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(given or ["--help"], prog_name="crossent", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("stopped")
        code = _INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        if os.environ.get("CROSSENT_DEBUG", "0") not in ("", "0"):
            raise
        _say(f"error: {_message(error)}")
        code = _ERROR
    sys.exit(code)


def _message(error: Exception) -> str:
    format_message = getattr(error, "format_message", None)  # of the parser's own errors
    text = format_message() if format_message is not None else str(error)
    line = " ".join(str(text).split()) + _place(error)
    if isinstance(error, (ValueError, TypeError, OSError)) or format_message is not None:
        return line or type(error).__name__
    return f"{type(error).__name__}: {line} (--debug shows where)"


def _place(error: Exception) -> str:
    """Return the line of the file where a row is wrong, which an editor finds sooner than the row."""
    from crossent.errors import DataError

    if not isinstance(error, DataError) or error.row is None or error.path is None:
        return ""
    from crossent.data.tables import line_of_row

    line = line_of_row(Path(error.path), error.row)
    return f" ({error.path}:{line})" if line is not None else ""


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> Any:
    _say(f"note: {' '.join(str(message).split())}")


def _say(text: str) -> None:
    print(f"crossent: {text}", file=sys.stderr)
