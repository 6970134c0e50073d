"""The defaults train well on real images."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from crossent.estimators import SoftmaxClassifier

FILES = Path("/usr/share/datasets/fashion-mnist")
pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason="needs the Debian package dataset-fashion-mnist")


@pytest.fixture(scope="module")
def images():
    def read(name, offset):
        return np.frombuffer(gzip.decompress((FILES / name).read_bytes()), np.uint8, offset=offset)

    return [
        array
        for part in ("train", "t10k")
        for array in (
            read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 784).astype(np.float32) / 255,
            read(f"{part}-labels-idx1-ubyte.gz", 8),
        )
    ]


def log_loss(model, x, y):
    return -model.predict_log_proba(x)[np.arange(len(y)), y].mean(dtype=float)


def test_linear_model_reaches_its_log_loss(images):
    x, y, x_test, y_test = images
    model = SoftmaxClassifier(random_state=0).fit(x, y)
    assert model.n_iter_ == 10
    assert log_loss(model, x_test, y_test) < 0.440


def test_network_reaches_its_log_loss(images):
    x, y, x_test, y_test = images
    model = SoftmaxClassifier((128,), random_state=0).fit(x, y)
    assert model.n_iter_ == 10
    assert log_loss(model, x_test, y_test) < 0.315
    assert model.score(x_test, y_test) > 0.885
