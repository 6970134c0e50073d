"""The command line: one file per command, each thin; what is heavy is imported when a command runs."""

from crossent.cli.main import app, main

__all__ = ["app", "main"]
