"""Far more classes than a batch has rows: the logits of all rows are never in memory at once."""

import subprocess
import sys

import numpy as np
import pytest

from crossent import SoftmaxClassifier, reference
from crossent.estimators.calibration import fit_temperature
from crossent.training import Examples, Problem

PEAK = """
import resource, warnings
import numpy as np
from crossent import SoftmaxClassifier

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
n, classes = 4000, 20_000
x, y = rng.standard_normal((n, 8)).astype(np.float32), rng.integers(0, classes, n)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

model = SoftmaxClassifier(max_epochs=1, random_state=0).fit(x[:500], y[:500], classes=range(classes))
before = peak()
model = SoftmaxClassifier(max_epochs=1, random_state=0, calibrate=True, validation_fraction=0.25)
model.fit(x, y, classes=range(classes)).score(x, y)
print(peak() - before)
"""


def test_no_step_of_fit_or_score_holds_the_logits_of_all_rows():
    printed = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout
    # All rows' logits would be 320 MB, the held-out ones' in float64, as the calibration reads them, 160 MB.
    assert float(printed) < 80


@pytest.mark.parametrize("hidden", [(), (3,)])
def test_the_gradient_is_that_of_the_formulas(hidden, rng):
    # Shards of 8 rows, and more columns than the sums take at once.
    n, d, classes = 100, 4, 30_011
    x, y = rng.standard_normal((n, d)), rng.integers(0, classes, n)
    problem = Problem(Examples(x, classes, labels=y), hidden, alpha=0.0, batch_size=n, center=False)
    theta = 0.1 * rng.standard_normal(problem.initial_parameters(rng).size)
    loss, grad = problem.gradient(theta)
    width = hidden[0] if hidden else d
    weight, bias = theta[-(width + 1) * classes : -classes].reshape(width, classes), theta[-classes:]
    if hidden:
        x = np.maximum(x @ theta[: d * width].reshape(d, width) + theta[d * width : (d + 1) * width], 0)
    expected, bar = reference.cross_entropy_and_grad(x @ weight + bias, y, reduction="mean")
    assert loss == pytest.approx(float(expected), rel=1e-13)
    np.testing.assert_allclose(grad[-(width + 1) * classes : -classes], (x.T @ bar).ravel(), rtol=1e-9, atol=1e-17)
    np.testing.assert_allclose(grad[-classes:], bar.sum(axis=0), rtol=1e-12, atol=1e-18)


def test_threads_change_no_bit(rng):
    x, y = rng.standard_normal((300, 5)).astype(np.float32), rng.integers(0, 100, 300)
    one, two = (
        SoftmaxClassifier(max_epochs=2, random_state=0, n_threads=n).fit(x, y, classes=range(40_000)) for n in (1, 2)
    )
    np.testing.assert_array_equal(one.coef_, two.coef_)
    np.testing.assert_array_equal(one.intercept_, two.intercept_)


def test_the_temperature_is_the_same_whether_logits_are_kept_or_computed_anew(rng, monkeypatch):
    logits, labels = 3 * rng.standard_normal((200, 7)), rng.integers(0, 7, 200)
    calls = []

    def blocks():
        calls.append(len(calls))
        for start in range(0, 200, 64):
            yield slice(start, start + 64), logits[start : start + 64]

    kept = fit_temperature(blocks, labels, None)
    assert len(calls) == 1
    monkeypatch.setattr("crossent.estimators.calibration.KEPT_VALUES", 100)
    assert fit_temperature(blocks, labels, None) == kept
    assert len(calls) > 5
