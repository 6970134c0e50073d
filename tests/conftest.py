"""One seed for every random test, and every CPU level that this machine runs."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

# A shell's background job ignores Ctrl-C, and so would every command that a test starts and then interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Fixed, so that a change is judged by its own effect; "random" draws one, to search further.
_requested = os.environ.get("CROSSENT_TEST_SEED", "20260")
SEED = int.from_bytes(os.urandom(4), "little") if _requested == "random" else int(_requested)

settings.register_profile(
    "crossent",
    deadline=None,
    database=None,
    print_blob=True,
    max_examples=int(os.environ.get("CROSSENT_TEST_EXAMPLES", "60")),
    # Fixtures here choose a CPU level or a seed: nothing in them wears out between two examples.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("crossent")


# The files that take longest: begun last, one of them would keep a process busy when the others are done.
LONGEST = (
    "hardening/test_sanitizers.py",
    "parallel/test_torchrun.py",
    "browser/test_page.py",
    "doctor/test_survival.py",
    "parallel/test_options.py",
    "estimators/test_scikit_learn.py",
    "adapters/test_jax_transforms.py",
    "parallel/test_distributed_fit.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
        place = {name: at for at, name in enumerate(LONGEST)}
        items.sort(key=lambda item: place.get(f"{item.path.parent.name}/{item.path.name}", len(LONGEST)))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(SEED)
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # it takes a file of many short tests for a long one


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {SEED} (CROSSENT_TEST_SEED={SEED} repeats this run, CROSSENT_TEST_SEED=random draws another)"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "level" in metafunc.fixturenames:
        import crossent

        metafunc.parametrize("level", crossent.cpu_levels(), indirect=True)


@pytest.fixture
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once per CPU level of this build and machine."""
    import crossent.cpu

    with crossent.cpu.use_level(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def _seeded_globals() -> None:
    """PyTorch's samples of its own operators, and a loop without a seed, draw from the global generators."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)


@pytest.fixture
def seed() -> int:
    return SEED


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)
