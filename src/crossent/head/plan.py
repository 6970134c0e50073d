"""How a head is cut into pieces: from sizes and a budget of bytes to rows, tiles of classes, and products."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from crossent.arrays import STORAGES
from crossent.cpu import thread_count
from crossent.errors import invalid_choice, invalid_type, invalid_value
from crossent.head.memory import bytes_of, text_of

GRADIENTS = ("exact", "unbiased")
NEEDS = ("x", "weight")
# A tile of logits, 256 rows of 1024 classes in float32, stays in a core's second-level cache between its product and
# what is done with it, and is large enough for its products to run at full speed.
_ROW_BLOCK, _CLASS_TILE, _ALIGN = 256, 1024, 64
# Fewer rows at once if only then their logits fit the usual budget; products of yet fewer are too slow.
_LEAST_ROWS, _ROW_STEP, _USUAL_LOGITS = 96, 16, 60 << 20
# Ranges of classes that are summed apart into x's gradient: that many threads can work on it, in any order.
_GROUPS = 8
# More rows at a time do not make products faster.
_ENOUGH_ROWS, _ENOUGH_LOGITS = 1024, 1 << 21
# Per row and group: largest logit, its class, and three or four sums in double.
_STATISTICS = 48


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """How a head of n rows, d features and c classes is cut into pieces.

    Results do not depend on ``max_memory`` nor on threads, as row blocks, class tiles and groups are given by the sizes
    alone: the budget only decides how many blocks are worked on at a time, and whether their logits are kept.

    Attributes
    ----------
    n, d, c : int
        Rows, features, classes.
    dtype : str
        Of the weight.
    max_memory : int
        The budget in bytes.
    gradient : str
        "exact" or "unbiased".
    needs : tuple of str
        Which gradients: "x", "weight", both or none.
    row_block : int
        Rows of one product.
    class_tile : int
        Classes of one product.
    groups : int
        Ranges of tiles whose parts of x's gradient are summed apart, then added up in order.
    chunk : int
        Rows worked on at a time, a multiple of ``row_block`` unless they are all.
    keeps_logits : bool
        Whether a chunk's logits are kept until its gradients are made (3 products), or made again (4 products).
    workspace : int
        Bytes held beyond x, weight, target and their gradients; the gradient of a 16-bit weight is summed in float32,
        and counts as that.
    """

    n: int
    d: int
    c: int
    dtype: str
    max_memory: int
    gradient: str
    needs: tuple[str, ...]
    row_block: int
    class_tile: int
    groups: int
    chunk: int
    keeps_logits: bool
    workspace: int

    @property
    def chunks(self) -> int:
        """How many chunks of rows there are."""
        return math.ceil(self.n / self.chunk) if self.n else 0

    @property
    def tiles(self) -> int:
        """How many tiles of classes there are."""
        return math.ceil(self.c / self.class_tile)

    @property
    def products(self) -> int:
        """How many times 2·n·d·c operations are done in matrix products."""
        if not self.needs:
            return 1
        again = 0 if self.keeps_logits else 1
        return 1 + again + (0 if self.gradient == "unbiased" else len(self.needs))

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products."""
        return 2 * self.n * self.d * self.c * self.products

    def group_of(self, tile: int) -> int:
        """Return the group that a tile of classes belongs to."""
        return tile * self.groups // self.tiles

    def classes(self, tile: int) -> slice:
        """Return the classes of a tile."""
        return slice(tile * self.class_tile, min((tile + 1) * self.class_tile, self.c))

    def rows(self, chunk: int) -> slice:
        """Return the rows of a chunk."""
        return slice(chunk * self.chunk, min((chunk + 1) * self.chunk, self.n))

    def __str__(self) -> str:
        logits = self.n * self.c * _item(self.dtype)
        lines = (
            ("head", f"{self.n:,} rows x {self.d:,} features x {self.c:,} classes, {self.dtype}"),
            ("logits, never whole", text_of(logits)),
            ("budget", f"{text_of(self.max_memory)}, of which {text_of(self.workspace)} used"),
            ("chunks", f"{self.chunks:,} of {self.chunk:,} rows, in blocks of {self.row_block:,}"),
            ("class tiles", f"{self.tiles:,} of {self.class_tile:,} classes, in {self.groups} groups"),
            ("logits of a chunk", "kept" if self.keeps_logits else "made again for the gradients"),
            ("gradient", f"{self.gradient}, of {' and '.join(self.needs) or 'nothing'}"),
            ("matrix products", f"{self.products} x 2nd·c = {self.flops:.3g} operations"),
        )
        return "\n".join(f"{name:<20} {value}" for name, value in lines)


