"""What a loss of the prediction has to say for its differential to be known."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray


class PredictionLoss(Protocol):
    """A loss of a prediction and a truth, both (..., C) float64.

    Attributes
    ----------
    name : str
    """

    @property
    def name(self) -> str: ...

    def value(self, probs: Any, truth: Any) -> Any:
        """Return the loss of each row, shape (...)."""
        ...

    def ambient(self, probs: Any, truth: Any) -> NDArray[Any]:
        """Return the derivative as each q_c rises and nobody pays, shape (..., C)."""
        ...

    def hessian(self, probs: Any, truth: Any) -> NDArray[Any]:
        """Return the second derivative as q_c and q_k rise and nobody pays, shape (..., C, C)."""
        ...

    def logit_gradient(self, log_probs: Any, truth: Any) -> NDArray[Any]:
        """Return the derivative in logits, q_c (a_c − ⟨q, a⟩), shape (..., C)."""
        ...
