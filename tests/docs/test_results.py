"""Rows of results are merged by key, and say what they reach and what else the machine did."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def results():
    spec = importlib.util.spec_from_file_location("results_script", BENCHMARKS / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def options(results, tmp_path):
    parser = argparse.ArgumentParser()
    results.add_options(parser)
    return parser.parse_args(["--results", str(tmp_path)])


def test_a_row_takes_the_place_of_its_key_and_leaves_the_others(results, options, tmp_path):
    for n, seconds in ((100, 1.0), (20, 2.0)):
        results.Results("times", ("n",), options).keep({"n": n, "seconds": seconds, "of_old": 1}, threads=1)
    results.Results("times", ("n",), options).keep({"n": 100, "seconds": 3.25}, threads=2)
    rows = results.read("times", tmp_path)
    assert [(row["n"], row["seconds"], row["threads"]) for row in rows] == [(20, 2, 1), (100, 3.25, 2)]
    assert [row.get("of_old") for row in rows] == [1, None]
    assert [path.name for path in tmp_path.iterdir()] == ["times.csv"]


def test_rows_kept_together_are_written_at_the_end(results, options, tmp_path):
    with results.Results("times", ("n",), options, timed=False) as table:
        table.keep({"n": 1}, threads=1)
        assert not list(tmp_path.iterdir())
    (row,) = results.read("times", tmp_path)
    assert row["n"] == 1
    assert "load" not in row


def test_goals_and_roof_are_in_the_row(results, options, tmp_path):
    table = results.Results("times", ("n",), options)
    goals = {"ratio": (">=", 3.0), "mib": ("<=", 64.0)}
    assert table.keep({"n": 1, "ratio": 2.9, "mib": 64.0}, threads=1, goals=goals, roof=("copy", 1.5)) == ["ratio"]
    (row,) = results.read("times", tmp_path)
    assert (row["goals"], row["missed"]) == ("ratio >= 3; mib <= 64", "ratio")
    assert (row["roof"], row["to_roof"]) == ("copy", 1.5)
    assert {"cpu", "cores", "date", "python", "numpy", "load"} <= row.keys()


def test_results_none_writes_nothing(results, options, tmp_path):
    options.results = "none"
    results.Results("times", ("n",), options).keep({"n": 1}, threads=1)
    assert not list(tmp_path.iterdir())


BUSY = "import time; end = time.time() + 20\nwhile time.time() < end: pass"
LINUX = pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="only there is it known what other programs take")


@LINUX
def test_a_row_is_disturbed_by_another_program(results, options, tmp_path):
    table = results.Results("times", ("n",), options)
    # Its shell ends at once, so that it is no child of this process.
    started = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -c '{BUSY}' > /dev/null 2>&1 & echo $!"], capture_output=True, text=True
    )
    try:
        time.sleep(1.5)
        table.keep({"n": 1}, threads=1)
    finally:
        os.kill(int(started.stdout), signal.SIGKILL)
    (row,) = results.read("times", tmp_path)
    assert row["disturbed"] == "yes"
    assert row["others"] > 0.2


@LINUX
def test_what_a_child_takes_is_our_own(results):
    def own_seconds():
        return results._own_ticks() / os.sysconf("SC_CLK_TCK")

    before = own_seconds()
    child = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        end = time.monotonic() + 15
        while own_seconds() < before + 0.3 and time.monotonic() < end:
            time.sleep(0.1)
        assert own_seconds() >= before + 0.3
    finally:
        child.kill()
        child.wait()
    assert own_seconds() >= before + 0.3


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "results").glob("*.csv")), ids=lambda path: path.stem)
def test_rows_miss_what_they_say_they_miss(results, path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in filter(lambda row: row.get("goals"), rows):
        goals = [goal.split() for goal in row["goals"].split("; ")]
        missed = [name for name, sign, goal in goals if not results.reached(float(row[name]), sign, float(goal))]
        assert "; ".join(missed) == row["missed"]
