"""The test suites of other projects, and how each is run with crossent in the place of the project's own loss."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
TESTS = HERE.parents[1]


class Suite(NamedTuple):
    peer: str  # the package whose tests they are
    plugin: str | None  # what puts crossent in its place
    arguments: tuple[str, ...]  # pytest's
    about: str


SUITES = {
    "torch": Suite("torch", None, (str(TESTS / "adapters/test_pytorch_samples.py"),), "OpInfo and ModuleInfo samples"),
    "scikit-learn": Suite(
        "sklearn",
        "on_scikit_learn",
        ("--pyargs", "sklearn._loss.tests.test_loss", "-k", "multinomial"),
        "CyHalfMultinomialLoss",
    ),
    "onnx": Suite(
        "onnx", "on_onnx", (str(HERE / "on_onnx.py"), "-k", "(sce or nllloss) and cpu"), 'node cases, convention="onnx"'
    ),
    "optax": Suite(
        "optax",
        "on_optax",
        ("--pyargs", "optax.losses._classification_test", "-k", "SoftmaxCrossEntropy or Poly"),
        "crossent.jax",
    ),
    "keras": Suite(
        "keras",
        "on_keras",
        ("--pyargs", "keras.src.losses.losses_test", "-k", "CategoricalCrossentropyTest"),
        'loss classes, convention="keras"',
    ),
    "keras on jax": Suite(
        "keras",
        "on_keras_jax",
        (
            "--pyargs",
            "keras.src.losses.losses_test",
            "keras.src.ops.nn_test",
            "-k",
            "categorical_crossentropy or CategoricalCrossentropyTest",
        ),
        "crossent.jax as backend operation",
    ),
}


class Result(NamedTuple):
    """What became of a suite's tests; ``unrelated`` ones passed without meeting crossent."""

    passed: int
    unrelated: int
    failed: dict[str, str]
    skipped: Counter[str]
    version: str


def missing(suite: Suite) -> str | None:
    """Return why a suite cannot run here, if it cannot."""
    needed = [suite.peer, *({"keras": ["jax"], "optax": ["jax"], "onnx": ["torch"]}.get(suite.peer, []))]
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)} not installed" if absent else None


def run(suite: Suite) -> Result:
    """Run a suite in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        plugins = ["-p", "recorder", *(("-p", suite.plugin) if suite.plugin else ())]
        own = suite.plugin is None
        settings = [] if own else ["-c", os.devnull, "--rootdir", folder, "-W", "ignore", "-o", "python_files=*.py"]
        command = [sys.executable, "-m", "pytest", "-q", *plugins, *settings, "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *suite.arguments],
            cwd=TESTS.parent if own else folder,
            env={**os.environ, "PYTHONPATH": str(HERE), "PARITY_RECORD": str(record), "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        if not record.exists():
            raise RuntimeError(f"the tests of {suite.peer} did not run:\n{done.stdout}\n{done.stderr}")
        outcomes = json.loads(record.read_text())
    return _result(outcomes, suite)


def _result(outcomes: dict[str, dict[str, str]], suite: Suite) -> Result:
    from importlib.metadata import version

    passed = [o for o in outcomes.values() if o["outcome"] == "passed"]
    used = sum(bool(o["used"]) for o in passed) if suite.plugin else len(passed)
    return Result(
        used,
        len(passed) - used,
        {name: o["reason"] for name, o in outcomes.items() if o["outcome"] == "failed"},
        Counter(o["reason"].removeprefix("Skipped: ") for o in outcomes.values() if o["outcome"] == "skipped"),
        version({"sklearn": "scikit-learn"}.get(suite.peer, suite.peer)),
    )


def main() -> int:
    """Print the table; the exit status is 1 where a test failed."""
    failures = 0
    for name, suite in SUITES.items():
        reason = missing(suite)
        if reason:
            print(f"{name:14} not run: {reason}")
            continue
        result = run(suite)
        failures += len(result.failed)
        print(
            f"{name:14} {suite.peer} {result.version}: {result.passed} passed, {len(result.failed)} failed, "
            f"{sum(result.skipped.values())} skipped, {result.unrelated} without this loss ({suite.about})",
            flush=True,
        )
        for reason, count in result.skipped.most_common():
            print(f"{'':14}   skipped {count}: {reason}")
        for test, why in result.failed.items():
            print(f"{'':14}   FAILED {test}\n{why[-2000:]}")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
