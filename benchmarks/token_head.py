"""Fit a language model's head to a stream of real tokens, for the unbiased rows of benchmarks/head_speed.py.

    python benchmarks/token_head.py FILE.npz [--steps 300]

The stream is the source code and documentation of Python's standard library and of the installed packages: words,
signs, and line breaks with their indentation. A token is predicted from the four before it: their embeddings, 127
numbers for each, beside each other and a constant for the bias. Embeddings and weights are fitted by Adagrad with one
rate per token; a step sees the classes of its own labels and the most frequent ones. The last steps are on the 4096
rows that are kept in FILE: x, weight and labels. Their loss over all 131,072 classes is printed.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import crossent.torch

CLASSES, ROWS, BEFORE, SIZE = 131_072, 4096, 4, 127
TOKEN = re.compile(r"\n[ \t]*|\w+|[^\w\s]")
BATCH, FREQUENT = 1024, 4096


def texts() -> Iterator[str]:
    """Return the texts of the stream, in the order of their names."""
    folders = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.suffix in {".py", ".rst", ".txt", ".md"}):
            try:
                yield path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue


def stream(length: int) -> np.ndarray:
    """Return tokens as numbers, the most frequent first; those beyond the last class are left out."""
    tokens = list(itertools.islice((token for text in texts() for token in TOKEN.findall(text)), length))
    number = {token: i for i, (token, _) in enumerate(Counter(tokens).most_common(CLASSES))}
    if len(number) < CLASSES:
        raise SystemExit(f"{len(number)} kinds of tokens in {len(tokens)}: expected {CLASSES}; raise --tokens")
    return np.array([number[token] for token in tokens if token in number])


class Model:
    """Embeddings of the tokens before, and the head."""

    def __init__(self, tokens: np.ndarray) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.from_numpy(tokens)
        self.embedding = 0.3 * torch.randn(CLASSES, BEFORE, SIZE, generator=generator)
        self.weight = torch.zeros(CLASSES, BEFORE * (SIZE + 1))
        counts = torch.from_numpy(np.bincount(tokens, minlength=CLASSES))
        self.weight[:, SIZE] = (counts / len(tokens)).log()
        self.squares = [torch.full((CLASSES,), 1e-8), torch.full((CLASSES,), 1e-8)]

    def features(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x of the tokens at these places, (n, 512), and the tokens before them, (n, 4)."""
        before = self.tokens[places.unsqueeze(1) - torch.arange(1, BEFORE + 1)]
        found = self.embedding[before, torch.arange(BEFORE)]
        return torch.nn.functional.pad(found, (0, 1), value=1.0).flatten(1), before

    def step(self, places: torch.Tensor, rate: float) -> float:
        x, before = self.features(places)
        labels = self.tokens[places]
        classes = torch.unique(torch.cat([labels, torch.arange(FREQUENT)]))
        part = self.weight[classes].requires_grad_()
        x.requires_grad_()
        loss = crossent.torch.linear_cross_entropy(x, part, torch.searchsorted(classes, labels))
        x_grad, part_grad = torch.autograd.grad(loss, (x, part))
        self._move(self.weight, self.squares[0], classes, part_grad, rate)
        # Of each embedding the sum over the places where it is used.
        used, where = torch.unique(before, return_inverse=True)
        of_each = x_grad.view(-1, BEFORE, SIZE + 1)[:, :, :SIZE]
        total = torch.zeros(len(used) * BEFORE, SIZE)
        total.index_add_(0, (where * BEFORE + torch.arange(BEFORE)).flatten(), of_each.flatten(0, 1))
        self._move(self.embedding, self.squares[1], used, total.view(-1, BEFORE, SIZE), rate)
        return loss.item()

    @staticmethod
    def _move(values: torch.Tensor, squares: torch.Tensor, rows: torch.Tensor, grad: torch.Tensor, rate: float) -> None:
        squares[rows] += grad.flatten(1).square().mean(dim=1)
        factor = (rate / squares[rows].sqrt()).view(-1, *(1,) * (grad.ndim - 1))
        values[rows] -= factor * grad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--tokens", type=int, default=12_000_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--last-steps", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.05)
    options = parser.parse_args()
    tokens = stream(options.tokens)
    model = Model(tokens)
    kept = torch.arange(len(tokens) - ROWS, len(tokens))
    generator = torch.Generator().manual_seed(1)
    for step in range(options.steps):
        places = torch.randint(BEFORE, len(tokens) - ROWS, (BATCH,), generator=generator)
        loss = model.step(places, options.rate)
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss:.2f} over the classes seen", flush=True)
    for _ in range(options.last_steps):
        for places in kept.split(BATCH):
            model.step(places, options.rate)
    x, labels = model.features(kept)[0], model.tokens[kept]
    loss = crossent.torch.linear_cross_entropy(x, model.weight, labels).item()
    print(f"{len(tokens):,} tokens; loss of the {ROWS} rows {loss:.3f} nats over {CLASSES:,} classes")
    part = options.file.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, x=x.numpy(), weight=model.weight.numpy(), labels=labels.numpy())
    part.replace(options.file)
    return 0 if loss < 4 else 1


if __name__ == "__main__":
    sys.exit(main())
