"""Formulas as MathML, which browsers draw themselves: pages need no script and no network.

The conversion is docutils' own; what it lacks for these pages is written in the TeX that it knows.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

# A thin space sets a function's name off from a letter before it or after it, as TeX does unasked.
FUNCTION = r"\\(?:log|ln|operatorname\{\w+\})"
REWRITTEN = (
    (r"…", r"\\ldots "),
    (r"\\lVert", r"\\left\\Vert"),
    (r"\\rVert", r"\\right\\Vert"),
    (rf"({FUNCTION}) ?(?=[A-Za-z0-9])", r"\1\\,"),
    (rf"([A-Za-z]) ?(?={FUNCTION})", r"\1\\,"),
)


def source(node: nodes.Element) -> str:
    text = node.astext()
    for pattern, replacement in REWRITTEN:
        text = re.sub(pattern, replacement, text)
    return text


def visit_inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(tex2mathml(source(node)))
    raise nodes.SkipNode


def visit_block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{tex2mathml(source(node), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
