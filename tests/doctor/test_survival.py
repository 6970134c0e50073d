"""Scripts that end badly, start processes, compile or print a lot: the command goes through them, and reports."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

HERE = Path(__file__).parent
SURVIVED = HERE / "scripts" / "survived"
MARK = re.compile(r"# MISTAKE: ([\w-]+), (error|warning|note)$")


def command(script: Path, *arguments: str, options: tuple[str, ...] = (), report: Path) -> list[str]:
    run = [sys.executable, "-m", "crossent", "doctor", *options, "--json", str(report), script.name]
    return [*run, *arguments]


def doctor(script: Path, *arguments: str, options: tuple[str, ...] = (), report: Path):
    """Run the command in the script's folder; return what it did, and its report."""
    done = subprocess.run(
        command(script, *arguments, options=options, report=report),
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "100", "OMP_NUM_THREADS": "1"},
    )
    return done, json.loads(report.read_text(encoding="utf-8"))


def marks(script: Path) -> set[tuple[str, str, str]]:
    lines = script.read_text(encoding="utf-8").splitlines()
    found = [(number, MARK.search(line)) for number, line in enumerate(lines, start=1)]
    return {(mark[1], mark[2], f"{script.name}:{number}") for number, mark in found if mark}


def findings(report) -> set[tuple[str, str, str]]:
    return {(one["code"], one["severity"], one["where"]) for one in report["findings"]}


def test_a_script_that_raises_leaves_its_report_and_its_traceback(tmp_path):
    script = SURVIVED / "raises_in_the_middle.py"
    done, report = doctor(script, report=tmp_path / "report.json")
    assert findings(report) == marks(script)
    assert report["findings"][0]["count"] == 2
    assert report["ended"].startswith("exception: RuntimeError: mat1 and mat2")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "crossent" not in done.stderr.split("Traceback")[1].split("torch/nn")[0]


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda kind: kind.name)
def test_a_script_that_hangs_in_a_worker_leaves_its_report_when_it_is_ended(kind, tmp_path):
    script, report, printed = SURVIVED / "hangs_in_a_worker.py", tmp_path / "report.json", tmp_path / "printed"
    with printed.open("w") as out:  # not a pipe: the worker outlives the script that was killed, and would hold it open
        run = command(script, report=report)
        process = subprocess.Popen(run, cwd=SURVIVED, stdout=out, stderr=out, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while "step 1" not in printed.read_text() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        if kind == signal.SIGKILL:
            # The script alone is killed, as by the kernel when memory runs out; the command is its parent.
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[0]), kind)
        else:
            process.send_signal(kind)
        status = process.wait(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    read = json.loads(report.read_text(encoding="utf-8"))
    assert findings(read) == marks(script)
    assert read["ended"] == f"signal {kind.name}"
    assert "double-softmax" in printed.read_text()
    assert status == 128 + kind


@pytest.mark.parametrize("name", ["compiled", "compiled_step", "autocast_with_scaler"])
def test_compiled_and_mixed_precision_scripts_run_to_their_end(name, tmp_path):
    script = SURVIVED / f"{name}.py"
    plain = subprocess.run([sys.executable, script.name], cwd=SURVIVED, capture_output=True, text=True, check=True)
    done, report = doctor(script, report=tmp_path / "report.json")
    assert findings(report) == marks(script)
    assert report["ended"] == "normally"
    assert done.stdout.startswith(plain.stdout)
    assert done.returncode == int(bool(marks(script)))


def test_both_ranks_of_a_data_parallel_run_are_watched(tmp_path):
    script = SURVIVED / "two_processes.py"
    done, report = doctor(script, report=tmp_path / "report.json")
    assert findings(report) == marks(script)
    assert report["findings"][0]["count"] == 6
    # Two processes write to one pipe: their lines may run into each other.
    assert "rank 0 trained" in done.stdout
    assert "rank 1 trained" in done.stdout


def test_means_over_unequal_ranks_are_found_and_a_common_denominator_is_accepted(tmp_path):
    folder = HERE / "scripts" / "ranks_with_different_counts"
    _, report = doctor(folder / "mistake.py", report=tmp_path / "mistake.json")
    assert findings(report) == marks(folder / "mistake.py")
    assert sorted(report["findings"][0]["numbers"]["counts"]) == [8, 32]
    done, report = doctor(folder / "fixed.py", report=tmp_path / "fixed.json")
    assert report["findings"] == []
    assert report["ended"] == "normally"
    assert done.returncode == 0


def torchrun(script: Path, *arguments: str, report: Path):
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "crossent"]
    return subprocess.run(
        [*run, *command(script, *arguments, report=report)[3:]],
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "COLUMNS": "100", "OMP_NUM_THREADS": "1"},
    )


