"""No bytes from outside crash, hang or raise what is not documented: the inputs found before, and a few new ones."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hardening.fuzz import NAMES, try_input
from hardening.mutate import mutate
from hardening.targets import TARGETS, Target

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def told(pytestconfig, tmp_path_factory):
    """What the fuzzer prints of the inputs kept and of some new ones; in a process of its own, of limited memory."""
    last = tmp_path_factory.mktemp("fuzz") / "last"
    seed = str(pytestconfig.option.hypothesis_seed)
    command = [sys.executable, "-W", "ignore", "-m", "hardening.fuzz", "all", "--replay", "--seed", seed]
    limits = ["--runs", "1500", "--seconds", "1.2", "--last", str(last)]
    done = subprocess.run([*command, *limits], cwd=HERE.parent, capture_output=True, text=True)
    assert done.returncode in (0, 1), f"died of the input in {last}: {done.stderr[-2000:]}"
    return done.stdout.splitlines()


@pytest.mark.parametrize("kept", sorted(f"{path.parent.name}/{path.name}" for path in (HERE / "seeds").glob("*/*")))
def test_an_input_found_before_is_harmless(told, kept):
    assert f"{kept}: good" in told


@pytest.mark.parametrize("target", NAMES)
def test_new_inputs_are_harmless(told, target):
    lines = [line for line in told if line.startswith(f"{target}: ")]
    assert len(lines) == 1, "\n".join(lines)
    assert int(lines[0].split()[1]) > 20, lines[0]


def test_every_target_is_fuzzed():
    assert TARGETS.keys() == set(NAMES)


def test_the_fuzzer_finds_a_planted_mistake():
    careless = Target(1, lambda: [[b'{"a": [1, 2]}']], lambda parts: json.loads(parts[0]), (json.JSONDecodeError,))
    rng, seeds = random.Random(0), careless.seeds()
    problems = {str(try_input(careless, mutate(seeds[0], seeds, rng))).split(" ")[0] for _ in range(2000)}
    assert {"None", "RecursionError", "UnicodeDecodeError"} <= problems
