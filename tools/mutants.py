"""Sources with one thing changed: a sign, an operator, a comparison, a number, a branch, or a term left out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One change; `source` is the whole file with it."""

    line: int
    before: str
    after: str
    source: str


_TERM = r"(?:[\w.]|->|\[[^][]*\]|\([^()]*\))+"
_CPP = (
    (r"(?<=[\w)\]]) \+ (?=[\w(-])", " - "),
    (r"(?<=[\w)\]]) - (?=[\w(-])", " + "),
    (r"(?<=[\w)\]]) \* (?=[\w(-])", " + "),
    (r"(?<=[\w)\]]) / (?=[\w(-])", " * "),
    (rf"(?<=[\w)\]]) [-+*] {_TERM}(?=[;,)])", ""),
    (r"(?<=[=(?:,] )-(?=[\w(])|(?<=\()-(?=[\w(])", ""),
    (r"(?<= )< ", "<= "),
    (r"(?<= )<= ", "< "),
    (r"(?<= )> ", ">= "),
    (r"(?<= )>= ", "> "),
    (r"(?<= )<=? ", "> "),
    (r"(?<= )>=? ", "< "),
    (r"(?<= )== ", "!= "),
    (r"(?<= )!= ", "== "),
    (r"(?<= )&& ", "|| "),
    (r"(?<= )\|\| ", "&& "),
    (r"(?<= )\+= ", "-= "),
    (r"(?<= )\*= ", "+= "),
    (r"(?<= )>> ", "<< "),
)
_TERNARY = re.compile(r" \? ([^?:;]+) : ([^?:;]+)([;,])")
_NUMBER = re.compile(r"(?<![\w.])(0x1?[\da-f.]*p-?\d+|\d+\.\d+(?:e-?\d+)?)(f?)(?![\w.])")
_NOT_CODE = ("#", "template", "static_assert", "using", "struct")


def mutants_of_cpp(source: str) -> Iterator[Mutant]:
    """Yield the source with one change each, found by patterns: some are not C++ any more."""
    lines = source.splitlines()
    for at, line in enumerate(lines):
        code, slashes, comment = line.partition("//")
        if code.lstrip().startswith(_NOT_CODE):
            continue
        changed = []
        for pattern, by in _CPP:
            changed += [code[: hit.start()] + by + code[hit.end() :] for hit in re.finditer(pattern, code)]
        for hit in _TERNARY.finditer(code):
            changed.append(f"{code[: hit.start()]} ? {hit[2]} : {hit[1]}{hit[3]}{code[hit.end() :]}")
        for hit in _NUMBER.finditer(code):
            for by in (f"({hit[0]} * 1.001{hit[2]})", f"0.0{hit[2]}") if hit[1].strip("0.") else (f"1.0{hit[2]}",):
                changed.append(code[: hit.start()] + by + code[hit.end() :])
        for after in dict.fromkeys(changed):
            whole = "\n".join([*lines[:at], after + slashes + comment, *lines[at + 1 :]]) + "\n"
            yield Mutant(at + 1, code.strip(), after.strip(), whole)


_OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
_SETS = {ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
_COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_NO_FORMULA = (ast.Raise, ast.arg, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)


def mutants_of_python(source: str) -> Iterator[Mutant]:
    """Yield the source with one expression changed each; annotations and messages are left as they are."""
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for node in _expressions(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        for changed in _changes(node):
            before, after = ast.unparse(node), ast.unparse(changed)
            whole = b"".join((source.encode()[:start], f"({after})".encode(), source.encode()[end:]))
            yield Mutant(node.lineno, before, after, whole.decode())


def _expressions(tree: ast.AST) -> Iterator[ast.expr]:
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, _NO_FORMULA):
                continue
            if isinstance(child, ast.expr):
                yield child
            yield from _expressions(child)


def _changes(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BinOp(left, operator, right):
            kind = type(operator)
            if kind in _OPERATORS:
                yield _with(node, op=_OPERATORS[kind]())
                yield left
            if kind in (ast.Add, ast.Mult):
                yield right
            if kind in _SETS:
                yield _with(node, op=_SETS[kind]())
        case ast.UnaryOp(ast.USub(), ast.Constant(1)):
            yield ast.Constant(0)  # axis=-1 of a table is axis=1: no other result
        case ast.UnaryOp(ast.USub() | ast.Not() | ast.Invert(), operand):
            yield operand
        case ast.Compare(_, [operator], [_]):
            for other in _COMPARISONS.get(type(operator), ()):
                yield _with(node, ops=[other()])
        case ast.BoolOp(operator, _):
            yield _with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.IfExp(_, body, otherwise):
            yield _with(node, body=otherwise, orelse=body)
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(float() as value):
            yield ast.Constant(1.001 * value if value else 1.0)


def _with(node: ast.expr, **fields: object) -> ast.expr:
    changed = copy(node)
    changed.__dict__.update(fields)
    return changed
