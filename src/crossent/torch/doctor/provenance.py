"""Where a tensor came from: what the watched operations made, remembered for as long as the tensor lives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

if TYPE_CHECKING:
    from crossent.torch.doctor.calls import LossCall


@dataclass(frozen=True)
class Origin:
    """How a tensor was made.

    Attributes
    ----------
    kind : str
        ``softmax``, ``sigmoid``, ``log_softmax``, ``log``, ``clip``, ``shift`` (p + eps), ``pick`` (one entry of each
        row), ``linear``, ``convolution``, ``reshape``, ``scalar`` (a known combination of losses), ``rows`` (the losses
        of the rows).
    where : str
    parent : Origin, optional
        How the operation's input was made.
    source : Tensor, optional
        The operation's input, apart from the graph; only as good as its ``version``.
    axis : int or None
        The axis of the classes, counted from the end, where it is known.
    eps : float
        Of a clip or a shift.
    shape : tuple of int
        Before a reshape.
    labels : Tensor, optional
        Of a pick: what was picked by.
    terms : dict
        Of a combination of losses: each one's factor.
    """

    kind: str
    where: str = ""
    parent: Origin | None = None
    source: Tensor | None = None
    version: int = 0
    axis: int | None = None
    eps: float = 0.0
    shape: tuple[int, ...] = ()
    labels: Tensor | None = None
    terms: dict[LossCall, float] = field(default_factory=dict)

    def is_unchanged(self) -> bool:
        """Whether the source still holds what the operation saw."""
        return self.source is not None and self.source._version == self.version

    def find(self, *kinds: str) -> Origin | None:
        """Return the nearest origin of these kinds on the way back through what changes no values."""
        origin: Origin | None = self
        while origin is not None and origin.kind not in kinds:
            origin = origin.parent if origin.kind in ("reshape", "pick") else None
        return origin


class Provenance:
    """The origins of the tensors that are alive."""

    def __init__(self) -> None:
        self._origins: Any = WeakIdKeyDictionary()

    def of(self, tensor: object) -> Origin | None:
        return self._origins.get(tensor) if isinstance(tensor, Tensor) else None

    def note(self, tensor: object, origin: Origin | None) -> None:
        if isinstance(tensor, Tensor) and origin is not None:
            self._origins[tensor] = origin

    def clear(self) -> None:
        self._origins = WeakIdKeyDictionary()
