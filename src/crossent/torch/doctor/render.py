"""The report as text and as a page."""

from __future__ import annotations

from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossent.torch.doctor.findings import Finding
    from crossent.torch.doctor.report import Report

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}
article{border-left:4px solid #888;padding:0 0 0 1rem;margin:2rem 0}
article.error{border-color:#c22}article.warning{border-color:#c80}article.note{border-color:#28c}
h2{font-size:1.1rem;margin:0}.where{margin:0;font-family:ui-monospace,monospace;overflow-wrap:anywhere}
table{border-collapse:collapse;margin:.5rem 0}th,td{text-align:left;padding:.1rem 1rem .1rem 0;vertical-align:top}
th{font-weight:normal;opacity:.75}pre{padding:.6rem;background:#8881;white-space:pre-wrap}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def number(value: Any) -> str:
    """Return a number to four digits, a list of them, or a text as it is.

    >>> number([0.123456, 12.0, "all"])
    '0.1235, 12, all'
    """
    if isinstance(value, (list, tuple)):
        return ", ".join(map(number, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def summary(report: Report) -> str:
    """Return the counts in one line."""
    counts = [(sum(f.severity == severity for f in report.findings), severity) for severity in _COLOURS]
    told = ", ".join(f"{n} {severity}{'' if n == 1 else 's'}" for n, severity in counts if n)
    calls = f"{report.steps} loss call{'' if report.steps == 1 else 's'} watched"
    ended = "" if report.ended == "normally" else f"; the script ended by {report.ended}"
    return f"{told or 'no findings'} ({calls}{ended})"


def text(report: Report, *, colour: bool = False, width: int = 100) -> str:
    """Return the report for a terminal."""
    from rich.console import Console

    out = StringIO()
    console = Console(file=out, width=width, force_terminal=colour, highlight=False, markup=False)
    for finding in report.findings:
        _print_finding(console, finding)
    for note in report.notes:
        console.print(f"note: {note}", style="dim")
    console.print(summary(report), style="bold")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _print_finding(console: Any, finding: Finding) -> None:
    from rich.padding import Padding
    from rich.text import Text

    head = Text.assemble(
        (finding.severity, f"bold {_COLOURS[finding.severity]}"), " ", (finding.code, "bold"), f"  {finding.where}"
    )
    head.append(f"  ({finding.count} times)" if finding.count > 1 else "")
    console.print(head, soft_wrap=True)
    for name, value in finding.numbers.items():
        console.print(Padding(Text(f"{name}: {number(value)}"), (0, 0, 0, 4)))
    console.print(Padding(Text(finding.why), (0, 0, 0, 2)))
    for line in finding.fix.splitlines():
        console.print(Text(f"    {line}", style="green"), soft_wrap=True)
    console.print()


def html(report: Report) -> str:
    """Return the report as one page, without scripts."""
    title = f"crossent doctor: {report.script}" if report.script else "crossent doctor"
    articles = "".join(_article(finding) for finding in report.findings)
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(summary(report))}</p>
<main>{articles}</main>
{f"<h2>Not looked at</h2><ul>{notes}</ul>" if notes else ""}
</body>
</html>
"""


def _article(finding: Finding) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(number(value))}</td></tr>'
        for name, value in finding.numbers.items()
    )
    times = f" · {finding.count} times" if finding.count > 1 else ""
    return (
        f'<article class="{finding.severity}"><h2>{finding.severity}: {escape(finding.code)}</h2>'
        f'<p class="where">{escape(finding.where)}{times}</p><table>{rows}</table>'
        f"<p>{escape(finding.why)}</p><pre><code>{escape(finding.fix)}</code></pre></article>\n"
    )
