"""A training run that was cut short: what is kept of it in the model's directory, and going on from there."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from crossent.cli.options import Options
from crossent.data.files import whole_or_nothing
from crossent.errors import DataError
from crossent.estimators.model_files import UNFINISHED

_RUN = "run.json"
_BLOCK = 2**20


class Unfinished:
    """The folder ``unfinished`` of a model's directory, there for as long as the training runs or can be resumed.

    Attributes
    ----------
    folder : Path
    checkpoint : Path
        For the classifier's own state.
    rows : Path
        For rows that do not fit into memory.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self.folder = out / UNFINISHED
        self.checkpoint = self.folder / "state"
        self.rows = self.folder / "rows"

    def begin(self, options: Options) -> None:
        """Note what the run is of, before it trains."""
        if not options.resume:
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole_or_nothing(self.folder / _RUN) as temporary:
                temporary.write_text(json.dumps(_described(options), indent=1, ensure_ascii=False), encoding="utf-8")

    def check(self, options: Options) -> None:
        """Compare the run to resume with what was noted; a run from the start forgets an earlier one.

        Raises
        ------
        DataError
            There is nothing to resume, or other options or data are given now; the message says which.
        """
        if not options.resume:
            self.delete()
            return
        path = self.folder / _RUN
        if not path.exists():
            raise DataError("holds no unfinished run to --resume: leave that option out", path=self._out)
        try:
            stored = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise DataError(f"was cut off or altered: {error}", path=path) from error
        now = _described(options)
        differing = [name for name in {**stored, **now} if stored.get(name) != now.get(name)]
        if differing:
            told = "; ".join(f"{name} was {stored.get(name)}, and is {now.get(name)} now" for name in differing)
            raise DataError(f"the unfinished run is another one: {told}", path=self._out)

    def is_there(self) -> bool:
        """Whether there is a run to resume."""
        return (self.folder / _RUN).exists()

    def delete(self) -> None:
        """Forget the run; of the model's directory too nothing is left where the run had made it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._out.is_dir() and not any(self._out.iterdir()):
            self._out.rmdir()

    def stop(self) -> bool:
        """Keep what a run that stops early can be resumed from, and return whether there is any."""
        shutil.rmtree(self.rows, ignore_errors=True)
        if self.checkpoint.is_dir():
            return True
        self.delete()
        return False


def _described(options: Options) -> dict[str, str]:
    files = [("contents", options.data)]
    if isinstance(options.test, str):
        files.append(("contents of --test", options.test))
    return options.as_text() | {f"{what} (sha256)": _sha256(Path(file)) for what, file in files if Path(file).is_file()}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()[:16]
