"""Call everything at once from eight threads for a while: ``python tools/soak.py --minutes 30``.

Losses, heads, fits, predictions, explanations, and requests to the page's server as the command starts it. Every
answer has the bits of a quiet run, and the resident memory of this process and of the server stays where it was after
the warm-up: the median of the last tenth of the time is within ``--within`` of that of the tenth after the first third.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import mmap
import random
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

import crossent

CALLERS = 8
KINDS = 3  # jobs of each kind, each with data of its own
Job = Callable[[], str]


def bits(*arrays: np.ndarray) -> str:
    """Return a digest of the arrays' bytes."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def loss_job(seed: int) -> Job:
    rng = np.random.default_rng(seed)
    z = (3 * rng.standard_normal((2000, 7 + 60 * seed))).astype((np.float32, np.float64, np.float16)[seed])
    labels, probs = rng.integers(0, z.shape[1], len(z)), rng.dirichlet(np.ones(z.shape[1]), len(z)).astype(z.dtype)

    def job() -> str:
        hard = crossent.cross_entropy_and_grad(z, labels, label_smoothing=0.1, n_threads=2)
        return bits(*hard, *crossent.cross_entropy_and_grad(z, probs, z_loss=1e-3, n_threads=2))

    return job


def head_job(seed: int) -> Job:
    rng = np.random.default_rng(seed)
    x, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((256, 32), (3000 + seed, 32)))
    labels = rng.integers(0, len(weight), len(x))

    def job() -> str:
        found = crossent.linear_cross_entropy(x, weight, labels, max_memory="2MiB")
        return bits(found.loss, found.x_grad, found.weight_grad)

    return job


def rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 5, 600)
    return (rng.standard_normal((600, 30)) + np.eye(5, 30)[y]).astype(np.float32), y


def model(seed: int, **options: object) -> crossent.SoftmaxClassifier:
    hidden = ((), (16,), (16, 8))[seed]
    return crossent.SoftmaxClassifier(hidden, max_epochs=3, random_state=seed, n_threads=2, **options)


def fit_job(seed: int) -> Job:
    x, y = rows(seed)

    def job() -> str:
        fitted = model(seed, solver="sgd").fit(x, y)
        return bits(*fitted.coefs_, *fitted.intercepts_)

    return job


def predict_job(seed: int) -> Job:
    x, y = rows(seed)
    fitted = model(seed, solver="sgd").fit(x, y)
    return lambda: bits(fitted.predict_proba(x), fitted.predict(x))


def explain_job(seed: int) -> Job:
    logits = np.random.default_rng(seed).standard_normal(4 + seed)
    return lambda: bits(np.frombuffer(crossent.explain(logits=logits, target=seed).to_json().encode(), np.uint8))


def page_job(seed: int, address: str) -> Job:
    asked = {"probs": '{"dog":0.5,"cat":0.49,"bird":0.01}', "target": f'"{("dog", "cat", "bird")[seed]}"'}
    url = f"{address}/api/explain?{urlencode(asked)}"

    def job() -> str:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bits(np.frombuffer(answer.read(), np.uint8))

    return job


def jobs(address: str) -> dict[str, list[Job]]:
    """Return what is called, by kind."""
    makers = {"loss": loss_job, "head": head_job, "fit": fit_job, "prediction": predict_job, "explanation": explain_job}
    found = {name: [make(seed) for seed in range(KINDS)] for name, make in makers.items()}
    return found | {"page": [page_job(seed, address) for seed in range(KINDS)]}


@contextlib.contextmanager
def server() -> Iterator[tuple[str, int]]:
    """Start ``crossent explore`` on a free port of this machine, and yield its address and process number."""
    command = [sys.executable, "-m", "crossent", "explore", "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0].rstrip("/"), process.pid
    finally:
        process.kill()
        process.communicate()


def resident(process: int | str) -> float:
    """Return the resident memory of a process in MiB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * mmap.PAGESIZE / 2**20


def call(chosen: dict[str, list[Job]], expected: dict[str, list[str]], seed: int, until: float) -> Counter[str]:
    """Call jobs in an order of this thread's own until the time; return how many of each kind were called."""
    rng, counts = random.Random(seed), Counter[str]()
    while time.monotonic() < until:
        kind, which = rng.choice(list(chosen)), rng.randrange(KINDS)
        if chosen[kind][which]() != expected[kind][which]:
            raise AssertionError(f"{kind} {which}: other bits than in the quiet run")
        counts[kind] += 1
    return counts


def growth(samples: list[float]) -> tuple[float, float]:
    """Return the median after the first third and that of the end."""
    n = max(1, len(samples) // 10)
    return statistics.median(samples[len(samples) // 3 :][:n]), statistics.median(samples[-n:])


def main() -> int:
    """Run for the time asked for; return 1 where a result differs or the memory grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--within", type=float, default=0.01, help="how far memory may move, as a share")
    chosen = parser.parse_args()
    memory: dict[str, list[float]] = {"callers": [], "server": []}
    with server() as (address, process), ThreadPoolExecutor(CALLERS) as pool:
        called = jobs(address)
        expected = {kind: [job() for job in every] for kind, every in called.items()}
        until = time.monotonic() + 60 * chosen.minutes
        running = [pool.submit(call, called, expected, seed, until) for seed in range(CALLERS)]
        threading.Thread(target=sample, args=(memory, process, until), daemon=True).start()
        counts: Counter[str] = sum((one.result() for one in running), Counter())
    print(f"{CALLERS} threads, {chosen.minutes:g} minutes: {', '.join(f'{n} {kind}' for kind, n in counts.items())}")
    print("every result has the bits of the quiet run")
    grew = False
    for name, samples in memory.items():
        early, late = growth(samples)
        grew |= abs(late / early - 1) > chosen.within
        print(f"{name}: {early:.1f} MiB after the warm-up, {late:.1f} MiB at the end ({late / early - 1:+.2%})")
    return 1 if grew else 0


def sample(memory: dict[str, list[float]], process: int, until: float) -> None:
    """Note both processes' resident memory ten times a second at most, a thousand times in all where that is less."""
    pause = max(0.1, (until - time.monotonic()) / 1000)
    while time.monotonic() < until:
        memory["callers"].append(resident("self"))
        memory["server"].append(resident(process))
        time.sleep(pause)


if __name__ == "__main__":
    sys.exit(main())
