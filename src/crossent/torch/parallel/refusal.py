"""One rank's mistake, raised by all: a rank that raised alone would leave the others in the wrong collective."""

from __future__ import annotations

import json

from crossent.torch.parallel.ranks import TEXT, Ranks

_KINDS = {
    kind.__name__: kind for kind in (ValueError, TypeError, IndexError, MemoryError, NotImplementedError, RuntimeError)
}
# Room for what JSON adds around a message.
_LONGEST = TEXT - 128


class Refusal(Exception):
    """Carries the exception that every rank of the group has agreed to raise.

    Parameters
    ----------
    error : Exception
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def described(ranks: Ranks, error: Exception | None) -> str:
    """Return an error as text for the other ranks; empty for none."""
    if error is None:
        return ""
    kind = next((c.__name__ for c in type(error).__mro__ if c.__name__ in _KINDS), "RuntimeError")
    message = str(error)
    if not isinstance(error, Refusal) and not ranks.is_alone:
        message = f"{ranks.name(ranks.rank)}: {message}"
    elif isinstance(error, Refusal):
        kind = type(error.error).__name__
    while len(json.dumps(message)) > _LONGEST:
        message = message[: int(len(message) * 0.9)]
    return json.dumps({"error": kind, "message": message})


def first_error(ranks: Ranks, texts: list[str], own: Exception | None) -> Exception | None:
    """Return the error of the lowest rank that has one: the same on every rank, with its own as the cause."""
    for rank, text in enumerate(texts):
        found = json.loads(text) if text else {}
        if "error" in found:
            if ranks.is_alone and own is not None:
                return own
            error: Exception = _KINDS[found["error"]](found["message"])
            error.__cause__ = own if rank == ranks.rank else None
            return error
    return None


def refusal(ranks: Ranks, own: Exception | None) -> Refusal:
    """Exchange the ranks' errors, of which there is one at least, and return what all raise."""
    error = first_error(ranks, ranks.texts(described(ranks, own)), own)
    assert error is not None
    return error if isinstance(error, Refusal) else Refusal(error)
