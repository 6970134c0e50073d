"""What label smoothing, class weights and the mean are, where frameworks differ.

The table, with reasons, is in docs/explanation/conventions.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crossent.errors import invalid_choice, invalid_value


@dataclass(frozen=True, slots=True)
class Convention:
    """The choices of one framework.

    Attributes
    ----------
    name : str
    smoothing : {"all classes", "other classes"} or None
        Over which classes ε is spread: ``p (1 - ε) + ε / C``, or so that the label keeps exactly 1 - ε, which is the
        same with ε C / (C - 1). None: there is none.
    weight : {"truth", "row"} or None
        What a class weight multiplies: the truth of its class, before or after smoothing being different things, or the
        whole loss of a row with that label. None: there are none.
    mean : {"weights", "kept rows", "all rows"}
        What a mean divides by: the summed weights of the rows that are not ignored, their number, or the number of all.
    distributions : bool
        Whether a target may be a distribution.
    """

    name: str
    smoothing: Literal["all classes", "other classes"] | None = "all classes"
    weight: Literal["truth", "row"] | None = "truth"
    mean: Literal["weights", "kept rows", "all rows"] = "weights"
    distributions: bool = True

    def smoothed(self, smoothing: float, classes: int) -> float:
        """Return the ε of ``p (1 - ε) + ε / C`` that this convention means by ``label_smoothing``."""
        if smoothing == 0:
            return 0.0
        if self.smoothing is None:
            raise invalid_value("label_smoothing", smoothing, f'0, as there is none in the convention "{self.name}"')
        if self.smoothing == "all classes":
            return smoothing
        if smoothing * classes > classes - 1:
            expected = f'at most {classes - 1}/{classes} with {classes} classes in the convention "{self.name}"'
            raise invalid_value("label_smoothing", smoothing, expected)
        return min(smoothing * classes / (classes - 1), 1.0)


CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention("torch"),
        Convention("keras", weight="row", mean="kept rows"),
        Convention("optax", weight=None, mean="all rows"),
        Convention("onnx", smoothing=None, distributions=False),
        Convention("megatron", smoothing="other classes", weight=None),
    )
}
TORCH = CONVENTIONS["torch"]


def convention_named(name: object) -> Convention:
    """Return the convention of this name.

    >>> convention_named("megatron").smoothed(0.1, classes=5)
    0.125
    """
    if not isinstance(name, str) or name not in CONVENTIONS:
        raise invalid_choice("convention", name, CONVENTIONS)
    return CONVENTIONS[name]
