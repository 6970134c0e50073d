"""Fuzz what reads bytes from outside: ``cd tests; python -m hardening.fuzz TARGET --runs N --seed S``.

Inputs are good files with a few changes. What makes a target raise another error than it may, hang, or take too much
memory is kept in ``seeds/TARGET`` and tried by every test run from then on.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import mmap
import os
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from hardening.mutate import LONGEST, mutate, pack, unpack

# Columns last: a Parquet file that asks for more memory than there is makes polars end the process.
NAMES = ("model", "checkpoint", "spread", "csv", "npz", "svmlight", "idx", "request", "columns")
SEEDS = Path(__file__).parent / "seeds"
SECONDS_PER_INPUT = 5
MEMORY = 2 << 30  # beyond what the imports take


class Hang(BaseException):
    """An input took too long."""


def kept_inputs(name: str, n_parts: int) -> list[list[bytes]]:
    folder = SEEDS / name
    return [unpack(path.read_bytes(), n_parts) for path in sorted(folder.iterdir())] if folder.is_dir() else []


def keep(name: str, parts: list[bytes]) -> Path:
    data = pack(parts)
    path = SEEDS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def try_input(target: Any, parts: list[bytes]) -> str | None:
    """Return what is wrong with the way that a target takes an input, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            target.read(list(parts))
    except target.errors as error:
        if not str(error).strip() or len(str(error)) > 100_000:
            return f"{type(error).__name__} of {len(str(error))} characters"
    except (Exception, Hang) as error:
        frames = traceback.extract_tb(error.__traceback__)
        inside = [frame for frame in frames if "crossent" in frame.filename and "tests" not in frame.filename] or frames
        return f"{type(error).__name__} at {Path(inside[-1].filename).name}:{inside[-1].lineno}: {str(error)[:200]}"
    return None


def limit() -> None:
    """Make an input that hangs raise `Hang`, and one that takes too much memory raise MemoryError."""

    def stop(number: int, frame: object) -> None:
        raise Hang(f"took longer than {SECONDS_PER_INPUT} s of this processor")

    signal.signal(signal.SIGVTALRM, stop)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.RLIM_INFINITY))


def fuzz(name: str, runs: int, seed: int, seconds: float, last: Path | None, tally: Path | None) -> list[str]:
    """Try so many inputs, keep the first of each problem, add their number to the tally, and return the problems."""
    from hardening.targets import TARGETS

    target, rng = TARGETS[name], random.Random(seed)
    seeds = target.seeds() + kept_inputs(name, target.n_parts)
    target.read(list(seeds[0]))  # what is loaded late is loaded now
    limit()
    current = open_last(last)
    problems: dict[str, Path] = {}
    start, slowest, done = time.monotonic(), 0.0, 0
    while done < runs and time.monotonic() - start < seconds:
        parts = mutate(rng.choice(seeds), seeds, rng)
        if current is not None:
            data = pack(parts)
            current[: 8 + len(data)] = len(data).to_bytes(8, "little") + data
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_PER_INPUT)
        before = time.process_time()
        problem = try_input(target, parts)
        slowest = max(slowest, time.process_time() - before)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        place = problem and problem.partition(": ")[0]
        if problem is not None and place not in problems:
            problems[str(place)] = keep(name, parts)
            print(f"{name}: {problem}  [{problems[str(place)]}]", flush=True)
        done += 1
    if tally is not None:
        with tally.open("a", encoding="utf-8") as file:
            file.write(f"{name},{seed},{done},{len(problems)}\n")
    took, most = time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{name}: {done} inputs, {done / took:.0f}/s, slowest {slowest:.3f} s, at most {most} MiB", flush=True)
    return list(problems)


def told(tally: Path) -> str:
    """Return how many inputs of each target the tally counts, and the problems that they showed."""
    tried, problems = Counter[str](), Counter[str]()
    for line in tally.read_text(encoding="utf-8").splitlines():
        name, _, inputs, found = line.split(",")
        tried[name] += int(inputs)
        problems[name] += int(found)
    return "\n".join(f"{name}: {tried[name]:,} inputs tried so far, {problems[name]} problems shown" for name in tried)


def replay(name: str) -> list[str]:
    """Try the inputs that were kept, and return the problems."""
    from hardening.targets import TARGETS

    target, problems = TARGETS[name], []
    target.read(list(target.seeds()[0]))  # what is loaded late is loaded now
    limit()
    for path in sorted((SEEDS / name).glob("*")):
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_PER_INPUT)
        problem = try_input(target, unpack(path.read_bytes(), target.n_parts))
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        print(f"{name}/{path.name}: {problem or 'good'}", flush=True)
        problems += [problem] if problem else []
    return problems


def open_last(path: Path | None) -> mmap.mmap | None:
    """Return the file that holds the input being tried, which outlives a crash of this process."""
    if path is None:
        return None
    with path.open("w+b") as file:
        file.truncate(16 * LONGEST)
        return mmap.mmap(file.fileno(), 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=(*NAMES, "all"))
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--last", type=Path, help="keep the input being tried in this file")
    parser.add_argument("--tally", type=Path, help="add target, seed, inputs and problems to this CSV file")
    parser.add_argument("--replay", action="store_true", help="try the inputs kept first")
    arguments = parser.parse_args()
    faulthandler.enable()
    print(f"--seed {arguments.seed}", flush=True)
    problems = []
    for name in NAMES if arguments.target == "all" else (arguments.target,):
        if arguments.replay:
            problems += replay(name)
        problems += fuzz(name, arguments.runs, arguments.seed, arguments.seconds, arguments.last, arguments.tally)
    if arguments.tally is not None:
        print(told(arguments.tally))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
