"""Which rank holds which classes."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from crossent.errors import invalid_value


class Layout(NamedTuple):
    """The classes of each rank, in rank order.

    Attributes
    ----------
    counts : tuple of int
    rank : int
        This one.
    shares_weights : bool
        Whether every rank was given the class weights of all classes.
    """

    counts: tuple[int, ...]
    rank: int
    shares_weights: bool = False

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def start(self) -> int:
        """The first class of this rank."""
        return sum(self.counts[: self.rank])

    @property
    def own(self) -> slice:
        return slice(self.start, self.start + self.counts[self.rank])


def class_range(num_classes: int, rank: int, size: int) -> range:
    """Return the classes that a rank of a group holds, spread as evenly as whole rows allow.

    The first ``num_classes % size`` ranks hold one class more than the others; where there are more ranks than classes,
    the last ones hold none.

    Parameters
    ----------
    num_classes, rank, size : int
        ``0 <= rank < size``.

    Returns
    -------
    range

    Raises
    ------
    ValueError

    Examples
    --------
    >>> from crossent.torch.parallel import class_range
    >>> [class_range(10, rank, 4) for rank in range(4)]
    [range(0, 3), range(3, 6), range(6, 8), range(8, 10)]
    """
    if num_classes < 0:
        raise invalid_value("num_classes", num_classes, "an integer of at least 0")
    if not 0 <= rank < size:
        raise invalid_value("rank", rank, f"an integer in [0, {size})")
    each, more = divmod(num_classes, size)
    ends = list(accumulate(each + (r < more) for r in range(size)))
    return range(ends[rank] - each - (rank < more), ends[rank])
