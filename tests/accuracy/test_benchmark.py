"""The accuracy table runs, judges every level and dtype, and finds the promise kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import crossent

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accuracy.py"


def test_the_accuracy_table_finds_the_promise_kept(tmp_path):
    command = [sys.executable, SCRIPT, "--quick", "--results", tmp_path]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr
    assert run.stdout.count("PASS") == 4 * len(crossent.cpu_levels())
    assert "FAIL" not in run.stdout
