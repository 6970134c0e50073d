"""Rows of results are merged by key, and say what they reach and what else the machine did."""

from __future__ import annotations

import argparse
import csv
import importlib.util
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


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="only there is it known what other programs take")
def test_a_row_is_disturbed_by_another_program(results, options, tmp_path):
    table = results.Results("times", ("n",), options)
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(1.5)
        table.keep({"n": 1}, threads=1)
    finally:
        other.kill()
        other.wait()
    (row,) = results.read("times", tmp_path)
    assert row["disturbed"] == "yes"
    assert row["others"] > 0.2


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "results").glob("*.csv")), ids=lambda path: path.stem)
def test_rows_miss_what_they_say_they_miss(results, path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in filter(lambda row: row.get("goals"), rows):
        goals = [goal.split() for goal in row["goals"].split("; ")]
        missed = [name for name, sign, goal in goals if not results.reached(float(row[name]), sign, float(goal))]
        assert "; ".join(missed) == row["missed"]
