"""Every public name has its place in the reference, and the reference names nothing that is not there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs" / "reference").rglob("*.md"))
WRITTEN = re.compile(r"^\.\. (?:(currentmodule)|auto(?:function|class|data|module|exception)):: (\S+)", re.MULTILINE)
# Names that are no functions or classes; the pages speak of them in words.
IN_WORDS = {"crossent.__version__", "crossent.family.LOSSES", "crossent.stories.STORIES"}


def documented():
    """The objects that the pages document, by the name that stands there."""
    found = {}
    for page in PAGES:
        module = ""
        for is_module, name in WRITTEN.findall(page.read_text(encoding="utf-8")):
            if is_module:
                module = name
            else:
                full = name if name.startswith("crossent.") else f"{module}.{name}"
                home, _, last = full.rpartition(".")
                found[full] = getattr(importlib.import_module(home), last)
    return found


DOCUMENTED = documented()
PUBLIC = [
    "crossent",
    "crossent.data",
    "crossent.estimators",
    "crossent.family",
    "crossent.jax",
    "crossent.simplex",
    "crossent.stories",
    "crossent.torch",
    "crossent.torch.parallel",
]


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module):
    names = importlib.import_module(module).__all__
    known = {id(thing) for thing in DOCUMENTED.values()}
    missing = [
        name
        for name in names
        if f"{module}.{name}" not in IN_WORDS and id(getattr(importlib.import_module(module), name)) not in known
    ]
    assert not missing, f"{module}: {missing}"


@pytest.mark.parametrize("name", sorted(IN_WORDS - {"crossent.__version__"}))
def test_what_is_told_in_words_is_told(name):
    assert any(name in page.read_text(encoding="utf-8") for page in PAGES)


def test_what_is_documented_has_a_docstring():
    assert not [name for name, thing in DOCUMENTED.items() if not (thing.__doc__ or "").strip()]
