"""The page of questions, made of tests/explain/threads.yaml: its calls run, and what they give is written in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

import crossent
from crossent import family

THREADS = Path(__file__).parents[1] / "tests" / "explain" / "threads.yaml"
NAMES = {name: getattr(crossent, name) for name in crossent.__all__ if not name.startswith("_")}
NAMES |= {"family": family, "np": np}
DIGITS = 6


class WrongNumber(Exception):
    """A call gave something else than its question says."""


def load(path: Path = THREADS) -> list[dict[str, Any]]:
    """Return the questions in order, each with the name of its part."""
    questions, part = [], ""
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        part = entry.get("part", part)
        if "id" in entry:
            questions.append({"part": part, "given": {}, **entry})
    return questions


def evaluate(expression: str, names: dict[str, Any]) -> Any:
    """Evaluate over crossent's public functions, family, np and the given names, and nothing else."""
    builtins = {"abs": abs, "range": range}
    return eval(expression, {"__builtins__": builtins, **NAMES, **names})


def settled(question: dict[str, Any]) -> list[Any]:
    """Return what each check of a question gives (for one that refuses, the message); raise where it is wrong."""
    names: dict[str, Any] = {}
    for name, expression in question["given"].items():
        names[name] = evaluate(expression, names)
    return [outcome(f"{question['id']}: {check['call']}", check, names) for check in question["checks"]]


def outcome(where: str, check: dict[str, Any], names: dict[str, Any]) -> Any:
    if "refuses" in check:
        try:
            found = evaluate(check["call"], names)
        except ValueError as error:
            if check["refuses"] not in str(error):
                raise WrongNumber(f"{where} says {str(error)!r}: expected {check['refuses']!r} in it") from None
            return str(error)
        raise WrongNumber(f"{where} gives {found}: expected to be refused")
    found = np.asarray(evaluate(check["call"], names), dtype=np.float64)
    wanted = np.asarray(check["gives"], dtype=np.float64)
    within = float(check.get("within", 1e-12))
    if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=within, atol=within):
        raise WrongNumber(f"{where} gives {found.tolist()}: expected {wanted.tolist()} within {within}")
    # What is within the tolerance of 0 is shown as 0: its digits are another machine's rounding.
    return np.where(np.abs(found) <= within, 0.0, found).tolist()


def shown(value: Any) -> str:
    if isinstance(value, str):
        return f"ValueError: {value}"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:.{DIGITS}g}"


def page() -> str:
    """Return the page's text below its title."""
    lines, part = [], ""
    for question in load():
        if question["part"] != part:
            part = question["part"]
            lines += [f"## {part}", ""]
        lines += section(question)
    return "\n".join(lines)


def section(question: dict[str, Any]) -> list[str]:
    lines = [f"({question['id']})=", f"### {question['title']}", "", f"*{question['question'].strip()}*", ""]
    lines += [question["answer"].strip(), "", "```pycon"]
    lines += [f">>> {name} = {expression}" for name, expression in question["given"].items()]
    for check, value in zip(question["checks"], settled(question), strict=True):
        lines += [f">>> # {check['shows']}", f">>> {check['call']}", shown(value)]
    places = [f"{place_of(thread)} ({thread['place']})" for thread in question["asked"]]
    return [*lines, "```", "", "Asked as " + "; ".join(places) + ".", ""]


def place_of(thread: dict[str, str]) -> str:
    return f"[{thread['title']}]({thread['url']})" if "url" in thread else f"“{thread['title']}”"
