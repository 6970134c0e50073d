"""Every notebook of the documentation runs from top to bottom, and is kept without outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_it_runs_and_shows_something(notebook, tmp_path):
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    shown = [kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())]
    assert "image/png" in shown
    assert "text/html" in shown
    assert list(tmp_path.iterdir()) == []


def test_it_is_kept_without_outputs(notebook):
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook.cells)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) > 1
