"""Keras's tests of its losses and operations on the JAX backend, whose cross-entropies of logits are crossent.jax's."""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

from keras.src.backend.jax import nn
from recorder import counted

import crossent.jax

losses = {
    "categorical_crossentropy": crossent.jax.softmax_cross_entropy,
    "sparse_categorical_crossentropy": crossent.jax.softmax_cross_entropy_with_integer_labels,
}


def _of_logits(name: str) -> Any:
    theirs, ours = getattr(nn, name), counted(losses[name])

    def loss(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
        target, output = nn.jnp.asarray(target), nn.jnp.asarray(output)
        shape = target.shape
        if name == "sparse_categorical_crossentropy":
            target = target.astype("int32")
            if target.ndim == output.ndim and shape[-1] == 1:
                target = target.squeeze(-1)
            shape = (*target.shape, *output.shape[-1:])
        # Probabilities, which it clips, and what it refuses stay Keras's own.
        if not from_logits or output.ndim == 0 or shape != output.shape:
            return theirs(target, output, from_logits, axis)
        return ours(output, target, axis=axis)

    return loss


def pytest_configure() -> None:
    for name in losses:
        setattr(nn, name, _of_logits(name))
