"""Time loss and gradient in JAX beside optax's, compiled, alternately: ``python benchmarks/jax_speed.py``."""

import argparse
import os
import statistics
import time

import jax
import numpy as np
import optax
from results import Results, add_options

from crossent.jax import softmax_cross_entropy_with_integer_labels as ours

SHAPES = ((60_000, 10), (8192, 1000), (256, 32_768))


def compiled(loss):
    return jax.jit(jax.value_and_grad(lambda logits, labels: loss(logits, labels).mean()))


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    add_options(arguments)
    options = arguments.parse_args()
    rounds, results = options.rounds, Results("jax_speed", ("rows", "classes"), options)
    contenders = {
        "crossent.jax": compiled(ours),
        "optax": compiled(optax.softmax_cross_entropy_with_integer_labels),
        "read and write": jax.jit(lambda logits, labels: logits + 1),
    }
    print(f"float32, {jax.devices()[0].platform}, median of {rounds} alternate calls, ms")
    print(f"{'shape':>14} " + " ".join(f"{name:>14}" for name in contenders) + f" {'optax /':>7}")
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        logits = jax.numpy.asarray(rng.standard_normal(shape, np.float32))
        labels = jax.numpy.asarray(rng.integers(0, shape[1], shape[0]))
        seconds = {name: [] for name in contenders}
        for at in range(rounds + 1):
            for name, call in contenders.items():
                start = time.perf_counter()
                jax.block_until_ready(call(logits, labels))
                if at:  # the first call compiles
                    seconds[name].append(time.perf_counter() - start)
        medians = [1e3 * statistics.median(each) for each in seconds.values()]
        print(f"{shape[0]:>7}x{shape[1]:<6} " + " ".join(f"{ms:14.1f}" for ms in medians), end=" ")
        print(f"{medians[1] / medians[0]:7.2f}")
        row = dict(zip(("rows", "classes", "crossent_ms", "optax_ms"), (*shape, *medians[:2])))
        row |= {"optax_ratio": medians[1] / medians[0]}
        results.keep(
            row, threads=len(os.sched_getaffinity(0)), roof=("reading and writing the logits", medians[0] / medians[2])
        )


if __name__ == "__main__":
    main()
