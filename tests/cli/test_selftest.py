"""``python -m crossent.selftest`` passes here, and does not where a kernel is wrong."""

import subprocess
import sys

import numpy as np

from crossent import cpu_levels, selftest
from crossent.loss import LossGrad


def test_it_passes_where_the_package_is_right():
    done = subprocess.run([sys.executable, "-m", "crossent.selftest"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok  ") == len(cpu_levels()) + 2
    assert "float32" in done.stdout


def test_it_fails_where_the_loss_is_the_textbooks(monkeypatch, capsys):
    def textbook(logits, labels, **_):
        probs = np.exp(logits - logits.max(axis=1, keepdims=True))
        probs /= probs.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        loss = -np.log(probs[rows, labels])
        probs[rows, labels] -= 1
        return LossGrad(loss if len(labels) == 1 else loss.mean(), probs)

    monkeypatch.setattr(selftest, "cross_entropy_and_grad", textbook)
    assert selftest.main() == 1
    said = capsys.readouterr().out
    assert "FAILED  accuracy" in said
    assert "ulp where (4, 5, 8) are promised" in said
