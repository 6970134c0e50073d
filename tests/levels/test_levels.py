"""CPU levels: each runs, all agree, an unknown one is refused, and none leaks its instructions into the module."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from families import DTYPES, families

import crossent
import crossent.cpu

ROOT = Path(__file__).parents[2]
LEVELS = sorted(path.stem for path in (ROOT / "native" / "levels").glob("*.cpp"))


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_level_of_this_machine_is_a_level_of_the_source():
    assert set(crossent.cpu_levels()) <= set(LEVELS)
    assert crossent.cpu_level() in crossent.cpu_levels()


def test_use_level_selects_and_restores(level):
    assert crossent.cpu_level() == level
    for other in crossent.cpu_levels():
        with crossent.cpu.use_level(other):
            assert crossent.cpu_level() == other
        assert crossent.cpu_level() == level


def test_use_level_restores_after_an_error():
    before = crossent.cpu_level()
    with pytest.raises(KeyError), crossent.cpu.use_level(crossent.cpu_levels()[0]):
        raise KeyError
    assert crossent.cpu_level() == before


@pytest.mark.parametrize("name", ["", "sse9", "X86_V3", "baseline "])
def test_an_unknown_level_is_refused(name):
    before = crossent.cpu_level()
    with (
        pytest.raises(ValueError, match=re.escape(f"{name!r}: expected one of 'baseline'")),
        crossent.cpu.use_level(name),
    ):
        pass
    assert crossent.cpu_level() == before


def test_a_level_of_another_machine_is_refused():
    for name in set(LEVELS) - set(crossent.cpu_levels()):
        with pytest.raises(ValueError, match=name), crossent.cpu.use_level(name):
            pass


def test_the_environment_chooses_the_level():
    for name in crossent.cpu_levels():
        run = python("import crossent; print(crossent.cpu_level())", CROSSENT_CPU_LEVEL=name)
        assert run.stdout.strip() == name, run.stderr


def test_an_unknown_level_in_the_environment_is_an_error():
    run = python("import crossent; print(crossent.cpu_level())", CROSSENT_CPU_LEVEL="sse9")
    assert run.returncode != 0
    assert "CROSSENT_CPU_LEVEL = 'sse9': expected one of" in run.stderr.splitlines()[-1]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_levels_agree_to_a_few_units_in_the_last_place(dtype, classes, rng):
    for family in families(dtype, 4, classes, rng):
        results = []
        for name in crossent.cpu_levels():
            with crossent.cpu.use_level(name):
                results.append(crossent.cross_entropy_and_grad(family.logits, family.label, reduction="none"))
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                distance = np.abs(ordered(a) - ordered(b))
                # Each is within 8 ulp of the exact value, 1 with 16 bits.
                assert distance.max() <= (2 if dtype.itemsize == 2 else 16), family.name


def ordered(x):
    """Number the floats so that neighbours differ by 1."""
    bits = x.view(f"i{x.dtype.itemsize}").astype(np.int64)
    lowest = np.int64(-(2 ** (8 * x.dtype.itemsize - 1)))
    return np.where(bits < 0, lowest - bits, bits)


def level_flags(level):
    """Read the level's flags from the build file, so that the test compiles what the build compiles."""
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.search(rf"set\(flags_{level} (.*?)\)", text).group(1).split()


@pytest.mark.parametrize("level_source", LEVELS)
def test_an_object_file_exports_one_symbol(level_source, tmp_path):
    """At -O0 nothing is inlined: a template of the standard library that a kernel uses would show as a weak symbol,
    and the linker could then give AVX-512 code to a CPU without it."""
    compiler, nm = shutil.which("g++"), shutil.which("nm")
    if compiler is None or nm is None:
        pytest.skip("needs g++ and nm")
    flags = level_flags(level_source)
    target = tmp_path / "level.o"
    probe = subprocess.run(
        [compiler, *flags, "-E", "-x", "c++", "-"], input="", capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip(f"the compiler here does not build for {level_source}")
    source = ROOT / "native" / "levels" / f"{level_source}.cpp"
    subprocess.run([compiler, "-std=c++20", "-O0", "-fopenmp-simd", *flags, "-c", source, "-o", target], check=True)
    command = [nm, "--defined-only", "--extern-only", target]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)
    # The pointer to the C++ runtime's unwinding routine is data of the compiler's own, the same at every level.
    symbols = {line.split()[-1] for line in listing.stdout.splitlines()} - {"DW.ref.__gxx_personality_v0"}
    assert len(symbols) == 1, symbols
    assert f"table_{level_source}" in symbols.pop()
