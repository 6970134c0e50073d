"""No bytes from outside crash, hang or raise what is not documented: the inputs found before, and a few new ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGETS = ("model", "checkpoint", "spread", "csv", "columns", "npz", "svmlight", "idx", "request")


@pytest.fixture(scope="module")
def replayed():
    """What each kept input does, by its name; in a process of its own, which limits its memory."""
    code = (
        "import sys; from hardening.fuzz import *; from hardening.targets import TARGETS\n"
        "for name, target in TARGETS.items():\n"
        "    inputs = sorted((SEEDS / name).glob('*')), kept_inputs(name, target.n_parts)\n"
        "    target.read(list(target.seeds()[0])); limit()\n"
        "    for path, parts in zip(*inputs, strict=True):\n"
        "        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_PER_INPUT)\n"
        "        print(f'{name}/{path.name}', try_input(target, parts) or 'good')\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=HERE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("kept", sorted(f"{path.parent.name}/{path.name}" for path in (HERE / "seeds").glob("*/*")))
def test_an_input_found_before_is_harmless(replayed, kept):
    assert replayed[kept] == "good"


@pytest.mark.parametrize("target", TARGETS)
def test_new_inputs_are_harmless(target, tmp_path, seed):
    command = [sys.executable, "-W", "ignore", "-m", "hardening.fuzz", target, "--seed", str(seed)]
    limits = ["--runs", "1500", "--seconds", "1.2", "--last", str(tmp_path / "last")]
    done = subprocess.run([*command, *limits], cwd=HERE.parent, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-2000:]}"


def test_the_fuzzer_finds_a_planted_mistake(tmp_path):
    """A reader that fails at a depth of JSON, and one that hangs, are both told from a good one."""
    import json
    import random

    from hardening.fuzz import try_input
    from hardening.mutate import mutate
    from hardening.targets import Target

    careless = Target(1, lambda: [[b'{"a": [1, 2]}']], lambda parts: json.loads(parts[0]), (json.JSONDecodeError,))
    rng, seeds = random.Random(0), careless.seeds()
    problems = {str(try_input(careless, mutate(seeds[0], seeds, rng))).split(" ")[0] for _ in range(2000)}
    assert {"None", "RecursionError", "UnicodeDecodeError"} <= problems
