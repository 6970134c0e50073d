"""The kernels under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer.

Two builds: memory and arithmetic together, threads alone (the two cannot be combined), and there one level, as the
levels share no memory. The module's threads are its own and std::atomic orders them: ThreadSanitizer sees all of it and
needs no suppressions, where OpenMP's would have looked like races.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
MEMORY, THREADS = "address,undefined", "thread"
LEVELS = {MEMORY: "baseline;x86_v4", THREADS: "baseline"}
RUNTIMES = {MEMORY: ("libasan.so", "libstdc++.so"), THREADS: ("libtsan.so",)}
TESTS = {
    MEMORY: [
        *("tests/levels", "tests/property", "tests/training/test_determinism.py", "tests/training/test_few_classes.py"),
        "tests/hardening/test_unaligned.py",
        *("-k", "not environment and not object_file"),  # these start processes, or compile
    ],
    THREADS: [
        *("tests/hardening/test_threads.py", "tests/training/test_determinism.py"),
        *("-k", "callers or disturb or (number_of_threads and (sgd or adam))"),
    ],
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the builds name levels of x86-64"),
    pytest.mark.skipif(shutil.which("cmake") is None or shutil.which("g++") is None, reason="needs cmake and g++"),
]


def runtime(name):
    found = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
    return found.strip()


@functools.cache
def build(sanitizers):
    """Compile the module once; what has not changed since the last time is not compiled again."""
    for name in RUNTIMES[sanitizers]:
        if not Path(runtime(name)).is_absolute():
            pytest.skip(f"the compiler has no {name}")
    folder = ROOT / "build" / f"sanitize-{sanitizers.replace(',', '-')}"
    options = {
        "Python_EXECUTABLE": sys.executable,
        "CMAKE_BUILD_TYPE": "None",
        "CMAKE_CXX_COMPILER": shutil.which("g++"),
        "CROSSENT_SANITIZE": sanitizers,
        "CROSSENT_LEVELS": LEVELS[sanitizers],
    }
    if importlib.util.find_spec("ninja") is not None:
        import ninja

        options["CMAKE_MAKE_PROGRAM"] = str(Path(ninja.BIN_DIR) / "ninja")
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    for command in (["-G", "Ninja", "-S", ROOT, "-B", folder, *definitions], ["--build", folder]):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"


def run(sanitizers, log, *command):
    """Run Python with that build; return the process and what the sanitizers have to say."""
    options = f"log_path={log}:halt_on_error=1:print_stacktrace=1"
    environment = {
        **os.environ,
        "CROSSENT_SANITIZED_NATIVE": str(build(sanitizers)),
        "LD_PRELOAD": " ".join(map(runtime, RUNTIMES[sanitizers])),
        # Python keeps what it allocates to the end, and NumPy is not instrumented.
        "ASAN_OPTIONS": f"{options}:detect_leaks=0",
        "UBSAN_OPTIONS": options,
        "TSAN_OPTIONS": f"{options}:ignore_noninstrumented_modules=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(HERE),
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "CROSSENT_TEST_EXAMPLES": "3",
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    said = "".join(path.read_text() for path in sorted(log.parent.glob(f"{log.name}.*")))
    return done, said + done.stderr


@pytest.mark.parametrize("sanitizers", TESTS)
def test_kernels_and_training_run_clean(sanitizers, tmp_path):
    options = ("-m", "pytest", "-q", "-x", "-s", "-p", "sanitized_native", "-p", "no:cacheprovider")
    done, said = run(sanitizers, tmp_path / "log", *options, *TESTS[sanitizers])
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{said[:6000]}"
    assert " passed" in done.stdout.splitlines()[-1]
    assert "Sanitizer" not in said
    assert "runtime error" not in said


@pytest.mark.parametrize(
    ("sanitizers", "misuse", "cpu", "expected"),
    [
        (MEMORY, "read_behind", "baseline", "heap-buffer-overflow"),
        (MEMORY, "write_behind", "baseline", "heap-buffer-overflow"),
        (MEMORY, "overflow", "baseline", "signed integer overflow"),
        (MEMORY, "misaligned", "baseline", "misaligned address"),
        (MEMORY, "read_behind", "x86_v4", "heap-buffer-overflow"),
        (MEMORY, "overflow", "x86_v4", "signed integer overflow"),
        (THREADS, "race", "baseline", "data race"),
    ],
)
def test_a_defect_inside_a_kernel_is_caught(sanitizers, misuse, cpu, expected, tmp_path):
    import crossent

    if cpu not in crossent.cpu_levels():
        pytest.skip(f"this CPU does not run {cpu}")
    code = f"import sanitized_native, runpy, sys; sys.argv = ['misuse', '{misuse}', '{cpu}']; "
    done, said = run(sanitizers, tmp_path / "log", "-c", code + "runpy.run_module('misuse', run_name='__main__')")
    assert done.returncode != 0
    assert expected in said
    assert "label_kernel" in said or "label_rows.hpp" in said or "label_tile.hpp" in said
