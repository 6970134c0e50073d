"""Every ``$ crossent`` command in the documentation is one that crossent takes, and those that explain run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from crossent.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN = re.compile(r"^\$ crossent (.+)$|`crossent ((?:explain|explore) [^`]+)`", re.MULTILINE)
COMMANDS = sorted({found[1] or found[2] for page in PAGES for found in WRITTEN.finditer(page.read_text("utf-8"))})
GROUP = typer.main.get_command(app)


def test_commands_are_found():
    assert len(COMMANDS) > 8


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_has_only_options_that_exist(line):
    name, *arguments = shlex.split(line)
    assert name in GROUP.commands, f"crossent {name}"
    GROUP.commands[name].make_context(name, arguments, resilient_parsing=False)


def test_an_option_that_does_not_exist_is_noticed():
    with pytest.raises(Exception, match="No such option: --tale"):
        GROUP.commands["explain"].make_context("explain", ["--tale", "dog"])


# A command in a sentence may leave out what it is about.
ALONE = [line for line in COMMANDS if re.match(r"explain .*--(probs|logits|story)\b", line)]


@pytest.mark.parametrize("line", ALONE)
def test_a_command_that_explains_runs(line):
    done = CliRunner().invoke(app, shlex.split(line), input="q\n")
    assert done.exit_code == 0, done.output
    assert done.output
