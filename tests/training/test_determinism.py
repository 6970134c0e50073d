"""A run is a function of its seed."""

import numpy as np
import pytest

from crossent.estimators import SoftmaxClassifier


def fit(seed, *, dtype=np.float32, n_threads=1, callbacks=None, **parameters):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(700, 20)).astype(dtype)
    y = rng.integers(4, size=700)
    model = SoftmaxClassifier(
        (16,), max_epochs=4, batch_size=64, random_state=seed, n_threads=n_threads, callbacks=callbacks, **parameters
    )
    return model.fit(x, y)


def bits(model):
    return b"".join(array.tobytes() for array in model.coefs_ + model.intercepts_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_same_seed_gives_the_same_bits(dtype, n_threads):
    assert bits(fit(0, dtype=dtype, n_threads=n_threads)) == bits(fit(0, dtype=dtype, n_threads=n_threads))


@pytest.mark.parametrize("n_threads", [2, 3, 4])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "schedule-free"])
def test_number_of_threads_changes_no_bit(optimizer, n_threads):
    one, more = (fit(0, optimizer=optimizer, early_stopping=True, n_threads=threads) for threads in (1, n_threads))
    assert bits(one) == bits(more)
    assert one.loss_curve_ == more.loss_curve_


@pytest.mark.parametrize("options", [{}, {"solver": "exact"}, {"hidden_layer_sizes": (200,)}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_number_of_threads_changes_no_bit_of_other_ways_to_fit(dtype, options):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(1500, 70)).astype(dtype), rng.integers(4, size=1500)
    models = []
    for threads in (1, 2, 3, 4):
        model = SoftmaxClassifier(random_state=0, max_epochs=60, n_threads=threads, alpha=0.1, **options)
        models.append(model.fit(x, y) if options else model.partial_fit(x, y, classes=range(4)))
    assert len({bits(model) for model in models}) == 1


def test_another_seed_gives_another_model():
    assert bits(fit(0)) != bits(fit(1))


def test_global_random_state_does_not_matter_to_a_seeded_run():
    np.random.seed(1)  # noqa: NPY002
    first = bits(fit(0, early_stopping=True))
    np.random.seed(2)  # noqa: NPY002
    assert bits(fit(0, early_stopping=True)) == first


def test_unseeded_run_follows_the_global_random_state():
    np.random.seed(1)  # noqa: NPY002
    first = bits(fit(None))
    np.random.seed(1)  # noqa: NPY002
    assert bits(fit(None)) == first
    assert bits(fit(None)) != first


def test_generators_and_random_states_are_taken():
    assert bits(fit(np.random.default_rng(0))) == bits(fit(0))
    assert bits(fit(np.random.RandomState(3))) == bits(fit(np.random.RandomState(3)))


def test_watching_changes_nothing():
    assert bits(fit(0, callbacks=[lambda event: None])) == bits(fit(0))
