"""The command and the scripts it watches, in forks of one process that has loaded PyTorch: a fraction of a second each.

    python forks.py FOLDER

For each request, a line of JSON, a fork runs ``crossent doctor ARGUMENTS``, or the plain script; and what the command
starts as ``python -m crossent.torch.doctor.run …`` is a fork too. Beside the report, the request's folder gets what
was printed, and a digest of each parameter and gradient at each step of an optimizer, and of the random state at last.
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import torch._dynamo
import torch.nn.parallel
import torch.utils.data
from torch.optim.optimizer import register_optimizer_step_post_hook

import crossent.cli
import crossent.cli.doctor
from crossent.torch.doctor import run as doctor_run
from crossent.torch.doctor.transport import letting_go

_RUN = "crossent.torch.doctor.run"
_LONGEST_SECONDS = 300  # then a script that hangs is ended by a signal, and its test fails
_digest = hashlib.sha256()


def _add_parameters(optimizer: torch.optim.Optimizer, *_: object) -> None:
    with torch._C.DisableTorchFunction():
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            for values in (parameter, parameter.grad):
                if values is not None and not values.is_meta:
                    _digest.update(values.detach().contiguous().view(torch.uint8).numpy().tobytes())


def forked(run: Callable[[], object]) -> int:
    """Run something in a fork to its end; return its exit status."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        run()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _with_digest(folder: Path, run: Callable[[], object]) -> Callable[[], object]:
    def running() -> None:
        register_optimizer_step_post_hook(_add_parameters)
        try:
            run()
        finally:
            _digest.update(torch.get_rng_state().numpy().tobytes())
            (folder / "digest").write_text(_digest.hexdigest())

    return running


def serve(script: str, options: list[str], folder: Path, doctor: bool) -> None:
    """Run the command, or the plain script, in the script's own folder."""
    signal.alarm(_LONGEST_SECONDS)
    os.chdir(Path(script).parent)
    printed = os.open(folder / "printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    if not doctor:
        sys.argv = [script]
        sys.path[0] = str(Path(script).parent)
        with letting_go():  # PyTorch can wait for itself without end when a group of ranks goes, watched or not
            _with_digest(folder, lambda: runpy.run_path(script, run_name="__main__"))()
        return
    start = doctor_run.main
    crossent.cli.doctor._run = lambda run: forked(
        _with_digest(folder, lambda: start(*run[run.index(_RUN) + 1 :])),
    )
    crossent.cli.main(["doctor", *options, "--json", str(folder / "report.json"), Path(script).name])


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)  # for scripts that choose none
    for line in sys.stdin:
        request = json.loads(line)
        folder = Path(request["folder"])
        status = forked(lambda: serve(request["script"], request["options"], folder, request["doctor"]))  # noqa: B023
        print(json.dumps(status), flush=True)


if __name__ == "__main__":
    main()
