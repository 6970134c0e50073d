"""The loss that is explained, by its name or as an object."""

from __future__ import annotations

from crossent.errors import invalid_choice, invalid_type
from crossent.simplex import PredictionLoss

CROSS_ENTROPY = "cross-entropy"


def loss_function(loss: str | PredictionLoss | None) -> PredictionLoss | None:
    """Return a loss of the family by name, None for the cross-entropy."""
    if loss is None or loss == CROSS_ENTROPY:
        return None
    if not isinstance(loss, str):
        if not hasattr(loss, "ambient"):
            raise invalid_type("loss", loss, "the name of a loss, or one with the methods of PredictionLoss")
        return loss
    raise invalid_choice("loss", loss, [CROSS_ENTROPY])
