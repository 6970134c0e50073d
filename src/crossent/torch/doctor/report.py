"""What a run under the doctor is told: the findings, as text, JSON and HTML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossent.torch.doctor.findings import Finding

VERSION = 1


class Report:
    """The findings of a run, while it runs and after it.

    Attributes
    ----------
    findings : list of Finding
        The gravest first.
    steps : int
        Calls of losses that were watched.
    notes : list of str
        What could not be looked at.
    script : str
    ended : str
        ``normally``, ``exception: …``, ``exit status …`` or ``signal …``.
    """

    def __init__(
        self,
        findings: list[Finding] | None = None,
        steps: int = 0,
        notes: list[str] | None = None,
        script: str = "",
        ended: str = "normally",
    ) -> None:
        self._findings = findings or []
        self._steps = steps
        self._notes = notes or []
        self.script, self.ended = script, ended

    @property
    def findings(self) -> list[Finding]:
        return list(self._findings)

    @property
    def steps(self) -> int:
        return self._steps

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    def to_dict(self) -> dict[str, Any]:
        """Return the report in JSON's types."""
        return {
            "version": VERSION,
            "script": self.script,
            "steps": self.steps,
            "findings": [finding.to_dict() for finding in self.findings],
            "ended": self.ended,
            "notes": self.notes,
        }

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def text(self) -> str:
        """Return the report as plain text."""
        from crossent.torch.doctor.render import text

        return text(self)

    def to_html(self) -> str:
        """Return the report as one HTML page that needs nothing else."""
        from crossent.torch.doctor.render import html

        return html(self)
