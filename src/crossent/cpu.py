"""CPU levels: which builds of the kernels exist here, which one runs, how to force one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from crossent import _native
from crossent.errors import invalid_choice, invalid_type, invalid_value

LEVEL_VARIABLE = "CROSSENT_CPU_LEVEL"


def cpu_levels() -> tuple[str, ...]:
    """Return the names of the kernel builds that this CPU can run, slowest first.

    ``baseline`` runs on any CPU of the architecture, ``x86_v3`` needs AVX2 and FMA, ``x86_v4`` AVX-512, ``neon``
    a 64-bit ARM.

    >>> import crossent
    >>> crossent.cpu_level() in crossent.cpu_levels()
    True
    """
    return tuple(_native.available_levels())


def cpu_level() -> str:
    """Return the name of the kernel build in use.

    It is the fastest that this CPU runs, unless the environment variable ``CROSSENT_CPU_LEVEL`` names another one.
    """
    return _native.selected_level()


@contextmanager
def use_level(name: str) -> Iterator[None]:
    """Run the body with another level's kernels; the choice is the whole process's.

    Raises
    ------
    ValueError
        If ``name`` is not one of :func:`cpu_levels`.

    >>> from crossent.cpu import cpu_level, cpu_levels, use_level
    >>> with use_level(cpu_levels()[0]):
    ...     cpu_level() == cpu_levels()[0]
    True
    """
    before = cpu_level()
    _select("cpu level", name)
    try:
        yield
    finally:
        _native.select_level(before)


def thread_count(n_threads: int | None) -> int:
    """Return the number of threads to use: ``n_threads``, or OpenMP's own number (``OMP_NUM_THREADS``) for None."""
    if n_threads is None:
        return _native.max_threads()
    if isinstance(n_threads, bool) or not hasattr(n_threads, "__index__"):
        raise invalid_type("n_threads", n_threads, "an integer of at least 1, or None")
    if n_threads < 1:
        raise invalid_value("n_threads", n_threads, "an integer of at least 1, or None")
    return min(int(n_threads), 1024)


def _select(argument: str, name: str) -> None:
    if name not in cpu_levels():
        raise invalid_choice(argument, name, cpu_levels())
    _native.select_level(name)


if os.environ.get(LEVEL_VARIABLE):
    _select(LEVEL_VARIABLE, os.environ[LEVEL_VARIABLE])
