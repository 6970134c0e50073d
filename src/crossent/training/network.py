"""A softmax network of dense layers: its parameters in one vector, and the native code that works on them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cython_blas
from scipy.sparse import issparse

from crossent import _native
from crossent.training.examples import Examples

Array = npt.NDArray[Any]
# Of weights that are taken in float64 together.
BLOCK_ENTRIES = 2**20


def native_network(
    layer_sizes: Sequence[int], dtype: Any, *, max_rows: int, n_threads: int
) -> _native.Network32 | _native.Network64:
    """Return the native workspace of a network: features, hidden widths, classes."""
    single = np.dtype(dtype) == np.float32
    kind = _native.Network32 if single else _native.Network64
    # SciPy's own BLAS by address: always there, the same on every platform, nothing to link.
    gemm = cython_blas.__pyx_capi__["sgemm" if single else "dgemm"]
    return kind(list(layer_sizes), max_rows=max_rows, gemm=gemm, n_threads=n_threads)


def native_rows(examples: Examples, center: Array | None = None) -> _native.Rows32 | _native.Rows64:
    """Return the examples as the native code takes them; ``center`` is subtracted from every row that is read."""
    weight, class_weight = examples.sample_weight, examples.class_weight
    if class_weight is not None and examples.labels is not None and examples.label_smoothing == 0:
        # Then a class weight is a row weight, and the rows can take the kernel for plain labels.
        weight = class_weight[examples.labels] * (1.0 if weight is None else weight)
        class_weight = None
    x, probs, dtype = examples.x, examples.probs, examples.dtype
    return (_native.Rows32 if dtype == np.float32 else _native.Rows64)(
        examples.n_rows,
        x.shape[1],
        examples.n_classes,
        **(_sparse_parts(x, "") if issparse(x) else {"bytes" if x.dtype == np.uint8 else "x": x}),
        byte_scale=examples.byte_scale,
        center=center,
        labels=examples.labels,
        **(_sparse_parts(probs, "probs_") if issparse(probs) else {"probs": probs}),
        weight=weight,
        class_weight=None if class_weight is None else class_weight.astype(dtype),
        smoothing=examples.label_smoothing,
    )


def _sparse_parts(matrix: Any, prefix: str) -> dict[str, Array]:
    """Return the parts of a CSR matrix. The row offsets are copied, and indices if they are wider than 32 bits."""
    if matrix.shape[1] > np.iinfo(np.int32).max:
        raise ValueError(f"a sparse matrix has {matrix.shape[1]} columns: expected at most {np.iinfo(np.int32).max}")
    return {
        f"{prefix}indptr": matrix.indptr.astype(np.int64, copy=False),
        f"{prefix}indices": matrix.indices.astype(np.int32, copy=False),
        f"{prefix}data": matrix.data,
    }


def layers(theta: Array, layer_sizes: Sequence[int]) -> tuple[list[Array], list[Array]]:
    """Return views of each layer's weight (inputs, outputs) and bias (outputs,) in the parameter vector."""
    weights, biases, at = [], [], 0
    for inputs, outputs in pairwise(layer_sizes):
        weights.append(theta[at : at + inputs * outputs].reshape(inputs, outputs))
        at += inputs * outputs
        biases.append(theta[at : at + outputs])
        at += outputs
    return weights, biases


def initial_parameters(
    layer_sizes: Sequence[int], class_mass: npt.NDArray[np.float64], rng: np.random.Generator, dtype: Any
) -> Array:
    """Return the parameters before the first step, drawn from ``rng``.

    The network starts as the best constant prediction: the last layer's weights are 0, its bias is the log of the
    classes' shares. Hidden layers start as in He et al., "Delving Deep into Rectifiers", 2015, section 2.2: normal with
    variance 2 / inputs, the bias 0.
    """
    sizes = list(layer_sizes)
    theta = np.zeros(sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes)), dtype=dtype)
    weights, biases = layers(theta, sizes)
    for weight in weights[:-1]:
        weight[...] = rng.standard_normal(weight.shape) * np.sqrt(2 / len(weight))
    # A class without a row keeps a finite logit: its share is not known to be 0.
    share = class_mass / class_mass.sum() + 1e-4 / len(class_mass)
    biases[-1][...] = np.log(share) - np.log(share).mean()
    return theta


def fold_center(theta: Array, layer_sizes: Sequence[int], center: Array | None, *, scale: float = 1.0) -> Array:
    """Return the parameters that do to a raw row what ``theta`` does to ``scale`` times the row minus ``center``."""
    folded = theta.copy()
    weights, biases = layers(folded, layer_sizes)
    if center is not None:
        shift = np.zeros(len(biases[0]))
        # Block by block: all weights in float64 would take twice their memory.
        step = max(1, BLOCK_ENTRIES // len(shift))
        for first in range(0, len(center), step):
            block = slice(first, first + step)
            shift += center[block].astype(np.float64) @ weights[0][block].astype(np.float64)
        biases[0][...] = biases[0] - shift
    if scale != 1:
        weights[0][...] *= scale
    return folded


def unfold_center(theta: Array, layer_sizes: Sequence[int], center: Array | None, *, scale: float = 1.0) -> Array:
    """Return the parameters whose ``fold_center`` is theta."""
    unfolded = theta.copy()
    layers(unfolded, layer_sizes)[0][0][...] /= scale
    return unfolded if center is None else fold_center(unfolded, layer_sizes, -center)
