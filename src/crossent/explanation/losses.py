"""The loss that is explained: by its name, with parameters or without, or as an object."""

from __future__ import annotations

import re

from crossent.errors import invalid_choice, invalid_type, invalid_value
from crossent.family import LOSSES, CrossEntropy, PredictionLoss

CROSS_ENTROPY = "cross-entropy"
_BY_NAME = {re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__).lower(): kind for kind in LOSSES}
LOSS_NAMES = tuple(_BY_NAME)


def loss_function(loss: str | PredictionLoss | None) -> PredictionLoss | None:
    """Return a loss of the family by its name, ``"focal"`` or ``"focal:gamma=3"``; None for the cross-entropy.

    >>> loss_function("focal:gamma=3")
    Focal(gamma=3.0)
    """
    if isinstance(loss, str):
        name, _, parameters = loss.partition(":")
        kind = _BY_NAME.get(re.sub(r"[ _]", "-", name.strip().lower()))
        if kind is None:
            raise invalid_choice("loss", name, LOSS_NAMES)
        try:
            loss = kind(**_parameters(parameters))
        except TypeError as error:
            raise invalid_value("loss", f"{name}:{parameters}", f"parameters of {kind.__name__}: {error}") from None
    if loss is None or isinstance(loss, CrossEntropy):
        return None
    if not hasattr(loss, "ambient"):
        raise invalid_type("loss", loss, "the name of a loss, or one with the methods of PredictionLoss")
    return loss


def _parameters(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise invalid_value("loss", part, "PARAMETER=NUMBER after the colon") from None
    return found
