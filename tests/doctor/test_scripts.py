"""Small training scripts with one planted mistake each: the command finds it at its line, and nothing in its twin.

The line on which the doctor has to point ends in ``# MISTAKE: code, severity``; nothing else may be found. A first line
``# doctor: …`` holds options of the command.
"""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

HERE = Path(__file__).parent
SCRIPTS = HERE / "scripts"
MISTAKES = sorted(SCRIPTS.glob("*/mistake.py"))
CLEAN = sorted([*SCRIPTS.glob("*/fixed.py"), *SCRIPTS.glob("healthy/*.py")])
MARK = re.compile(r"# MISTAKE: ([\w-]+), (error|warning|note)$", re.MULTILINE)
# It starts processes of its own: run by the installed command, in test_survival.py.
OF_THEIR_OWN = {"ranks_with_different_counts"}
CODES = {
    "double-softmax",
    "probs-as-log-probs",
    "clipped-log",
    "collapsed-rows",
    "low-precision-loss",
    "all-ignored",
    "ignored-nan",
    "label-out-of-range",
    "label-dtype",
    "shape-swapped",
    "not-a-distribution",
    "accumulation-mean",
    "mean-over-ranks",
    "weighted-mean",
    "smoothing-convention",
    "initial-loss",
    "unused-class",
    "imbalance",
    "padding-counted",
    "logits-memory",
    "grad-check",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(SCRIPTS).with_suffix(""))


def planted(folder: Path) -> set[tuple[str, str, str]]:
    """Return code, severity and file:line of the marks in a script and its neighbours."""
    marks = set()
    for path in [folder] if folder.is_file() else sorted(folder.glob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            for mark in MARK.finditer(line):
                marks.add((mark[1], mark[2], f"{path}:{number}"))
    return marks


def found(report: dict[str, Any], folder: Path) -> set[tuple[str, str, str]]:
    places = [(one, *one["where"].rsplit(":", 1)) for one in report["findings"]]
    return {(one["code"], one["severity"], f"{(folder / file).resolve()}:{line}") for one, file, line in places}


def options_of(script: Path) -> list[str]:
    first = script.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("# doctor: ").split() if first.startswith("# doctor: ") else []


@dataclass
class Done:
    status: int
    printed: str
    digest: str
    report: dict[str, Any]


class Forks:
    """Processes that have loaded PyTorch and run one request after another."""

    def __init__(self, folder: Path, n: int) -> None:
        self._folder = folder
        self._idle: queue.Queue[subprocess.Popen[str]] = queue.Queue()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
        for _ in range(n):
            command = [sys.executable, str(HERE / "forks.py")]
            self._idle.put(subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment))
        self._pool = ThreadPoolExecutor(n)
        self._known: dict[tuple[Path, bool], Future[Done]] = {}
        self._n = n

    def start(self, script: Path, doctor: bool) -> Future[Done]:
        key = script, doctor
        if key not in self._known:
            self._known[key] = self._pool.submit(self._run, script, doctor)
        return self._known[key]

    def _run(self, script: Path, doctor: bool) -> Done:
        folder = self._folder / f"{name_of(script).replace('/', '-')}-{doctor}"
        folder.mkdir()
        process = self._idle.get()
        try:
            request = {"script": str(script), "options": options_of(script), "folder": str(folder), "doctor": doctor}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            status = json.loads(process.stdout.readline())
        finally:
            self._idle.put(process)
        report = folder / "report.json"
        return Done(
            status,
            (folder / "printed").read_text(encoding="utf-8"),
            (folder / "digest").read_text(encoding="utf-8"),
            json.loads(report.read_text(encoding="utf-8")) if report.exists() else {},
        )

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for _ in range(self._n):
            process = self._idle.get()
            process.stdin.close()
            process.wait()
            process.stdout.close()


@pytest.fixture(scope="module")
def forks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    forks = Forks(tmp_path_factory.mktemp("reports"), min(4, os.cpu_count() or 1))
    for item in request.session.items:  # of the tests that were chosen, all at once
        call = getattr(item, "callspec", None)
        if call is not None and "script" in call.params and item.path == Path(__file__):
            for doctor in (True, False):
                forks.start(call.params["script"], doctor)
    yield forks
    forks.close()


IN_FORKS = [script for script in (*MISTAKES, *CLEAN) if script.parent.name not in OF_THEIR_OWN]


@pytest.mark.parametrize("script", [s for s in MISTAKES if s in IN_FORKS], ids=name_of)
def test_the_mistake_is_found_at_its_line_and_nothing_else(script: Path, forks: Forks) -> None:
    done = forks.start(script, True).result()
    assert found(done.report, script.parent) == planted(script), done.printed
    for finding in done.report["findings"]:
        assert finding["numbers"]
        assert finding["why"]
        assert finding["fix"]
        assert finding["count"] >= 1


@pytest.mark.parametrize("script", [s for s in CLEAN if s in IN_FORKS], ids=name_of)
def test_the_doctor_is_silent_on_a_sound_script(script: Path, forks: Forks) -> None:
    done = forks.start(script, True).result()
    assert done.report["findings"] == [], done.printed
    assert done.report["notes"] == []
    assert done.report["ended"] == "normally"
    assert done.report["steps"] > 0
    assert done.status == 0


@pytest.mark.parametrize("script", IN_FORKS, ids=name_of)
def test_the_script_computes_the_same_bits_and_ends_the_same_way(script: Path, forks: Forks) -> None:
    watched, plain = forks.start(script, True).result(), forks.start(script, False).result()
    assert watched.digest == plain.digest
    if plain.status == 0:
        assert watched.printed.startswith(plain.printed)
    errors = any(finding["severity"] == "error" for finding in watched.report["findings"])
    assert watched.status == (plain.status or int(errors))


def test_every_code_has_a_script() -> None:
    marks = [mark for script in MISTAKES for mark in planted(script)]
    assert {code for code, _, _ in marks} == CODES
    assert len(MISTAKES) >= 32


@pytest.mark.parametrize("script", MISTAKES, ids=name_of)
def test_a_mistake_has_one_mark_and_a_twin_without_any(script: Path) -> None:
    assert len(planted(script)) == 1
    assert not planted(script.with_name("fixed.py"))
