"""Every ``>>>`` example in README.md and the documentation gives what the page says, as when the pages are built."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = ("_build", "_generated")
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if not set(MADE) & set(p.parts))]
SPEC = importlib.util.spec_from_file_location("examples", ROOT / "docs" / "examples.py")
examples = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(examples)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_give_what_the_page_says(page: Path):
    examples.filled(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)))


def test_examples_are_found():
    assert examples.run("```python\n>>> 1 + 1\n2\n```\n", "page", 0, {}) == 1


def test_a_wrong_example_is_noticed_with_its_line():
    with pytest.raises(examples.WrongExample, match=r'"page", line 4'):
        examples.filled("A title\n\n```python\n>>> 1 + 1\n3\n```\n", "page")


def test_a_value_is_computed_where_it_stands():
    page = ">>> n = 2\n\nFirst {value}`n`, a third of it {value}`n / 3:.3f`.\n\n>>> n = 5\n\nThen {value}`n`.\n"
    text = examples.filled(page, "page")
    assert "First 2, a third of it 0.667." in text
    assert "Then 5." in text


def test_a_value_without_a_meaning_is_noticed():
    with pytest.raises(NameError):
        examples.filled("{value}`nowhere`", "page")
