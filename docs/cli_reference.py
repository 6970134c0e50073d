"""The commands and their options as a Markdown page, from the same definitions that ``crossent --help`` prints."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from typer.models import ArgumentInfo

from crossent.cli import app


def page() -> str:
    """Return the page: a section per command with its usage, arguments, options and examples."""
    commands = [(command.name, command.callback) for command in app.registered_commands]
    return "\n".join(line for name, run in commands if name and run for line in section(name, run))


def section(name: str, run: Callable[..., Any]) -> list[str]:
    parameters = list(inspect.signature(run).parameters.values())
    hints = typing.get_type_hints(run, include_extras=True)
    shown = [(parameter, *typing.get_args(hints[parameter.name])) for parameter in parameters]
    arguments = [one for one in shown if isinstance(one[2], ArgumentInfo)]
    options = [one for one in shown if not isinstance(one[2], ArgumentInfo)]
    text, _, examples = inspect.cleandoc(run.__doc__ or "").partition("Example")
    usage = " ".join(["crossent", name, *(parameter.name.upper() for parameter, *_ in arguments), "[OPTIONS]"])
    lines = [f"## crossent {name}", "", text.strip(), "", "```text", usage, "```", ""]
    lines += ["| | what it is | default |", "|---|---|---|"]
    lines += [row(f"`{one[0].name.upper()}`", *one) for one in arguments]
    lines += [row(spelling(*one), *one) for one in options]
    given = [line.strip() for line in examples.splitlines() if line.strip().startswith("crossent ")]
    return [*lines, "", *(["Examples:", "", "```text", *given, "```", ""] if given else [])]


def spelling(parameter: inspect.Parameter, kind: Any, info: Any) -> str:
    # Beside Annotated, Typer keeps the first name that was declared where a default would be.
    declared = [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
    names = [name for text in declared for name in text.split("/")]
    names = names or ["--" + parameter.name.replace("_", "-")]
    value = "" if kind is bool else info.metavar or parameter.name.upper()
    return f"{', '.join(f'`{name}`' for name in names)} {value}".strip().replace("|", r"\|")


def row(shown: str, parameter: inspect.Parameter, kind: Any, info: Any) -> str:
    default = parameter.default
    if default is inspect.Parameter.empty:
        value = "required"
    else:
        value = "" if default is None or kind is bool else f"`{default}`"
    return f"| {shown} | {escaped(info.help)} | {value} |"


def escaped(text: str) -> str:
    for mark in ("\\", "|", "<", "*", "_"):
        text = text.replace(mark, "\\" + mark)
    return text