def head_plan(
    n: int,
    d: int,
    c: int,
    *,
    dtype: object = "float32",
    max_memory: int | str = "64MiB",
    gradient: str = "exact",
    needs: Iterable[str] = NEEDS,
    n_threads: int | None = None,
) -> HeadPlan:
    """Return how a head of these sizes is cut into pieces that fit a budget of memory.

    Parameters
    ----------
    n, d, c : int
        Rows, features and classes.
    dtype : dtype or str
        Of the weight: float16, bfloat16, float32 or float64. 16-bit types are computed in float32.
    max_memory : int or str
        Bytes to hold beyond x, weight, target and their gradients: a number, or a text such as "64MiB" or "1GB". The
        gradient of a 16-bit weight is summed in float32 and rounded once; both arrays count as gradient.
    gradient : {"exact", "unbiased"}
    needs : iterable of {"x", "weight"}
        Which gradients are wanted; none for the loss alone.
    n_threads : int, optional
        Threads have scratch of their own, which counts. By default OpenMP's number.

    Returns
    -------
    HeadPlan
        ``print`` shows it as a table.

    Raises
    ------
    ValueError
        If not even one block of rows fits the budget; the message says how much would do.

    Examples
    --------
    >>> import crossent
    >>> print(crossent.head_plan(4096, 512, 32000, n_threads=2))
    head                 4,096 rows x 512 features x 32,000 classes, float32
    logits, never whole  500 MiB
    budget               64 MiB, of which 39.86 MiB used
    chunks               16 of 256 rows, in blocks of 256
    class tiles          32 of 1,024 classes, in 8 groups
    logits of a chunk    kept
    gradient             exact, of x and weight
    matrix products      3 x 2nd·c = 4.03e+11 operations

    A million classes do not fit for enough rows at once; then every tile's logits are made twice:

    >>> crossent.head_plan(8192, 512, 1_000_000, n_threads=2).products
    4
    """
    n, d, c = _size("n", n, 0), _size("d", d, 0), _size("c", c, 1)
    name = _dtype_name(dtype)
    budget = bytes_of("max_memory", max_memory)
    if gradient not in GRADIENTS:
        raise invalid_choice("gradient", gradient, GRADIENTS)
    wanted = _wanted(needs)
    threads = thread_count(n_threads)
    tile = class_tile(c)
    groups = min(_GROUPS, math.ceil(c / tile))
    block = max(1, min(n, row_block(c, _item(name))))
    fixed, per_row = _bytes(d, c, name, tile, block, groups, threads, wanted)
    least = fixed + block * per_row
    if budget < least:
        raise ValueError(
            f"max_memory = {max_memory!r}: expected at least {text_of(least)} ({least} bytes) "
            f"for {block} rows of {d} features and {c} classes with {threads} threads"
        )
    keeping = per_row + c * _item(name)
    keeps = bool(wanted) and budget >= fixed + block * keeping
    each = keeping if keeps else per_row
    most = max(_ENOUGH_ROWS, _ENOUGH_LOGITS // c)
    chunk = min(most, (budget - fixed) // each // block * block) // block * block
    chunk = min(max(chunk, block), max(n, 1))
    return HeadPlan(n, d, c, name, budget, gradient, wanted, block, tile, groups, chunk, keeps, fixed + chunk * each)


def least_memory(n: int, d: int, c: int, *, dtype: object, needs: Iterable[str], n_threads: int) -> int:
    """Return the least budget in bytes for which there is a plan."""
    name, tile = _dtype_name(dtype), class_tile(c)
    groups, block = min(_GROUPS, math.ceil(c / tile)), max(1, min(n, row_block(c, _item(name))))
    fixed, per_row = _bytes(d, c, name, tile, block, groups, n_threads, _wanted(needs))
    return fixed + block * per_row


def one_chunk_plan(n: int, d: int, c: int, dtype: object, max_memory: int | str, n_threads: int | None) -> HeadPlan:
    """Return the plan of a fused step: all rows at once, so that a tile of classes is done with when it has been seen.

    Fewer groups take less memory for the parts of x's gradient: here they give way to the budget.
    """
    name, budget, threads = _dtype_name(dtype), bytes_of("max_memory", max_memory), thread_count(n_threads)
    tile, block = class_tile(c), max(1, min(n, row_block(c, _item(name))))
    groups = min(_GROUPS, math.ceil(c / tile))
    while True:
        fixed, per_row = _bytes(d, c, name, tile, block, groups, threads, NEEDS)
        workspace = fixed + n * per_row + threads * tile * d * _item(name)
        if workspace <= budget:
            break
        if groups == 1:
            raise ValueError(
                f"max_memory = {max_memory!r}: expected at least {text_of(workspace)} ({workspace} bytes) "
                f"for a step on {n} rows of {d} features and {c} classes with {threads} threads"
            )
        groups //= 2
    logits = n * c * _item(name)
    keeps = workspace + logits <= budget
    workspace += logits if keeps else 0
    return HeadPlan(n, d, c, name, budget, "exact", NEEDS, block, tile, groups, max(n, 1), keeps, workspace)


def class_tile(c: int) -> int:
    """Return how many classes go into one product."""
    even = math.ceil(c / (2 * _GROUPS) / _ALIGN) * _ALIGN
    return min(c, max(128, min(_CLASS_TILE, even)))


def row_block(c: int, item: int) -> int:
    """Return how many rows go into one product, of logits of ``item`` bytes."""
    fit = _USUAL_LOGITS // (c * item) // _ROW_STEP * _ROW_STEP
    return fit if _LEAST_ROWS <= fit <= _ROW_BLOCK else _ROW_BLOCK


def _bytes(
    d: int, c: int, dtype: str, tile: int, block: int, groups: int, threads: int, wanted: tuple[str, ...]
) -> tuple[int, int]:
    """Return the bytes that do not depend on the rows of a chunk, and those of each row without its logits."""
    item = _item(dtype)
    narrow = dtype in ("float16", "bfloat16")
    fixed = threads * (2 * block * tile + (tile * d if narrow else 0)) * item
    per_row = d * item + _STATISTICS * (groups + 1) + (groups * d * item if "x" in wanted else 0)
    return fixed, per_row


def _item(dtype: str) -> int:
    return 8 if dtype == "float64" else 4


def _size(argument: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise invalid_type(argument, value, "an integer")
    if value.__index__() < least:
        raise invalid_value(argument, value, f"an integer of at least {least}")
    return value.__index__()


def _dtype_name(dtype: object) -> str:
    # PyTorch's and ml_dtypes' types name themselves; NumPy knows every spelling of its own.
    name = str(getattr(dtype, "name", dtype)).removeprefix("torch.")
    if name not in STORAGES:
        try:
            name = np.dtype(dtype).name  # type: ignore[call-overload]
        except TypeError:
            raise invalid_choice("dtype", dtype, STORAGES) from None
    if name not in STORAGES:
        raise invalid_choice("dtype", dtype, STORAGES)
    return name


def _wanted(needs: Iterable[str]) -> tuple[str, ...]:
    given = (needs,) if isinstance(needs, str) else tuple(needs)
    for need in given:
        if need not in NEEDS:
            raise invalid_choice("needs", need, NEEDS)
    return tuple(need for need in NEEDS if need in given)
