"""Measured tables and pictures of README and docs are those of the files that the benchmarks wrote."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
# Tables of numbers that no benchmark measures.
OTHER_NUMBERS = {
    "docs/explanation/numerics.md": "the promise, which tests/accuracy and `make accuracy` hold",
    "docs/explanation/scale.md": "a model, computed when the page is built and when its examples are tested",
    "docs/how-to/choose-how-to-train.md": "the formulas of the penalty",
    "docs/how-to/built-in-data.md": "sizes of data sets, in sentences",
}


def load(path: str):
    """Return a script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem + "_script", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tables = load("docs/tables.py")
measured = load("docs/figures/measured.py")
PAGES = tables.written_pages()
MARKED = re.compile(r"<!-- table: (.*?) -->")


@pytest.mark.parametrize("page", tables.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_tables_of_a_page_are_those_of_the_results(page):
    text = page.read_text(encoding="utf-8")
    assert tables.rewritten(text, tables.specs()) == text, "run `make tables`"


def test_every_table_that_is_described_is_on_a_page():
    used = {name for page in PAGES for name in MARKED.findall(page.read_text(encoding="utf-8"))}
    assert used == set(tables.specs())


def test_a_table_differs_as_soon_as_its_results_do(tmp_path):
    for path in RESULTS.glob("*.csv"):
        (tmp_path / path.name).write_text(path.read_text().replace("float32", "float23"))
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert tables.rewritten(page, tables.specs(), tmp_path) != page


def numbers_in(table: list[str]) -> bool:
    """Return whether over a quarter of a table's cells, but for the first column's, begin with a number."""
    cells = [cell.strip() for line in table[2:] for cell in line.strip("|").split("|")[1:]]
    return sum(bool(re.match(r"[~≈<+−-]?\d|\{value\}", cell)) for cell in cells) > len(cells) / 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_of_numbers_come_from_results_or_are_named_with_the_reason(page):
    text = tables.REGION.sub("", page.read_text(encoding="utf-8"))
    found = [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]
    by_hand = [table[0] for table in found if numbers_in(table)]
    assert (str(page.relative_to(ROOT)) in OTHER_NUMBERS) == bool(by_hand), by_hand


def test_numbers_have_three_digits():
    shown = [f"{tables.Number(x):3s}" for x in (0.0012345, 0.5, 4.0949, 84.26, 999.7, 1440.4, 16777216, 0)]
    assert shown == ["0.00123", "0.500", "4.09", "84.3", "1,000", "1,440", "1.68e7", "0"]
    assert f"{tables.Number(65536):,}" == "65,536"


def test_a_missed_goal_and_other_programs_are_shown(tmp_path):
    (tmp_path / "times.csv").write_text(
        "n,ratio,threads,goals,missed,disturbed,cpu,cpu_level,cores,date,crossent\n"
        "10,2.5,2,ratio >= 3,ratio,no,cpu,x,2,2026-01-02,1.0.0\n"
        "2,3.5,2,ratio >= 3,,yes,cpu,x,2,2026-01-01,1.0.0\n"
    )
    spec = {"results": "times", "order": ["n"], "columns": {"n": "{n}", "÷": "{ratio:2s}", "absent": "{absent}"}}
    lines = tables.table(spec, tmp_path).splitlines()
    assert lines[2:4] == ["| 2 † | 3.5 | – |", "| 10 | 2.5 (goal: ≥ 3) | – |"]
    assert "2 threads, 2026-01-01 to 2026-01-02, crossent 1.0.0. † Other programs" in lines[-1]


@pytest.mark.parametrize("name", [name for name, (results, _) in measured.FIGURES.items()])
def test_a_picture_is_of_the_results(name, tmp_path):
    assert measured.digest(name) in (measured.OUT / f"{name}.svg").read_text(encoding="utf-8"), "run `make figures`"
    assert measured.svg(name, tmp_path)
    assert measured.digest(name) in (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
