"""optax's tests of its losses, with crossent.jax's under their names."""

from optax.losses import _classification
from recorder import counted

import crossent.jax

NAMES = ("softmax_cross_entropy", "safe_softmax_cross_entropy", "softmax_cross_entropy_with_integer_labels")


def pytest_configure() -> None:
    for name in NAMES:
        setattr(_classification, name, counted(getattr(crossent.jax, name)))
