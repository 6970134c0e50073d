"""Where a call stands: the first line outside of torch and crossent."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from types import FrameType
from typing import Any

import torch

_APPLY: Any = torch.autograd.Function.apply.__func__  # type: ignore[attr-defined]
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_DOCTOR = os.path.dirname(os.path.abspath(__file__)) + os.sep
_CROSSENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep

_here = [os.getcwd()]


@lru_cache(maxsize=4096)
def _is_inside(filename: str) -> bool:
    path = os.path.abspath(filename)
    # What a compiler wrote, and the standard library's own context managers, are nobody's lines.
    return path.startswith((_TORCH, _CROSSENT)) or "torchinductor" in path or path.endswith("contextlib.py")


def is_own() -> bool:
    """Whether the code that calls torch is crossent's own, or a compiler's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_TORCH, _DOCTOR)):
        frame = frame.f_back
    if frame is None:
        return False
    path = frame.f_code.co_filename
    return path.startswith(_CROSSENT) or "torchinductor" in path


def caller(depth: int = 1) -> str:
    """Return ``file:line`` of the call that is being watched."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and _is_inside(frame.f_code.co_filename):
        frame = frame.f_back
    return "unknown:0" if frame is None else f"{_shown(frame.f_code.co_filename)}:{frame.f_lineno}"


def caller_of_function() -> str | None:
    """Return ``file:line`` of the call of the `torch.autograd.Function` whose forward runs, if one does."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not _APPLY.__code__:
        frame = frame.f_back
    while frame is not None and _is_inside(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else f"{_shown(frame.f_code.co_filename)}:{frame.f_lineno}"


def _shown(filename: str) -> str:
    """Return the path from the working directory, where it is below it."""
    if filename.startswith("<"):
        return filename
    path = os.path.abspath(filename)
    here = _here[0] + os.sep
    return path[len(here) :] if path.startswith(here) else path


def start_here() -> None:
    """Show paths from the present working directory, wherever the script goes."""
    _here[0] = os.getcwd()
