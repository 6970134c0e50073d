"""One report of all ranks that ``torchrun`` has started, each with a command of its own."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from crossent.torch.doctor.findings import Finding, Ledger
from crossent.torch.doctor.report import Report

# For ranks that end later than the first, in seconds: less than torchrun's, which kills 30 after it has asked.
PATIENCE = 25.0


def own_path(path: Path) -> Path:
    """Return where this process writes: ranks that know nothing of each other must not write to one file."""
    rank = int(os.environ.get("RANK", "0"))
    return path.with_name(f"{path.stem}.rank{rank}{path.suffix}") if rank and not _has_meeting_point() else path


def together(report: Report) -> Report | None:
    """Return the report of all ranks in the first one, and None in the others, whose reports have gone there.

    Elsewhere than under ``torchrun`` it is the report itself.
    """
    if not _has_meeting_point():
        return report
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = _store()
    if rank:
        store.set(str(rank), json.dumps(report.to_dict()))
        return None
    texts = _collected(store, list(range(1, size)))
    return merged([report, *(_read(text) for text in texts.values())], [r for r in range(1, size) if r not in texts])


def _has_meeting_point() -> bool:
    """Whether a store is there that outlives the ranks: the agent's."""
    is_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return is_agent and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _store() -> Any:
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    module: Any = dist
    store = module.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=PATIENCE))
    return module.PrefixStore(f"crossent-doctor-reports/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _collected(store: Any, ranks: list[int]) -> dict[int, str]:
    """Wait for the ranks' texts, until the patience ends or ``torchrun`` says so, as it does when a rank has failed."""
    texts: dict[int, str] = {}
    stopped: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    try:
        end = time.monotonic() + PATIENCE
        while True:
            last = bool(stopped) or time.monotonic() > end
            for rank in ranks:
                if rank not in texts and store.check([str(rank)]):
                    texts[rank] = store.get(str(rank)).decode()
            if last or len(texts) == len(ranks):
                return texts
            time.sleep(0.05)
    finally:
        signal.signal(signal.SIGTERM, before)


def _read(text: str) -> Report:
    told = json.loads(text)
    findings = [Finding(**one) for one in told["findings"]]
    return Report(findings, told["steps"], told["notes"], told["script"], told["ended"])


def merged(reports: list[Report], missing: list[int]) -> Report:
    """Return one report of several ranks', and a note on those that have left none."""
    ledger, notes = Ledger(), []
    for report in reports:
        for one in report.findings:
            ledger.add(one)
        notes += [note for note in report.notes if note not in notes]
    if missing:
        notes.append(f"no report came from rank {', '.join(map(str, missing))}")
    ended = next((report.ended for report in reports if report.ended != "normally"), "normally")
    return Report(ledger.findings(), sum(report.steps for report in reports), notes, reports[0].script, ended)
