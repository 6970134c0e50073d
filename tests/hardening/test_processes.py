"""Forked, spawned and interrupted: no process changes a bit of another, and no signal to a fit one of the next."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import crossent
from crossent import SoftmaxClassifier


@pytest.fixture
def rows(rng):
    return rng.standard_normal((600, 20)).astype(np.float32), rng.integers(0, 4, 600)


def small():
    return SoftmaxClassifier((8,), max_epochs=3, random_state=0, n_threads=2)


def bits(model):
    return [array.tobytes() for array in model.coefs_ + model.intercepts_]


FITS = """
import os
import numpy as np
from crossent import SoftmaxClassifier
rng = np.random.default_rng(0)
x, y = rng.standard_normal((600, 20)).astype(np.float32), rng.integers(0, 4, 600)
def fitted(): return SoftmaxClassifier((8,), max_epochs=3, random_state=0, n_threads=2).fit(x, y)
model = fitted()
def bits(model): return b"".join(array.tobytes() for array in model.coefs_ + model.intercepts_)
child = os.fork()
if child == 0:
    same = bits(fitted()) == bits(model) and (model.predict_proba(x) == fitted().predict_proba(x)).all()
    os._exit(0 if same else 1)
assert bits(fitted()) == bits(model)
assert os.waitpid(child, 0)[1] == 0
print("done")
"""


LOSSES = """
import os
import numpy as np, crossent
z = np.random.default_rng(0).standard_normal((20000, 10)).astype(np.float32)
y = np.arange(20000) % 10
def bits(): return crossent.cross_entropy_and_grad(z, y, n_threads=2).grad.tobytes()
before = bits()
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if bits() == before and bits() == before else 1)
    children.append(child)
assert bits() == before
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("script", [LOSSES, FITS], ids=["losses", "fits"])
def test_children_forked_after_use_have_helpers_of_their_own_and_give_the_same_bits(script):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "done\n", done.stderr


def test_a_spawned_process_gives_the_same_bits_and_takes_a_model(rows):
    x, y = rows
    model = small().fit(x, y)
    logits = model.decision_function(x)
    here = crossent.cross_entropy_and_grad(logits, y)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(crossent.cross_entropy_and_grad, logits, y).result(timeout=120)
        probs = pool.submit(model.predict_proba, x).result(timeout=120)
        again = pool.submit(small().fit, x, y).result(timeout=120)
    assert here.loss == there.loss
    assert here.grad.tobytes() == there.grad.tobytes()
    assert probs.tobytes() == model.predict_proba(x).tobytes()
    assert bits(again) == bits(model)


class Alarm(Exception):
    pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals")
@pytest.mark.parametrize("hidden", [(), (64,)])
def test_a_signal_ends_a_fit_soon_and_the_next_has_the_bits_of_a_quiet_one(rows, rng, hidden):
    x, y = rows
    quiet = bits(small().fit(x, y))
    many = rng.standard_normal((100_000, 50)).astype(np.float32), rng.integers(0, 10, 100_000)
    heard = []

    def alarm(number, frame):
        heard.append(time.perf_counter())
        raise Alarm

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.7)
        with pytest.raises(Alarm):
            SoftmaxClassifier(hidden, max_epochs=10_000, tol=None, random_state=0, n_threads=2).fit(*many)
        assert time.perf_counter() - heard[0] < 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert bits(small().fit(x, y)) == quiet


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs signals")
def test_signals_that_are_handled_change_no_bit_of_a_fit(rows):
    x, y = rows
    quiet, heard = bits(small().fit(x, y)), []
    before = signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        disturbed = [bits(small().fit(x, y)) for _ in range(5)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert disturbed == [quiet] * 5
    assert len(heard) > 3
