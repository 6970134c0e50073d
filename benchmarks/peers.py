"""The classifiers that training is compared with: each fits a task under one budget and returns its test log-loss.

A peer is `fit(task, budget, rate, seed, threads)`, `budget` being its epochs or iterations. It returns a function that
gives the test log-loss in nats, for whoever times the fit alone. The loss is taken from logits or log-probabilities, so
that no peer is charged for another's clipping.
"""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from real_data import Task
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning

from crossent import SoftmaxClassifier, cross_entropy

Score = Callable[[], float]
BATCH = 256
MOMENTUM = 0.9


@dataclass(frozen=True)
class Peer:
    """One classifier and the settings that may be chosen for it.

    Attributes
    ----------
    budgets : tuple of int
        Epochs or iterations, rising: the least that reaches a loss is the one that counts.
    rates : tuple of float
        Learning rates, or inverse strengths of regularisation, the best of which is chosen on validation rows.
    """

    name: str
    fit: Callable[..., Score]
    budgets: tuple[int, ...]
    rates: tuple[float, ...] = (0.0,)
    needs: str | None = None

    @property
    def is_installed(self) -> bool:
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


def validation_task(task: Task, seed: int = 0, share: float = 0.1, most: int | None = None) -> Task:
    """Return the task with a tenth of its training rows, or of so many of them, in the place of its test rows."""
    shuffled = np.random.default_rng(seed).permutation(task.x_train.shape[0])[:most]
    held_out, kept = np.split(shuffled, [int(share * len(shuffled))])
    return _of_rows(
        replace(
            task,
            x_test=task.x_train[held_out],
            y_test=task.y_train[held_out],
            texts_test=tuple(task.texts_train[row] for row in held_out if task.texts_train),
        ),
        kept,
    )


def subset(task: Task, most: int) -> Task:
    """Return the task with so many of its training rows, drawn at random."""
    return _of_rows(task, np.sort(np.random.default_rng(0).permutation(task.x_train.shape[0])[:most]))


def _of_rows(task: Task, rows: np.ndarray) -> Task:
    """Return the task with some of its training rows, and without test rows of a class that these lack."""
    texts = tuple(task.texts_train[row] for row in rows if task.texts_train)
    kept = replace(task, x_train=task.x_train[rows], y_train=task.y_train[rows], texts_train=texts)
    if task.y_train.ndim == 2:
        return kept
    tests = np.flatnonzero(np.isin(task.y_test, kept.y_train))
    texts = tuple(task.texts_test[row] for row in tests if task.texts_test)
    return replace(kept, x_test=task.x_test[tests], y_test=task.y_test[tests], texts_test=texts)


def loss_of_logits(logits: np.ndarray, task: Task) -> float:
    truth = task.y_test.toarray() if sp.issparse(task.y_test) else task.y_test
    return float(cross_entropy(np.ascontiguousarray(logits), truth))


def crossent_fit(hidden: tuple[int, ...] = (), **options: object) -> Callable[..., Score]:
    def fit(task: Task, budget: int, rate: float, seed: int, threads: int) -> Score:
        del rate  # the default is the one under test
        model = SoftmaxClassifier(hidden, max_epochs=budget, random_state=seed, n_threads=threads, **options)
        classes = range(len(task.classes)) if sp.issparse(task.y_train) else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(task.x_train, task.y_train, classes=classes)
        return lambda: _loss_of(model, task)

    return fit


def sklearn_fit(solver: str) -> Callable[..., Score]:
    return _logistic("sklearn.linear_model", solver)


def sklearnex_fit(solver: str) -> Callable[..., Score]:
    return _logistic("sklearnex.linear_model", solver)


def _logistic(module: str, solver: str) -> Callable[..., Score]:
    def fit(task: Task, budget: int, rate: float, seed: int, threads: int) -> Score:
        del threads  # set by the caller for every library at once
        logistic = importlib.import_module(module).LogisticRegression
        model = logistic(solver=solver, C=rate, max_iter=budget, tol=1e-9, random_state=seed)
        return _fit_and_score(model, task)

    return fit


def sgd_fit(task: Task, budget: int, rate: float, seed: int, threads: int) -> Score:
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier("log_loss", alpha=rate, max_iter=budget, tol=None, random_state=seed, n_jobs=threads)
    return _fit_and_score(model, task)


def mlp_fit(hidden: tuple[int, ...]) -> Callable[..., Score]:
    def fit(task: Task, budget: int, rate: float, seed: int, threads: int) -> Score:
        del threads
        from sklearn.neural_network import MLPClassifier

        model = MLPClassifier(hidden, learning_rate_init=rate, max_iter=budget, tol=0, random_state=seed)
        return _fit_and_score(model, task)

    return fit


def snapml_fit(task: Task, budget: int, rate: float, seed: int, threads: int) -> Score:
    """Its multiclass model is one against the rest without probabilities: they are its sigmoids, normalised."""
    from snapml import LogisticRegression

    model = LogisticRegression(
        max_iter=budget, regularizer=rate, fit_intercept=True, n_jobs=threads, random_state=seed, tol=1e-9
    )
    model.fit(task.x_train, task.y_train)
    return lambda: loss_of_logits(-np.logaddexp(0, -(task.x_test @ model.coef_.T + model.intercept_)), task)