def test_ranks_that_torchrun_starts_give_one_report_also_where_one_of_them_fails(tmp_path):
    script, path = SURVIVED / "launched.py", tmp_path / "report.json"
    done = torchrun(script, "--fail", report=path)
    report = json.loads(path.read_text(encoding="utf-8"))
    assert findings(report) == marks(script)
    assert report["steps"] == 6
    assert report["ended"] == "exit status 3"
    assert report["notes"] == []
    assert done.stdout.count("mean-over-ranks") == 1
    assert done.returncode != 0


def test_a_compiled_loss_is_seen_on_request(tmp_path):
    script = SURVIVED / "compiled_step.py"
    options = ("--see-compiled", "--every", "2")
    done, report = doctor(SURVIVED / "compiled_with_mistake.py", options=options, report=tmp_path / "mistake.json")
    assert findings(report) == marks(SURVIVED / "compiled_with_mistake.py")
    assert report["findings"][0]["count"] == 3
    assert "still compiled: True" in done.stdout
    _, report = doctor(script, options=options, report=tmp_path / "fixed.json")
    assert report["findings"] == report["notes"] == []
    assert report["steps"] == 2


def test_the_exit_status_of_the_script_is_passed_on(tmp_path):
    script = SURVIVED / "exits_with_three.py"
    done, report = doctor(script, report=tmp_path / "report.json")
    assert findings(report) == marks(script)
    assert report["ended"] == "exit status 3"
    assert done.returncode == 3


def test_nothing_of_a_long_output_is_lost(tmp_path):
    script = SURVIVED / "prints_a_lot.py"
    done, report = doctor(script, report=tmp_path / "report.json")
    lines = done.stdout.splitlines()
    assert lines[:200_000] == [f"line {n}" for n in range(200_000)]
    assert done.stderr.splitlines() == [f"warning {n}" for n in range(1000)]
    assert findings(report) == marks(script)


def test_what_stands_behind_the_script_is_the_scripts_own(tmp_path):
    script = SURVIVED / "takes_arguments.py"
    report, page = tmp_path / "report.json", tmp_path / "report.html"
    arguments = ("rows.csv", "--steps", "5", "--json", "--lr", "0.1")
    done, read = doctor(script, *arguments, options=("--steps", "3", "--html", str(page)), report=report)
    assert "data rows.csv steps 5 json True lr 0.1" in done.stdout
    assert read["steps"] == 3
    assert read["findings"][0]["count"] == 3
    assert "double-softmax" in page.read_text(encoding="utf-8")


def test_a_script_imports_the_modules_beside_it(tmp_path):
    script = SURVIVED / "neighbour" / "train.py"
    done, report = doctor(script, options=("--fail-on", "never"), report=tmp_path / "report.json")
    assert "trained as __main__" in done.stdout
    assert findings(report) == marks(script.with_name("objective.py"))
    assert done.returncode == 0


def test_the_example_of_the_documentation_collapses_as_it_says_and_nothing_else(tmp_path):
    script = HERE.parents[1] / "examples" / "softmax_collapse.py"
    _, early = doctor(script, "--steps", "20", report=tmp_path / "early.json")
    assert early["findings"] == []
    assert early["steps"] == 3 * 21
