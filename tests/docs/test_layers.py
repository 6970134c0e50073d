"""Imports point down, and ``import crossent`` brings in next to nothing: docs/explanation/architecture.md, held to."""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import crossent

SOURCE = Path(__file__).parents[2] / "src" / "crossent"

# A module or package imports from floors below its own, a package also from itself.
FLOORS = (
    ("_native", "errors", "reference", "explanation_words"),
    ("arrays", "cpu", "simplex_inputs"),
    ("targets", "simplex", "explanation_text", "explanation_html", "explanation_latex"),
    ("loss", "explain"),
    ("probabilities", "comparison", "training"),
    ("estimators",),
    ("data",),
    ("report",),
    ("cli",),
    ("__main__",),
)
FLOOR = {place: level for level, places in enumerate(FLOORS) for place in places}
HEAVY = ("torch", "scipy", "sklearn", "polars", "pandas", "typer", "rich", "matplotlib")


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name: path for path in sorted(SOURCE.rglob("*.py")) if (name := module_name(path))}


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs, in functions too: an import that waits for a call points down like any other."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield child
            yield from statements(child)


def imports_of(source: str) -> set[str]:
    """Return the modules of crossent that a source imports, without the prefix."""
    found = set()
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    inner = {name.removeprefix("crossent.") for name in found if name.startswith("crossent.")}
    return {home for name in inner if (home := home_of(name)) is not None}


def home_of(name: str) -> str | None:
    """Return the module that an imported name belongs to; the package's own constants belong to none."""
    if name in crossent._HOMES and name not in MODULES:
        return crossent._HOMES[name]
    while name not in MODULES and "." in name:
        name = name.rpartition(".")[0]
    return name if name in MODULES or name == "_native" else None


def place_of(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_lower_floors_only(module):
    for imported in imports_of(MODULES[module].read_text(encoding="utf-8")):
        same_package = place_of(imported) == place_of(module)
        assert same_package or FLOOR[place_of(imported)] < FLOOR[place_of(module)], f"{module} imports {imported}"


def test_no_import_comes_back_to_where_it_began():
    graph = {name: imports_of(path.read_text(encoding="utf-8")) - {name} for name, path in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


def test_every_floor_is_of_something_that_exists():
    assert set(FLOOR) == {place_of(module) for module in MODULES} | {"_native"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from crossent import loss, cross_entropy", {"loss"}),
        ("from crossent import entropy", {"probabilities"}),
        ("def f():\n    from crossent.data.tables import read_table", {"data.tables"}),
        ("import crossent.report.page", {"report.page"}),
        ("if TYPE_CHECKING:\n    from crossent.cli import main", set()),
        ("import numpy", set()),
    ],
)
def test_imports_are_found(source, expected):
    assert imports_of(source) == expected


def test_a_circle_is_noticed():
    with pytest.raises(CycleError):
        list(TopologicalSorter({"loss": {"targets"}, "targets": {"loss"}}).static_order())


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(run.stdout)}


@pytest.mark.parametrize("statement", ["import crossent", "from crossent import cross_entropy_and_grad, entropy"])
def test_import_brings_in_no_heavy_library(statement):
    assert loaded_after(statement).isdisjoint(HEAVY)


def test_the_command_line_starts_without_the_heaviest_libraries():
    heaviest = {"torch", "scipy", "sklearn", "polars", "pandas", "matplotlib"}
    assert loaded_after("import crossent.cli").isdisjoint(heaviest)


def seconds_to(statement: str) -> float:
    code = f"import time\nstart = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("statement", ["import crossent", "from crossent import cross_entropy_and_grad"])
def test_import_takes_at_most_twice_what_numpy_takes(statement):
    # In turn: a machine that slows down for a while slows both.
    pairs = [(seconds_to(statement), seconds_to("import numpy")) for _ in range(7)]
    ours, numpys = (statistics.median(times) for times in zip(*pairs))
    assert ours <= 2 * numpys
