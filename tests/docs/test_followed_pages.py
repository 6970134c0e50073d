"""The README and the tutorials followed as a reader does: every command and every example, in order, in one folder."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from sklearn.datasets import load_iris
from typer.testing import CliRunner

from crossent.cli import app

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("examples", ROOT / "docs" / "examples.py")
examples = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(examples)
COMMAND = re.compile(r"^(?:\$ |    )crossent (.+)$", re.MULTILINE)
SCORE = """
score = model.score(rows.drop('index', 'carrier').to_numpy(), rows['carrier'].to_numpy())
open(f'score-{rank}', 'w').write(str(score))
"""
WITH_A_MISTAKE = """
import torch
from torch import nn
torch.manual_seed(0)
x, y = torch.randn(90, 5), torch.arange(90) % 3
model = nn.Sequential(nn.Linear(5, 3), nn.Softmax(dim=1))
nn.functional.cross_entropy(model(x), y).backward()
"""


def own_files(folder):
    """Write what the README takes for the reader's own: a table in two parts and a training script."""
    iris = load_iris(as_frame=True)
    frame = pl.from_pandas(iris.data).with_columns(species=pl.Series(iris.target_names).gather(iris.target.to_numpy()))
    frame = frame.sample(fraction=1, shuffle=True, seed=0)
    frame[:120].write_csv(folder / "flowers.csv")
    frame[120:].write_csv(folder / "new.csv")
    (folder / "train.py").write_text(WITH_A_MISTAKE)


def follow(page):
    """Run the page's commands and examples, and return the exit status of each command."""
    text, namespace, statuses, start = page.read_text(encoding="utf-8"), {"__name__": "__main__"}, {}, 0
    for place in COMMAND.finditer(text):
        examples.run(text[start : place.start()], page.name, text.count("\n", 0, start), namespace)
        start = place.end()
        if place[1] != "explore":  # serves until it is stopped: tests/browser
            done = CliRunner().invoke(app, shlex.split(place[1]))
            assert not isinstance(done.exception, Exception), f"crossent {place[1]}: {done.exception!r}"
            statuses[place[1]] = done.exit_code
    examples.run(text[start:], page.name, text.count("\n", 0, start), namespace)
    return statuses


@pytest.mark.parametrize(
    "page", ["README.md", "docs/tutorials/train-and-explain.md", "docs/tutorials/train-explain-diagnose.md"]
)
def test_a_page_can_be_followed_from_top_to_bottom(page, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    own_files(tmp_path)
    statuses = follow(ROOT / page)
    assert len(statuses) > 2
    # The doctor's status says that it has found something.
    assert statuses == {command: int(command.startswith("doctor")) for command in statuses}


def test_the_script_of_a_page_runs_under_torchrun(tmp_path):
    pytest.importorskip("torch")
    page = (ROOT / "docs/how-to/distributed-training.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(# train\.py.*?)```", page, re.DOTALL)
    (tmp_path / "train.py").write_text(script + SCORE)
    iris = load_iris(as_frame=True)
    pl.from_pandas(iris.data).with_columns(carrier=pl.Series(iris.target)).write_parquet(tmp_path / "flights.parquet")
    environment = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    scores = [float((tmp_path / f"score-{rank}").read_text()) for rank in range(2)]
    assert min(scores) > 0.9
