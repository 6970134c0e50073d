"""The architecture as the imports have it: every arrow points down, and the package itself loads nothing heavy."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import crossent

ROOT = Path(crossent.__file__).parent
# From the ground up; docs/explanation/architecture.md draws the same floors.
FLOORS = (
    {"errors", "_native", "reference", "replace_directory"},
    {"arrays", "cpu", "simplex_inputs"},
    {"targets", "family"},
    {"loss", "simplex"},
    {"training", "head"},
    {"probabilities", "explanation", "estimators", "torch"},
    {"data", "stories"},
    {"report", "explorer"},
    {"cli"},
    {"__main__"},
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
HEAVY = ("torch", "scipy", "sklearn", "polars", "typer", "rich", "matplotlib", "pandas")


def place(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path):
    """Top-level parts of crossent that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module] if node.module != "crossent" else [f"crossent.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            parts = module.split(".")
            if parts[0] == "crossent" and len(parts) > 1:
                name = crossent._HOMES.get(parts[1], parts[1])
                yield name.split(".")[0]


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    here = place(path)
    for name in imported(path):
        assert name == here or FLOOR_OF[name] < FLOOR_OF[here], f"{here} imports {name}"


def test_every_file_has_a_floor():
    assert {place(path) for path in FILES} <= FLOOR_OF.keys()


def loaded_by(statement):
    code = f"import sys, json; {statement}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_package_loads_nothing_heavy():
    assert not loaded_by("import crossent").intersection({*HEAVY, "numpy"})


def test_the_loss_loads_numpy_alone():
    assert not loaded_by("import crossent; crossent.cross_entropy([[1.0, 2.0]], [0])").intersection(HEAVY)


def test_every_public_name_is_there():
    for name in crossent.__all__:
        assert getattr(crossent, name) is not None
        assert name in dir(crossent)
