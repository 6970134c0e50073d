"""An explanation as a derivation in LaTeX, each step with this prediction's numbers (amsmath, any engine)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from crossent.explanation.words import classes_shown, logit_entry, multiple, number, pays, probability, shown
from crossent.simplex_inputs import GENERAL_RULES, FloatArray

if TYPE_CHECKING:
    from crossent.explanation.prediction import Explanation
    from crossent.simplex import Differential

_DIGITS = 6
_SHOWN = 6
_ROWS_PER_TABLE = 30
_CHARACTERS_PER_TABLE = 56

_GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "lambda", "tau")
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "[": "{[}",  # after the \\\\ of a row it would begin an optional argument
    "*": "{*}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    '"': "''",
    "♠": r"\ensuremath{\spadesuit}",
    "♥": r"\ensuremath{\heartsuit}",
    "♦": r"\ensuremath{\diamondsuit}",
    "♣": r"\ensuremath{\clubsuit}",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    **{c: "\\" + c for c in "#$%&_"},
    **{c: rf"\ensuremath{{\{name}}}" for c, name in zip("αβγδελτ", _GREEK, strict=True)},
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}


def latex_text(name: str) -> str:
    """Return a class name that pdfLaTeX, XeLaTeX and LuaLaTeX all typeset without further packages.

    A character that the default fonts lack is written by its code point.

    >>> print(latex_text("50% café & 11♥"))
    50\\% caf\\'{e} \\& 11\\ensuremath{\\heartsuit}
    """
    return "".join(_character(c) for c in shown(name))


def _character(c: str) -> str:
    if c in _SPECIAL:
        return _SPECIAL[c]
    if c.isascii():
        return c
    base, *accents = list(unicodedata.normalize("NFD", c))
    if len(accents) == 1 and accents[0] in _ACCENTS and base.isascii():
        dotless = {"i": r"\i", "j": r"\j"}.get(base, base)
        return f"\\{_ACCENTS[accents[0]]}{{{dotless}}}"
    return rf"\texttt{{U+{ord(c):04X}}}"


def latex_number(value: float | Fraction | str) -> str:
    """Return a number for math mode.

    >>> latex_number(1e-20), latex_number(-float("inf")), latex_number(0.5)
    ('1\\\\times 10^{-20}', '-\\\\infty', '0.5')
    """
    text = value if isinstance(value, str) else number(value, _DIGITS)
    top, over, bottom = text.partition("/")
    if over:
        sign, digits = ("-", top[1:]) if top.startswith("-") else ("", top)
        return rf"{sign}\tfrac{{{digits}}}{{{bottom}}}"
    if text.startswith("1 - "):
        return "1-" + latex_number(text[4:])
    mantissa, e, exponent = text.replace("inf", r"\infty").partition("e")
    return rf"{mantissa}\times 10^{{{int(exponent)}}}" if e else mantissa


def latex(explanation: Explanation) -> str:
    """Return the derivation as a fragment: loss, each rule of payment, why they agree, softmax, a table."""
    d = explanation.differential
    steps = [_loss_step(d), _ambient_step(d)]
    for rule, pay in explanation.payments.items():
        if isinstance(pay, int):
            steps.append(_chart_step(d, pay))
        elif not isinstance(pay, str):
            steps.append(_weights_step(explanation, rule, np.asarray(pay)))
    steps += [_general_step(explanation), _softmax_step(d), _natural_step(d), *_descent_steps(explanation)]
    steps += _tables(explanation)
    return "\n\n".join(steps) + "\n"


def _sub(letter: str, name: str) -> str:
    return rf"{letter}_{{\text{{{latex_text(name)}}}}}"


def _truth_first(d: Differential) -> list[int]:
    """A few classes to show steps for: those with truth, then the likeliest."""
    order = sorted(range(len(d.classes)), key=lambda c: (-d.truth[c], -d.probs[c]))
    return sorted(order if len(order) <= _SHOWN else order[: _SHOWN // 2])


def _align(lines: Sequence[str]) -> str:
    return "\\begin{align*}\n" + " \\\\\n".join(lines) + "\n\\end{align*}"


def _fraction(d: Differential, c: int) -> str:
    top, bottom = latex_number(d.truth[c]), latex_number(probability(d, c, _DIGITS))
    return rf"{top}\big/{bottom}" if d.exact else rf"\frac{{{top}}}{{{bottom}}}"


def _factor(d: Differential, c: int) -> str:
    value = latex_number(probability(d, c, _DIGITS))
    return f"({value})" if value.startswith("1-") else value


def _rest(d: Differential, used: Sequence[int]) -> str:
    left = len(d.classes) - len(used)
    return f" There are {left} more classes; tables follow." if left else ""


def _loss_step(d: Differential) -> str:
    if d.loss_function is not None:
        name = latex_text(d.loss_function.name)
        formula = rf"\[ {_letter(d)}(p,q) = {latex_number(d.loss)}. \]"
        return rf"\textbf{{The {name} loss}} of the prediction $q$ under the truth $p$:" + "\n" + formula
    there = np.flatnonzero(d.truth).tolist()
    terms = [rf"{latex_number(d.truth[c])}\,\log {_factor(d, c)}" for c in there[: _SHOWN // 2]]
    if len(there) > _SHOWN // 2:
        terms.append(r"\dots")
    total = " + ".join(terms) or "0"
    lines = [
        r"H(p,q) &= -\sum_c p_c \log q_c",
        rf"&= -\bigl[{total}\bigr]",
        rf"&= {latex_number(d.loss)}",
    ]
    return "\\textbf{The loss} of the prediction $q$ under the truth $p$, in nats:\n" + _align(lines)


def _letter(d: Differential) -> str:
    return "H" if d.loss_function is None else "L"


def _ambient_step(d: Differential) -> str:
    used = _truth_first(d)
    if d.loss_function is not None:
        lines = [rf"{_sub('a', d.classes[c])} &= {latex_number(d.ambient[c])}" for c in used]
        return (
            r"\textbf{Nobody pays.} Hold every other probability fixed: $a_c = \partial L/\partial q_c$. "
            r"The step leaves the simplex." + _rest(d, used) + "\n" + _align(lines)
        )
    lines = [
        rf"{_sub('a', d.classes[c])} &= -{_fraction(d, c)} = {latex_number(d.ambient[c])}"
        if d.truth[c] > 0
        else rf"{_sub('a', d.classes[c])} &= 0 \qquad\text{{(no truth here)}}"
        for c in used
    ]
    return (
        r"\textbf{Nobody pays.} Hold every other probability fixed: "
        r"$a_c = \partial H/\partial q_c = -p_c/q_c$. The step leaves the simplex."
        + _rest(d, used)
        + "\n"
        + _align(lines)
    )


def _chart_step(d: Differential, r: int) -> str:
    used = [c for c in _truth_first(d) if c != r]
    name, chart = d.classes[r], d.grad(r)
    if d.loss_function is not None:
        return _any_chart_step(d, r, used)
    share = _fraction(d, r) if d.truth[r] > 0 else "0"
    lines = []
    for c in used:
        own = "-" + _fraction(d, c) if d.truth[c] > 0 else "0"
        lines.append(rf"{_sub('a', d.classes[c])} - {_sub('a', name)} &= {own} + {share} = {latex_number(chart[c])}")
    return (
        rf"\textbf{{{latex_text(name)} pays.}} Let ${_sub('q', name)} = 1 - \sum q_c$ over the others, "
        rf"so that $\partial {_sub('q', name)}/\partial q_c = -1$. The chain rule adds the payer's share "
        rf"${_sub('p', name)}/{_sub('q', name)} = {latex_number(d.multiple(r))}$ to every entry, and the "
        r"payer's own entry is $0$:" + "\n" + _align(lines)
    )


def _any_chart_step(d: Differential, r: int, used: Sequence[int]) -> str:
    name, chart = d.classes[r], d.grad(r)
    lines = [
        rf"{_sub('a', d.classes[c])} - {_sub('a', name)} &= {latex_number(d.ambient[c])} "
        rf"- ({latex_number(d.ambient[r])}) = {latex_number(chart[c])}"
        for c in used
    ]
    return (
        rf"\textbf{{{latex_text(name)} pays.}} Let ${_sub('q', name)} = 1 - \sum q_c$ over the others, so that "
        rf"$\partial {_sub('q', name)}/\partial q_c = -1$. The chain rule takes ${_sub('a', name)}$ off every entry, "
        r"and the payer's own entry is $0$:" + "\n" + _align(lines)
    )


def _weights_step(explanation: Explanation, rule: str, weights: FloatArray) -> str:
    d = explanation.differential
    payers = np.flatnonzero(weights).tolist()
    listed = payers[: _SHOWN // 2]
    terms = [
        rf"{latex_number(weights[r])}\cdot {'' if d.ambient[r] >= 0 else '('}{latex_number(d.ambient[r])}"
        + ("" if d.ambient[r] >= 0 else ")")
        for r in listed
    ] + [r"\dots"] * (len(listed) < len(payers))
    pairing = rf"\langle w, a\rangle &= {' + '.join(terms)} = {latex_number(0 - explanation.multiples[rule])}"
    values, used = explanation.derivatives[rule], _truth_first(d)
    lines = [rf"{_sub('a', d.classes[c])} - \langle w, a\rangle &= {latex_number(values[c])}" for c in used]
    return (
        rf"\textbf{{{latex_text(pays(explanation, rule))}.}} The payers share the bill by these weights $w$:"
        + _rest(d, used)
        + "\n"
        + _align([pairing, *lines])
    )


def _general_step(explanation: Explanation) -> str:
    d = explanation.differential
    lines = []
    for rule in explanation.rules:
        size = latex_number(multiple(explanation, rule))
        lines.append(rf"\text{{{latex_text(pays(explanation, rule))}:}}\quad \lambda &= {size}")
    return (
        r"\textbf{Any rule of payment} $w$ with $\sum_c w_c = 1$ moves along $e_c - w$ and gives "
        r"$a_c - \langle w, a\rangle$, which is $a_c + \lambda$ with the same "
        r"$\lambda = -\langle w, a\rangle$ for every class:"
        + "\n"
        + _align(lines)
        + "\nA move $v$ along the simplex has $\\sum_c v_c = 0$, "
        + "so $\\sum_c (a_c + \\lambda) v_c = \\sum_c a_c v_c$: every rule describes the same derivative."
        + (f" Here $\\sum_c p_c = {latex_number(d.mass)}$." if d.mass != 1.0 else "")
    )


def _softmax_step(d: Differential) -> str:
    used, letter = _truth_first(d), _letter(d)
    lines = [
        rf"\frac{{\partial {letter}}}{{\partial {_sub('z', d.classes[c])}}} &= "
        + _softmax_terms(d, c)
        + latex_number(logit_entry(d, c, _DIGITS))
        for c in used
    ]
    form = r" = P q_k - p_k, \qquad P = \sum_c p_c. \]" if letter == "H" else r" = q_k (a_k - \langle q, a\rangle). \]"
    return (
        r"\textbf{In logits} $z$, with $q = \operatorname{softmax}(z)$ and "
        r"$\partial q_c/\partial z_k = q_c(\delta_{ck} - q_k)$, the constant disappears because "
        r"$\sum_c \partial q_c/\partial z_k = 0$, and what remains is a covector:"
        + "\n"
        + rf"\[ \frac{{\partial {letter}}}{{\partial z_k}} = \sum_c (a_c + \lambda)\, q_c(\delta_{{ck}} - q_k)"
        + form
        + "\n"
        + _align(lines)
    )


def _softmax_terms(d: Differential, c: int) -> str:
    if d.loss_function is not None:
        return ""
    mass = "" if d.mass == 1 else latex_number(d.mass) + r"\cdot "
    return rf"{mass}{_factor(d, c)} - {latex_number(d.truth[c])} = "


def _natural_step(d: Differential) -> str:
    return (
        r"\textbf{The natural gradient} is the vector $g$ on the simplex with "
        r"$\sum_c g_c v_c/q_c = \sum_c a_c v_c$ for every $v$ along it (Fisher--Rao metric): "
        + (r"$g = Pq - p$" if d.loss_function is None else r"$g_c = q_c(a_c - \langle q, a\rangle)$")
        + ", the same numbers as a vector."
    )


_VELOCITIES = {
    "euclidean": (r"\dot q_c = -\bigl(a_c - \tfrac1C\sum_k a_k\bigr)", "the Euclidean metric of the probabilities"),
    "natural": (r"\dot q_c = -q_c\bigl(a_c - \langle q, a\rangle\bigr)", "the Fisher--Rao metric"),
    "logit": (
        r"\dot q_c = -q_c\bigl(g_c - \langle q, g\rangle\bigr), \quad g_c = \partial/\partial z_c \text{ of the loss}",
        "the Euclidean metric of the logits",
    ),
}


def _descent_steps(explanation: Explanation) -> list[str]:
    d, steps = explanation.differential, []
    for metric, one in explanation.descents.items():
        formula, name = _VELOCITIES[metric]
        used = _truth_first(d)
        lines = [
            rf"\dot {_sub('q', d.classes[c])} &= {latex_number(number(one.velocity[c], _DIGITS))} &&\quad"
            rf"\text{{after the step: }} {latex_number(number(one.probs[c], _DIGITS))}"
            for c in used
        ]
        size = latex_number(one.step)
        steps.append(
            rf"\textbf{{Steepest descent}} in {name} is a vector along the simplex, ${formula}$. "
            rf"A step of ${size}$ takes the loss from ${latex_number(d.loss)}$ to ${latex_number(one.loss)}$:"
            + _rest(d, used)
            + "\n"
            + _align(lines)
        )
    return steps


def _tables(explanation: Explanation) -> list[str]:
    d, some = explanation.differential, classes_shown(explanation)
    columns: list[tuple[str, list[str]]] = [
        ("truth", [number(d.truth[c], _DIGITS) for c in some]),
        ("prediction", [probability(d, c, _DIGITS) for c in some]),
    ]
    for rule, values in explanation.derivatives.items():
        title = latex_text(rule if rule in GENERAL_RULES else pays(explanation, rule))
        columns.append((title, [number(values[c], _DIGITS) for c in some]))
    columns.append(("logits, natural", [logit_entry(d, c, _DIGITS) for c in some]))
    names = [latex_text(d.classes[c]) for c in some]
    return [
        _table(names, part, range(row, min(row + _ROWS_PER_TABLE, len(names))))
        for part in _packed(columns)
        for row in range(0, len(names), _ROWS_PER_TABLE)
    ]


def _packed(columns: Sequence[tuple[str, list[str]]]) -> Iterator[list[tuple[str, list[str]]]]:
    """Columns for one table after another, none wider than a page."""
    pending: list[tuple[str, list[str]]] = []
    width = 0
    for title, cells in columns:
        needed = 2 + max(len(title), *map(len, cells))
        if pending and width + needed > _CHARACTERS_PER_TABLE:
            yield pending
            pending, width = [], 0
        pending.append((title, cells))
        width += needed
    yield pending


def _table(names: Sequence[str], columns: Sequence[tuple[str, list[str]]], rows: range) -> str:
    lines = [" & ".join(["class", *(title for title, _ in columns)]) + r" \\ \hline\rule{0pt}{2.6ex}%"]
    for row in rows:
        cells = [f"${values[row] if '/' in values[row] else latex_number(values[row])}$" for _, values in columns]
        lines.append(" & ".join([names[row], *cells]) + r" \\")
    body = "\n".join(lines)
    return f"\\medskip\\noindent\n\\begin{{tabular}}{{l{'r' * len(columns)}}}\n{body}\n\\end{{tabular}}"
