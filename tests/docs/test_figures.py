"""The picture on who pays is drawn from crossent's numbers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_payers_have_their_derivatives(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("who_pays", ROOT / "docs" / "figures" / "who_pays.py")
    figure = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figure)
    monkeypatch.setattr(figure, "OUT", tmp_path / "who_pays.svg")
    figure.main()
    assert "nobody +0, dog +2, in proportion +1, everyone +0.6667, bird +0" in capsys.readouterr().out
    assert "<svg" in figure.OUT.read_text(encoding="utf-8")
