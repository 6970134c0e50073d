"""How long an epoch takes beside its matrix products alone and beside the same loop in NumPy.

All three work on the same 60,000 rows of 784 features in batches of 128, float32, one thread, alternately in one
process. "products" are an epoch's matrix products and nothing else, through the same BLAS, on a batch that stays where
it is; it is the floor. The NumPy loop must end at the engine's training log-loss, or nothing is printed.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import pairwise

import numpy as np
import scipy
from results import Results, add_options
from scipy.linalg.blas import sgemm
from threadpoolctl import threadpool_limits

from crossent.training import Examples, Problem
from crossent.training.network import layers

ROWS, FEATURES, CLASSES, BATCH = 60_000, 784, 10, 128
RATE, MOMENTUM, ALPHA = np.float32(0.05), np.float32(0.9), np.float32(1e-4)
NETWORKS: dict[str, tuple[int, ...]] = {"none": (), "128": (128,), "512-512": (512, 512)}
GOAL = 1.3  # times the products


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=ROWS)
    centers = rng.normal(size=(CLASSES, FEATURES)).astype(np.float32)
    x = rng.standard_normal((ROWS, FEATURES), dtype=np.float32) + np.float32(0.05) * centers[labels]
    return x * np.float32(0.3), labels


def engine_epoch(problem: Problem, theta: np.ndarray, order: np.ndarray) -> float:
    velocity = np.zeros_like(theta)
    rates = np.full(problem.n_batches, RATE, dtype=np.float64)
    _, loss = problem.descend(theta, velocity, order, problem.bounds, rates, momentum=float(MOMENTUM))
    return loss / len(order)


def products_epoch(sizes: tuple[int, ...], n_batches: int) -> None:
    """Run forward, weight gradient and, from the second layer on, input gradient of every layer."""
    rng = np.random.default_rng(0)
    # Transposed views: SciPy's BLAS takes column-major arrays without a copy.
    inputs = [rng.standard_normal((BATCH, size), dtype=np.float32).T for size in sizes]
    weights = [rng.standard_normal(shape, dtype=np.float32).T for shape in pairwise(sizes)]
    outputs, weight_bars = [array.copy(order="F") for array in inputs], [array.copy(order="F") for array in weights]
    for _ in range(n_batches):
        for k, weight in enumerate(weights):
            sgemm(1, weight, inputs[k], c=outputs[k + 1], overwrite_c=1)
            sgemm(1, outputs[k + 1], inputs[k], trans_b=1, c=weight_bars[k], overwrite_c=1)
            if k:
                sgemm(1, weight, outputs[k + 1], trans_a=1, c=outputs[k], overwrite_c=1)


def numpy_epoch(problem: Problem, theta: np.ndarray, order: np.ndarray) -> float:
    x, labels, center = problem.examples.x, problem.examples.labels, problem.center
    weights, biases = layers(theta, problem.layer_sizes)
    weight_velocity, bias_velocity = ([np.zeros_like(array) for array in arrays] for arrays in (weights, biases))
    total = 0.0
    for begin, end in zip(problem.bounds[:-1], problem.bounds[1:]):
        rows = order[begin:end]
        activations = [x[rows] - center]
        for weight, bias in zip(weights, biases):
            last = len(activations) == len(weights)
            out = activations[-1] @ weight + bias
            activations.append(out if last else np.maximum(out, 0))
        z, hit = activations[-1], (np.arange(len(rows)), labels[rows])
        z = z - z.max(axis=1, keepdims=True)
        q = np.exp(z)
        mass = q.sum(axis=1, keepdims=True)
        total += float((np.log(mass[:, 0]) - z[hit]).sum())
        bar = q / mass
        bar[hit] -= 1
        bar /= len(rows)
        for k in range(len(weights) - 1, -1, -1):
            weight_bar, bias_bar = activations[k].T @ bar + ALPHA * weights[k], bar.sum(axis=0)
            if k:
                bar = (bar @ weights[k].T) * (activations[k] > 0)
            for array, velocity, slope in (
                (weights[k], weight_velocity[k], weight_bar),
                (biases[k], bias_velocity[k], bias_bar),
            ):
                velocity *= MOMENTUM
                velocity += slope
                array -= RATE * velocity
    return total / len(order)


def compare(hidden: tuple[int, ...], x: np.ndarray, labels: np.ndarray, repeats: int) -> dict[str, object]:
    """Return the row of one network."""
    examples = Examples(x, CLASSES, labels=labels)
    problem = Problem(examples, hidden, alpha=float(ALPHA), batch_size=BATCH, center=True)
    start = problem.initial_parameters(np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(ROWS)
    losses = engine_epoch(problem, start.copy(), order), numpy_epoch(problem, start.copy(), order)
    if abs(losses[0] - losses[1]) > 1e-3 * losses[1]:
        raise SystemExit(f"the engine's log-loss {losses[0]} is not NumPy's {losses[1]}: nothing to compare")
    runs = {
        "engine": lambda: engine_epoch(problem, start.copy(), order),
        "products": lambda: products_epoch(problem.layer_sizes, problem.n_batches),
        "NumPy": lambda: numpy_epoch(problem, start.copy(), order),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    floor = np.array(seconds["engine"]) / np.array(seconds["products"])
    rival = np.array(seconds["NumPy"]) / np.array(seconds["engine"])
    flops = problem.n_batches * sum(
        2 * BATCH * i * o * (3 if k else 2) for k, (i, o) in enumerate(pairwise(problem.layer_sizes))
    )
    row: dict[str, object] = {"network": "-".join(map(str, problem.layer_sizes)), "engine_s": median["engine"]}
    row |= {"products_s": median["products"], "numpy_s": median["NumPy"], "repeats": repeats}
    row |= {"engine_to_products": float(np.median(floor)), "least": floor.min(), "most": floor.max()}
    return row | {"numpy_ratio": float(np.median(rival)), "products_gflops": flops / median["products"] / 1e9}


def main() -> None:
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        if name in os.environ:
            raise SystemExit(f"unset {name}: it makes OpenBLAS choose other products than a user gets")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--repeats", type=int, default=7)
    add_options(parser)
    options = parser.parse_args()
    results = Results("training_speed", ("network", "threads"), options)
    x, labels = data()
    print(f"an epoch of {ROWS} rows in batches of {BATCH}; medians of {options.repeats} alternate runs, 1 thread")
    print(f"NumPy {np.__version__}, SciPy {scipy.__version__}")
    print("       network   engine s  products s    NumPy s   engine/products       NumPy/engine  GFLOP/s (products)")
    with threadpool_limits(1):
        for hidden in options.hidden:
            row = compare(NETWORKS[hidden], x, labels, options.repeats)
            goals = {"engine_to_products": ("<=", GOAL)} if hidden == "128" else {}
            results.keep(row, threads=1, goals=goals, roof=("matrix products", row["engine_to_products"]))
            print(
                "{network:>14}  {engine_s:9.3f}  {products_s:10.3f}  {numpy_s:9.3f}  {engine_to_products:6.2f} "
                "({least:.2f}-{most:.2f})  {numpy_ratio:17.2f}  {products_gflops:18.0f}".format_map(row),
                flush=True,
            )


if __name__ == "__main__":
    main()
