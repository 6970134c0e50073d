"""The command in a process of its own for each call, forked from one that has imported what is not ours.

Importing NumPy, scikit-learn and Polars takes most of a short command's time. What crossent imports, each process does.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARIES = (
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "ml_dtypes",
    "pandas",
    "polars",
    "pydantic",
    "rich.console",
    "rich.progress",
    "safetensors.numpy",
    "scipy.optimize",
    "scipy.special",
    "scipy.stats",
    "sklearn.linear_model",
    "typer",
)


class Commands:
    """Runs ``python -m crossent …`` as subprocess.run does."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
        )

    def run(self, arguments: list[str], cwd: Path, environment: dict[str, str], timeout: float = 120.0):
        with tempfile.TemporaryDirectory() as place:
            asked = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "place": place}
            self._server.stdin.write(json.dumps(asked) + "\n")
            self._server.stdin.flush()
            if not select.select([self._server.stdout], [], [], timeout)[0]:
                os.killpg(self._server.pid, 9)
            answer = self._server.stdout.readline()
            printed = [Path(place, name).read_text(encoding="utf-8") for name in ("out", "err")]
        if not answer:
            raise subprocess.TimeoutExpired(arguments, timeout, *printed)
        return subprocess.CompletedProcess(arguments, int(answer), *printed)

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def serve() -> dict | None:
    """Answer one request after another; return the request in the process that is to fulfil it."""
    for module in LIBRARIES:
        importlib.import_module(module)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return json.loads(line)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def become(asked: dict) -> None:
    """Run the module as the interpreter does, and end as it does."""
    for number, name, mode in ((0, os.devnull, "r"), (1, "out", "w"), (2, "err", "w")):
        with open(Path(asked["place"], name), mode) as file:
            os.dup2(file.fileno(), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the one before holds requests
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["cwd"])
    sys.path[0] = asked["cwd"]
    sys.argv[1:] = asked["arguments"]
    runpy.run_module("crossent", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    request = serve()
    if request is not None:
        become(request)