def numpy_fit(task: Task, budget: int, rate: float, seed: int, threads: int) -> Score:
    """Fifteen lines of minibatch SGD with momentum and a learning rate that falls linearly to 0."""
    del threads
    rng = np.random.default_rng(seed)
    x, y = task.x_train, task.y_train
    weight = np.zeros((x.shape[1], len(task.classes)), np.float32)
    bias = np.zeros(len(task.classes), np.float32)
    weight_velocity, bias_velocity = np.zeros_like(weight), np.zeros_like(bias)
    step, steps = 0, budget * -(-len(x) // BATCH)
    for _ in range(budget):
        order = rng.permutation(len(x))
        for begin in range(0, len(x), BATCH):
            rows = order[begin : begin + BATCH]
            batch, labels = x[rows], y[rows]
            z = batch @ weight + bias
            z -= z.max(axis=1, keepdims=True)
            np.exp(z, out=z)
            z /= z.sum(axis=1, keepdims=True)
            z[np.arange(len(rows)), labels] -= 1
            z /= len(rows)
            lr = np.float32(rate * (1 - step / steps))
            weight_velocity *= MOMENTUM
            weight_velocity -= lr * (batch.T @ z)
            bias_velocity *= MOMENTUM
            bias_velocity -= lr * z.sum(axis=0)
            weight += weight_velocity
            bias += bias_velocity
            step += 1
    return lambda: loss_of_logits(task.x_test @ weight + bias, task)


def torch_fit(hidden: tuple[int, ...] = ()) -> Callable[..., Score]:
    """The same loop in PyTorch."""

    def fit(task: Task, budget: int, rate: float, seed: int, threads: int) -> Score:
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        x, y = torch.from_numpy(task.x_train), torch.from_numpy(task.y_train)
        sizes = (x.shape[1], *hidden, len(task.classes))
        layers: list[torch.nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1])
        steps = budget * -(-len(x) // BATCH)
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=MOMENTUM)
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for _ in range(budget):
            for rows in torch.randperm(len(x)).split(BATCH):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
                decay.step()

        def score() -> float:
            with torch.no_grad():
                return loss_of_logits(model(torch.from_numpy(task.x_test)).numpy(), task)

        return score

    return fit


def saga_on_pairs(task: Task, budget: int, rate: float, seed: int, threads: int) -> Score:
    """Soft truth for a classifier of labels: a row per class that has a share of it, the share as its weight."""
    del threads
    from sklearn.linear_model import LogisticRegression

    x, labels, share = pairs(task)
    model = LogisticRegression(solver="saga", C=rate, max_iter=budget, tol=1e-9, random_state=seed)
    return _fit_and_score(model, task, (x, labels, share))


def crossent_on_pairs(task: Task, budget: int, rate: float, seed: int, threads: int) -> Score:
    del rate
    x, labels, share = pairs(task)
    model = SoftmaxClassifier(max_epochs=budget, random_state=seed, n_threads=threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, labels, sample_weight=share)
    return lambda: _loss_of(model, task)


def pairs(task: Task) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    truth = task.y_train.tocoo()
    return task.x_train[truth.row], truth.col.astype(np.int64), truth.data.astype(np.float64)


def fasttext_fit(task: Task, budget: int, rate: float, seed: int, threads: int) -> Score:
    """fastText on the strings themselves, with character n-grams of 1 to 3 as here; it reads them from a file."""
    import fasttext

    rows = np.random.default_rng(seed).permutation(len(task.texts_train))
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.writelines(f"__label__{task.y_train[row]} {_one_line(task.texts_train[row])}\n" for row in rows)
        file.flush()
        model = fasttext.train_supervised(
            file.name, lr=rate, epoch=budget, dim=64, minn=1, maxn=3, bucket=2**17, thread=threads, verbose=0, seed=seed
        )

    def score() -> float:
        place = {f"__label__{c}": c for c in range(len(task.classes))}
        log_probs = np.full((len(task.texts_test), len(task.classes)), np.log(1e-9), np.float64)
        for row, text in enumerate(task.texts_test):
            # The wrapper's predict is not for NumPy 2.
            for prob, label in model.f.predict(_one_line(text) + "\n", len(task.classes), 0.0, "strict"):
                log_probs[row, place[label]] = np.log(max(prob, 1e-9))
        return loss_of_logits(log_softmax(log_probs, axis=1), task)

    return score


def _one_line(text: str) -> str:
    return " ".join(text.split())


def every_class(log_probs: np.ndarray, seen: np.ndarray, task: Task) -> np.ndarray:
    """Return (n, C) log-probabilities, -inf for a class that the model has not seen."""
    if len(seen) == len(task.classes):
        return log_probs
    full = np.full((len(log_probs), len(task.classes)), -np.inf, log_probs.dtype)
    full[:, np.asarray(seen, np.int64)] = log_probs
    return full


def _loss_of(model: SoftmaxClassifier, task: Task) -> float:
    return loss_of_logits(every_class(model.predict_log_proba(task.x_test), model.classes_, task), task)


def _fit_and_score(model: object, task: Task, rows: tuple[object, ...] | None = None) -> Score:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(*(rows or (task.x_train, task.y_train)))

    def score() -> float:
        if hasattr(model, "decision_function") and type(model).__name__ == "LogisticRegression":
            log_probs = log_softmax(model.decision_function(task.x_test), axis=1)
        else:
            with np.errstate(divide="ignore"):
                log_probs = np.log(model.predict_proba(task.x_test))
        return loss_of_logits(every_class(log_probs, model.classes_, task), task)

    return score
