"""Eight threads that call everything at once for a few seconds; ``make soak MINUTES=30`` takes longer over it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "tools" / "soak.py"


def soak(*options):
    return subprocess.run(
        [sys.executable, str(SOAK), *options], capture_output=True, text=True, check=False, timeout=300
    )


def test_eight_threads_of_mixed_calls_get_the_bits_of_a_quiet_run_in_the_same_memory():
    pytest.importorskip("uvicorn")
    # A few seconds hold no warm-up: allocators still fetch their first pages.
    done = soak("--minutes", "0.2", "--within", "0.04")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = done.stdout.splitlines()[0].partition(": ")[2]
    called = {kind: int(n) for n, kind in re.findall(r"(\d+) (\w+)", counts)}
    assert called.keys() == {"loss", "head", "fit", "prediction", "explanation", "page"}
    assert min(called.values()) > 3
    assert "every result has the bits of the quiet run" in done.stdout


def test_memory_that_moves_is_told():
    pytest.importorskip("uvicorn")
    assert soak("--minutes", "0.02", "--within", "-1").returncode == 1
