"""What the doctor finds, and the list in which each finding stands once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from crossent.torch.doctor.silence import is_silenced

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One mistake at one place.

    Attributes
    ----------
    code : str
        Stable: ``double-softmax``, ``all-ignored``, …
    severity : {"error", "warning", "note"}
        Wrong numbers; probably unwanted ones; a hint.
    where : str
        ``file:line`` of the call.
    numbers : mapping
        What shows it, at its worst: names to numbers, texts, or lists of them.
    why, fix : str
        Why it hurts, and the code to write instead.
    count : int
        How many of the calls looked at show it.
    """

    code: str
    severity: Severity
    where: str
    numbers: Mapping[str, Any]
    why: str
    fix: str
    count: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the finding in JSON's types; what JSON cannot write (nan, inf) as text."""
        return {
            "code": self.code,
            "severity": self.severity,
            "where": self.where,
            "numbers": {name: _plain(value) for name, value in self.numbers.items()},
            "why": self.why,
            "fix": self.fix,
            "count": self.count,
        }


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value


class Ledger:
    """The findings so far, one for each code and place: how often, and the worst of its numbers."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[float, Finding]] = {}

    def add(self, finding: Finding, size: float = 0.0) -> None:
        """Note a finding; the numbers kept are those of the largest ``size``, or the first ones."""
        key = (finding.code, finding.where)
        if is_silenced(*key):
            return
        if key not in self._found:
            self._found[key] = (size, finding)
            return
        before, known = self._found[key]
        worse = size > before or SEVERITIES.index(finding.severity) < SEVERITIES.index(known.severity)
        count = known.count + finding.count
        self._found[key] = (max(size, before), replace(finding if worse else known, count=count))

    def findings(self) -> list[Finding]:
        """Return the findings, the gravest first, in the order of their appearance."""
        found = [finding for _, finding in self._found.values()]
        return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
