"""The page as one self-contained document: styles, modules and stories inlined, nothing else loaded."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from pathlib import Path
from typing import Any

from crossent.data.files import whole_or_nothing
from crossent.explanation.plain import dump_json
from crossent.stories import STORIES

_PREFIX = "crossent/"
_ENTRY = f'import "{_PREFIX}main.js";'


def page(*, served: bool = False, story: str = "dog") -> str:
    """Return the page as text.

    Parameters
    ----------
    served : bool
        Whether the server that shows it answers ``/api/explain``, so that the page can ask Python for its numbers too.
    story : str
        The story it begins with.
    """
    files = {file.name: file.read_text("utf-8") for file in (resources.files("crossent.explorer") / "page").iterdir()}
    modules = {_PREFIX + name: _data_url(text) for name, text in files.items() if name.endswith(".js")}
    # The names that modules import each other by are mapped to their text, so that one file holds them all, unchanged.
    import_map = dump_json({"imports": modules}, indent=None)
    style = files["style.css"]
    parts = {
        "policy": _policy(served, scripts=(import_map, _ENTRY), style=style),
        "style": style,
        "import-map": import_map,
        "data": _inert(dump_json({"served": served, "start": story, "stories": stories()}, indent=None)),
        "entry": _ENTRY,
    }
    return re.sub(r"\{\{([a-z-]+)\}\}", lambda found: parts[found[1]], files["page.html"])


def export(path: str | Path, *, story: str = "dog") -> Path:
    """Write the page as one file that needs no server, whole or not at all, and return its path."""
    path = Path(path)
    content = page(story=story)
    with whole_or_nothing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return path


def stories() -> list[dict[str, Any]]:
    """Return the stories and, with each prediction, its quiz."""
    found = []
    for story in STORIES.values():
        told = story.to_dict()
        for shown, one in zip(told["predictions"], story.predictions.values(), strict=True):
            shown["quiz"] = [question.to_dict() for question in one.quiz()]
        found.append(told)
    return found


def _data_url(text: str) -> str:
    return "data:text/javascript;base64," + base64.b64encode(text.encode()).decode()


def _inert(json: str) -> str:
    """Return JSON that cannot end the element it stands in."""
    return json.replace("<", "\\u003c")


def _policy(served: bool, scripts: tuple[str, ...], style: str) -> str:
    allowed = " ".join(map(_hash, scripts))
    connect = "'self'" if served else "'none'"
    return (
        f"default-src 'none'; script-src data: {allowed}; style-src {_hash(style)}; img-src data:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
