"""No kernel reads or writes beside its arrays, at any number of classes: the pages there may not be touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import crossent

CALLS = Path(__file__).with_name("guarded_calls.py")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs mprotect")


def run(*arguments):
    command = [sys.executable, str(CALLS), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    lines = done.stdout.splitlines() or ["nothing"]
    return done, lines


def test_kernels_stay_within_their_arrays():
    done, lines = run()
    assert done.returncode >= 0, f"signal {-done.returncode} in: {lines[-1]}"
    assert done.returncode == 0, "\n".join([line for line in lines if line.startswith("FAILED")][:20]) or done.stderr
    assert len(lines) == len(crossent.cpu_levels()) * 4 * 2 * 70 * 8 * 3  # dtypes, rows, classes, calls, places


def test_a_row_behind_the_end_is_noticed():
    done, lines = run("--overrun")
    assert done.returncode in (-signal.SIGSEGV, -signal.SIGBUS), done.stderr
    assert lines == ["overrun"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_without_classes_are_refused(level, dtype):
    with pytest.raises(ValueError, match="at least one class"):
        crossent.cross_entropy_and_grad(np.zeros((3, 0), dtype), np.zeros(3, np.int64))


def test_no_rows_touch_nothing(level):
    loss, grad = crossent.cross_entropy_and_grad(np.zeros((0, 5), np.float32), np.zeros(0, np.int64))
    assert loss == 0
    assert grad.shape == (0, 5)
