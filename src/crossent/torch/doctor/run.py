"""Run a script under the doctor, as ``python SCRIPT`` would run it; started by ``crossent doctor``."""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from pathlib import Path

from crossent.torch.doctor.context import doctor
from crossent.torch.doctor.follow import following
from crossent.torch.doctor.log import Log


def main(folder: str, options: str, script: str, *arguments: str) -> None:
    """Run the script, and append what is found to a log in a folder."""
    log = Log(Path(folder))
    path = os.path.abspath(script)
    source = Path(path).read_bytes()
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(path).resolve().parent)
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = module
    settings = json.loads(options)
    with doctor(**settings) as report:
        report.on_change(lambda: log.tell(report))
        try:
            with following(Path(folder), settings):
                code = compile(source, path, "exec", dont_inherit=True)
                exec(code, module.__dict__)
            ended, status = "normally", 0
        except SystemExit as error:
            ended, status = _exit(error)
        except BaseException as error:
            ended, status = _failure(error)
        log.tell(report)
    log.write(ended=ended)
    if ended == "signal SIGINT":
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.exit(status)


def _exit(error: SystemExit) -> tuple[str, int]:
    code = error.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    status = (code or 0) if isinstance(code, int | None) else 1
    return ("normally" if status == 0 else f"exit status {status}"), status


def _failure(error: BaseException) -> tuple[str, int]:
    """Show the script's traceback, without the lines that ran it."""
    trace = error.__traceback__
    own = os.path.dirname(os.path.abspath(__file__))
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(own):
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    if isinstance(error, KeyboardInterrupt):
        return "signal SIGINT", 130
    return f"exception: {type(error).__name__}: {error}".splitlines()[0], 1


if __name__ == "__main__":
    main(*sys.argv[1:])
