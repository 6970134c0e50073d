"""A pytest plugin that writes what became of each test, and whether it used what was put in the peer's place."""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

uses: Counter[str] = Counter()
outcomes: dict[str, dict[str, Any]] = {}


def counted(function: Any) -> Any:
    """Return the function; its calls are counted, so that a test that never meets it is not taken for a proof."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        uses["calls"] += 1
        return function(*args, **kwargs)

    return wrapper


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    uses.clear()
    done = yield
    outcomes.setdefault(item.nodeid, {"outcome": "passed", "reason": ""})["used"] = uses["calls"] > 0
    return done


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr or "")
        outcomes[report.nodeid] = {"outcome": report.outcome, "reason": reason}


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.outcome != "passed":
        outcomes[report.nodeid] = {"outcome": report.outcome, "reason": str(report.longrepr), "used": True}


def pytest_sessionfinish() -> None:
    Path(os.environ["PARITY_RECORD"]).write_text(json.dumps(outcomes))
