from typing import Any

from numpy.typing import NDArray

_Array = NDArray[Any]

def label_loss(
    storage: int,
    logits: _Array,
    label: _Array,
    row_weight: _Array | None,
    scale: float,
    z_loss: float,
    loss: _Array | None,
    grad: _Array | None,
    n_threads: int,
) -> float: ...
def distribution_loss(
    storage: int,
    logits: _Array,
    label: _Array | None,
    probs: _Array | None,
    probs_wide: bool,
    class_weight: _Array | None,
    smoothing: float,
    row_weight: _Array | None,
    scale: float,
    z_loss: float,
    z_weight: _Array | None,
    loss: _Array | None,
    grad: _Array | None,
    n_threads: int,
) -> float: ...
def available_levels() -> list[str]: ...
def selected_level() -> str: ...
def select_level(name: str) -> None: ...
def max_threads() -> int: ...

class Pages: ...

def take_pages(bytes: int) -> Pages: ...
def release_pages() -> int: ...
