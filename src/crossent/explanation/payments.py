"""Who pays, as a caller asks for it: each rule of payment becomes one named column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from crossent.errors import invalid_type, invalid_value
from crossent.simplex import Differential
from crossent.simplex_inputs import GENERAL_RULES, Array, Pay, class_index, payment_weights

Number: TypeAlias = float | Fraction
Shares: TypeAlias = Mapping[str, float] | Mapping[str, Fraction] | Mapping[str, Number]
Payer: TypeAlias = int | str | Shares | ArrayLike
Asked: TypeAlias = Payer | Sequence[Number] | Iterable[Payer | Sequence[Number]]

_NAMED_PAYERS = 4


def payments(d: Differential, pay: Asked) -> dict[str, Pay]:
    """Return what `Differential.grad` takes by column: the three general rules, then what was asked for.

    Where neither a class nor weights are asked for, the class with the most truth pays.
    """
    found: dict[str, Pay] = {rule: rule for rule in GENERAL_RULES}
    extra = [one for one in _listed(pay) if not (isinstance(one, str) and one in GENERAL_RULES)]
    if not extra and d.mass > 0:
        extra = [int(np.argmax(d.truth))]
    for one in extra:
        single = isinstance(one, (int, str, np.integer))
        weights = None if single else _weights(one, d)
        if weights is None or np.count_nonzero(weights) == 1:
            index = class_index(one, d.classes, "pay", GENERAL_RULES) if weights is None else int(np.argmax(weights))
            found[d.classes[index]] = index
        else:
            found[_unused_name(weights, found, d.classes)] = weights
    return found


def shares_name(weights: Array, classes: tuple[str, ...]) -> str:
    """Return the name of a column whose payers have these shares.

    >>> shares_name(np.array([0.0, 0.5, 0.5]), ("dog", "cat", "bird"))
    '0.5 cat + 0.5 bird'
    """
    payers = np.flatnonzero(weights).tolist()
    listed = payers if len(payers) <= _NAMED_PAYERS else payers[: _NAMED_PAYERS - 1]
    parts = [f"{_share(weights[c])} {classes[c]}" for c in listed]
    if len(listed) < len(payers):
        parts.append(f"{len(payers) - len(listed)} more")
    return " + ".join(parts)


def _share(weight: float) -> str:
    return str(weight) if isinstance(weight, Fraction) else f"{weight:.4g}"


def _listed(pay: Asked) -> list[object]:
    """Several rules, or one: a list of numbers that are not all whole is one vector of weights."""
    if isinstance(pay, (int, str, np.integer, Mapping)):
        return [pay]
    if isinstance(pay, np.ndarray) and pay.dtype.kind == "f":
        return list(pay) if pay.ndim == 2 else [pay]
    if not isinstance(pay, Iterable):
        raise invalid_type("pay", pay, "a class, weights that sum to 1, or several of these")
    several: list[object] = list(pay)
    return [several] if any(isinstance(one, (float, np.floating, Fraction)) for one in several) else several


def _weights(shares: object, d: Differential) -> Array:
    full = shares
    if isinstance(shares, Mapping):
        full = [0] * len(d.classes)
        for name, share in shares.items():
            full[class_index(name, d.classes, "pay")] = share
    return payment_weights(full, d.classes, exact=d.exact)  # type: ignore[arg-type]


def _unused_name(weights: Array, used: Mapping[str, Pay], classes: tuple[str, ...]) -> str:
    name = shares_name(weights, classes)
    if name in classes:
        raise invalid_value("pay", name, "weights whose description is not the name of a class")
    if name in used and np.array_equal(np.asarray(used[name]), weights):
        return name
    tries = (name, *(f"{name} ({n})" for n in range(2, len(used) + 3)))
    return next(one for one in tries if one not in used and one not in classes)
