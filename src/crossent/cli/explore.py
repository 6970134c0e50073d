"""``crossent explore``: the page to explore one prediction, shown by a small local server or written to a file."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from crossent.errors import invalid_choice


def command(
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1; 0 takes a free one.")] = 8265,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    story: Annotated[str, typer.Option(help="The story to begin with.")] = "dog",
    export: Annotated[
        Path | None,
        typer.Option(help="Write the page to this file instead: it needs no server and no network.", metavar="FILE"),
    ] = None,
) -> None:
    """Explore a prediction on one page: drag it, choose who pays, and see every form of the derivative.

    Examples:

        crossent explore

        crossent explore --story deck --port 0 --no-browser

        crossent explore --export explore.html
    """
    from crossent.stories import STORIES

    if story not in STORIES:
        raise invalid_choice("--story", story, STORIES)
    if export is not None:
        from crossent.explorer.document import export as write

        typer.echo(str(write(export, story=story)))
        return
    try:
        from crossent.explorer.server import HOST, listen, serve
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        message = f"{error.name} is not installed: pip install 'crossent[explore]', or write the page with --export"
        raise ValueError(message) from None
    bound = listen(port)
    address = f"http://{HOST}:{bound.getsockname()[1]}/"

    def tell() -> None:
        typer.echo(f"{address}  (Ctrl-C stops)")
        if browser:
            webbrowser.open(address)

    serve(bound, story, tell)
