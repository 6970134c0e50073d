"""The pages' numbers, computed when the documentation is built.

Every ``>>>`` example runs, a page in one namespace, and must print what the page says. A number inside a sentence is
written {value}`expression` or {value}`expression:format`, and is replaced by its value where it stands.
"""

from __future__ import annotations

import contextlib
import doctest
import re
import tempfile
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^[ \t]*(?:```|~~~|:::).*$", re.MULTILINE)
VALUE = re.compile(r"\{value\}`([^`]+?)(?::(\.\d+[efg]|d))?`")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class WrongExample(Exception):
    """An example printed something else than its page says."""


def filled(text: str, name: str) -> str:
    """Return the page with its values written in, after its examples have run; files they write are temporary."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    parts, start = [], 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for place in VALUE.finditer(text):
            # Examples below a value may change what it is made of: it is computed where it stands.
            run(text[start : place.start()], name, text.count("\n", 0, start), namespace)
            parts += [text[start : place.start()], format(eval(place[1], namespace), place[2] or "")]
            start = place.end()
        run(text[start:], name, text.count("\n", 0, start), namespace)
    return "".join([*parts, text[start:]])


def run(text: str, name: str, line: int, namespace: dict[str, Any]) -> int:
    """Run the examples of a part of a page that begins after `line`; return how many there are."""
    # A closing fence would be read as output: blank lines end an example and keep the line numbers.
    test = doctest.DocTestParser().get_doctest(FENCE.sub("", text), {}, name, name, line)
    test.globs = namespace
    report: list[str] = []
    if doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append, clear_globs=False).failed:
        raise WrongExample("".join(report))
    return len(test.examples)


def fill_page(app: Any, name: str, content: list[str]) -> None:
    """Fill a page that Sphinx has read."""
    from sphinx.errors import SphinxError

    try:
        content[0] = filled(content[0], str(Path(app.srcdir, name).with_suffix(".md")))
    except WrongExample as error:
        raise SphinxError(str(error)) from None


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", fill_page)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
