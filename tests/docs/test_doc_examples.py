"""Every ``>>>`` example in README.md and the documentation gives what the page says."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]


def examples_of(page: Path) -> doctest.DocTest:
    # A closing fence would be read as output: blank lines end an example and keep the line numbers.
    text = re.sub(r"^[ \t]*(```|~~~).*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    name = str(page.relative_to(ROOT))
    return doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, name, str(page), 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_give_what_the_page_says(page: Path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    outcome = runner.run(examples_of(page), out=report.append)
    assert outcome.failed == 0, "".join(report)


def test_pages_and_their_examples_are_found():
    found = {page.name: len(examples_of(page).examples) for page in PAGES}
    assert found["who-pays.md"] > 5


def test_a_wrong_example_is_noticed(tmp_path):
    page = ROOT / "docs" / "explanation" / "who-pays.md"
    test = examples_of(page)
    test.examples = [doctest.Example("1 + 1", "3\n")]
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1
