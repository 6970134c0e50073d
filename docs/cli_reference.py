"""The commands and their options as a Markdown page, from the definitions that ``crossent --help`` prints."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import typer.main

from crossent.cli import app


def page() -> str:
    """Return the page: a section per command with its usage, arguments and options."""
    group: Any = typer.main.get_command(app)
    return "\n".join(line for name, command in group.commands.items() for line in section(name, command))


def section(name: str, command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join(["crossent", name, *(p.name.upper() for p in arguments), "[OPTIONS]"])
    text, _, examples = inspect.cleandoc(command.help or "").partition("Example")
    lines = [f"## crossent {name}", "", text.strip(), "", "```text", usage, "```", ""]
    lines += ["| argument or option | what it is | default |", "|---|---|---|"]
    lines += [row(parameter, f"`{parameter.name.upper()}`") for parameter in arguments]
    lines += [row(parameter, spelling(parameter)) for parameter in options]
    commands = [line.strip() for line in examples.splitlines() if line.strip().startswith("crossent ")]
    return [*lines, "", *(["```text", *commands, "```", ""] if commands else [])]


def spelling(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = option.metavar or ("" if option.is_flag else option.type.name.upper())
    return f"{names} {value}".replace("|", r"\|").strip()


def row(parameter: Any, shown: str) -> str:
    default = parameter.default
    hidden = default is None or parameter.required or isinstance(default, bool) or not str(default)
    return f"| {shown} | {(parameter.help or '').replace('|', chr(92) + '|')} | {'' if hidden else f'`{default}`'} |"


def write(path: Path) -> None:
    """Write the page, unless it is there as it would be written."""
    path.parent.mkdir(exist_ok=True)
    text = page()
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
