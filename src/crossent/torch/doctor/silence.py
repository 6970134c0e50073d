"""Findings that a comment on their own line silences."""

from __future__ import annotations

import linecache
import re

_COMMENT = re.compile(r"#\s*doctor:\s*ignore\[([\w\s,-]+)\]")


def is_silenced(code: str, where: str) -> bool:
    """Whether the line ends in ``# doctor: ignore[code]``, its code alone or among others."""
    file, _, line = where.rpartition(":")
    comment = _COMMENT.search(linecache.getline(file, int(line)))
    return comment is not None and code in (one.strip() for one in comment[1].split(","))
