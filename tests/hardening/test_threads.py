"""Callers on many threads, forked children: everyone gets the bits of a quiet run."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import crossent
from crossent import _native
from crossent.estimators import SoftmaxClassifier

CALLERS = 8


def loss_bits(seed, n_threads):
    rng = np.random.default_rng(seed)
    z = (3 * rng.standard_normal((3000, 7 + 40 * (seed % 3)))).astype((np.float32, np.float64, np.float16)[seed % 3])
    classes = z.shape[1]
    labels, probs = rng.integers(0, classes, len(z)), rng.dirichlet(np.ones(classes), len(z))
    found = b""
    for target in (labels, probs.astype(z.dtype)):
        loss, grad = crossent.cross_entropy_and_grad(z, target, label_smoothing=0.1 * (seed % 2), n_threads=n_threads)
        found += loss.tobytes() + grad.tobytes()
    return found


def fit_bits(seed, n_threads):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((600, 30)).astype(np.float32), rng.integers(0, 5, 600)
    model = SoftmaxClassifier((16,), max_epochs=3, random_state=seed, n_threads=n_threads).fit(x, y)
    return b"".join(array.tobytes() for array in model.coefs_ + model.intercepts_)


def together(jobs):
    """Run the jobs, all at once from a common start, and return what each found."""
    start = threading.Barrier(len(jobs))

    def run(job):
        start.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_losses_of_eight_callers_have_the_bits_of_a_quiet_run(n_threads):
    quiet = [loss_bits(seed, 1) for seed in range(CALLERS)]
    jobs = [lambda seed=seed: [loss_bits(seed, n_threads) for _ in range(4)] for seed in range(CALLERS)]
    for seed, found in enumerate(together(jobs)):
        assert set(found) == {quiet[seed]}, seed


def test_two_fits_and_six_callers_of_losses_do_not_disturb_each_other():
    losses, fits = range(2, CALLERS), range(2)
    quiet = [fit_bits(seed, 2) for seed in fits] + [loss_bits(seed, 1) for seed in losses]
    jobs = [lambda seed=seed: [fit_bits(seed, 2) for _ in range(2)] for seed in fits]
    jobs += [lambda seed=seed: [loss_bits(seed, 2) for _ in range(6)] for seed in losses]
    for expected, found in zip(quiet, together(jobs), strict=True):
        assert set(found) == {expected}


@pytest.mark.parametrize("distributions", [False, True])
def test_a_kernel_lets_other_threads_run(distributions):
    z = np.zeros((400, 40_000), np.float32)
    target = np.full(z.shape, 1 / z.shape[1], z.dtype) if distributions else np.zeros(len(z), np.int64)
    out = np.empty_like(z)

    def call(span):
        span.append(time.perf_counter())
        if distributions:
            _native.distribution_loss(2, z, None, target, False, None, 0.0, None, 1.0, 0.0, None, None, out, 1)
        else:
            _native.label_loss(2, z, target, None, 1.0, 0.0, None, out, 1)
        span.append(time.perf_counter())

    def looks_at_the_clock_meanwhile():
        span, awake = [], []
        caller = threading.Thread(target=call, args=[span])
        caller.start()
        while caller.is_alive():
            awake.append(time.perf_counter())
            time.sleep(1e-4)
        caller.join()
        begin, end = span
        return any(begin + (end - begin) / 4 < at < end - (end - begin) / 4 for at in awake)

    # With the lock held throughout, this thread could look at the clock only before and after; on a busy machine it may
    # not have had its turn once.
    assert any(looks_at_the_clock_meanwhile() for _ in range(10))


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="needs a free-threaded Python")
def test_the_module_does_not_bring_the_lock_back():
    assert not sys._is_gil_enabled()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="takes a system where threads can be sent to a core")
def test_a_caller_that_moves_to_a_helpers_core_keeps_to_the_cores_it_was_given():
    mine = os.sched_getaffinity(0)
    expected = loss_bits(1, 1)
    try:
        for core in (*mine, *mine):
            for cores in ({core}, mine):
                os.sched_setaffinity(0, cores)
                assert loss_bits(1, 2) == expected
                time.sleep(0.002)  # the helpers fall asleep
        helpers = [int(task) for task in os.listdir("/proc/self/task")]
        assert all(os.sched_getaffinity(task) <= mine for task in helpers)
    finally:
        os.sched_setaffinity(0, mine)
