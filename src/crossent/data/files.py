"""Write a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossent.errors import DataError
from crossent.leftovers import in_use, left_over

_SUFFIX = ".part"


@contextmanager
def whole_or_nothing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, renamed to ``path`` when the block ends without an error.

    What a process left that was killed in such a block is deleted by the next one of the same path.

    Examples
    --------
    >>> target = Path(tempfile.mkdtemp(), "words.txt")
    >>> with whole_or_nothing(target) as temporary:
    ...     _ = temporary.write_text("all of it")
    >>> target.read_text()
    'all of it'
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise DataError(f"cannot be written: there is no folder {path.parent}", path=path)
    if path.is_dir():
        raise DataError("cannot be written: there is a folder of that name", path=path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_SUFFIX)
    os.close(handle)
    temporary = Path(name)
    try:
        for old in left_over(path.parent, f".{path.name}.", _SUFFIX, len(temporary.name)):
            old.unlink(missing_ok=True)
        with in_use(temporary):
            yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp's files are for their owner alone
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
