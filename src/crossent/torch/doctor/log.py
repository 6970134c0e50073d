"""The report so far, on disk: each process appends what changed, so that even a killed one leaves it behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from crossent.torch.doctor.findings import Finding, Ledger
from crossent.torch.doctor.report import Report


class Log:
    """Append to this process's own file in a folder; the operating system has it at once.

    Parameters
    ----------
    folder : Path
        Read by `read` when the processes have ended.
    """

    def __init__(self, folder: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(folder / f"{os.getpid()}.jsonl", flags, 0o600)
        self._told: dict[tuple[str, str], Finding] = {}

    def write(self, **what: Any) -> None:
        os.write(self._file, (json.dumps(what) + "\n").encode())

    def tell(self, report: Report) -> None:
        """Write what has changed since the last time."""
        for finding in report.findings:
            key = finding.code, finding.where
            if self._told.get(key) != finding:
                self._told[key] = finding
                self.write(finding=finding.to_dict())
        self.write(steps=report.steps, notes=report.notes)


def read(folder: Path) -> Report:
    """Return the report that all processes together have left behind."""
    ledger, steps, notes, ended = Ledger(), 0, [], ""
    for path in sorted(folder.glob("*.jsonl")):
        found: dict[tuple[str, str], Finding] = {}
        own_steps = 0
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut off while it was written
            if "finding" in entry:
                finding = Finding(**entry["finding"])
                found[finding.code, finding.where] = finding
            own_steps = entry.get("steps", own_steps)
            notes += [note for note in entry.get("notes", ()) if note not in notes]
            ended = entry.get("ended", ended) if ended in ("", "normally") else ended
        steps += own_steps
        for finding in found.values():
            ledger.add(finding)
    return Report(ledger.findings(), steps, notes, ended=ended)
