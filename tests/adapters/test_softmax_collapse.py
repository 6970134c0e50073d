"""The walls of training, in the example's own short version: PyTorch's, the optimizer's, and none."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torch")

PATH = Path(__file__).parents[2] / "examples" / "softmax_collapse.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("softmax_collapse", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_median_margin_stops_where_each_loss_stops(example, tmp_path):
    curves = {name: example.train(loss, steps=2000, learning_rate=0.006) for name, loss in example.LOSSES.items()}
    margins = {name: values for name, (_, values) in curves.items()}
    assert max(margins["PyTorch"]) < 18
    assert margins["PyTorch"][-1] > 14
    assert 35 < margins["crossent"][-1] < 60
    assert margins["crossent, log-mean"][-1] > 1000
    example.draw(curves, str(tmp_path / "curves.svg"))
    assert (tmp_path / "curves.svg").stat().st_size > 1000
