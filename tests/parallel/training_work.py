"""What the ranks of a training test do: data-parallel, class-parallel, and both."""

from __future__ import annotations

import contextlib
import io
import itertools

import numpy as np
import torch
import torch.distributed as dist
from torch.nn import functional

from crossent.torch import cross_entropy
from crossent.torch.parallel import ClassParallelHead, class_parallel_cross_entropy, class_range, global_mean

CLASSES, FEATURES = 5, 3


def data(seed, n):
    """Return rows, labels of which some are ignored, and class weights: the same on every rank."""
    rng = np.random.default_rng(seed)
    labels = torch.tensor(rng.integers(0, CLASSES, n))
    labels[torch.tensor(rng.random(n) < np.linspace(0.0, 0.9, n))] = -100
    return torch.tensor(rng.normal(size=(n, FEATURES))), labels, torch.tensor(rng.uniform(0.5, 2.0, CLASSES))


def linear(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Linear(FEATURES, CLASSES, dtype=torch.float64)


def parts(n, size):
    """Return each rank's rows: the first has most, the last has none."""
    ends = [0, *(n - n // (2 ** (r + 1)) for r in range(size - 1)), n]
    if size > 1:
        ends[-2] = n
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def whole_gradient(x, labels, weight):
    model = linear()
    loss = functional.cross_entropy(model(x), labels, weight)
    loss.backward()
    return loss.detach(), model.weight.grad


def own_loss(model, x, labels, weight):
    loss = cross_entropy(model(x), labels, weight, reduction="sum")
    return global_mean(loss, weight[labels[labels >= 0]].sum())


def gradient_error_by_hand():
    """Return the relative error of the gradient that summing over ranks gives, and of the mean of the ranks' means."""
    x, labels, weight = data(1, 40)
    loss, gradient = whole_gradient(x, labels, weight)
    own = parts(40, dist.get_world_size())[dist.get_rank()]
    errors = []
    for kind in ("summed", "averaged", "means"):
        model = linear()
        if kind == "means":
            kept = (labels[own] >= 0).any()
            mine = functional.cross_entropy(model(x[own]), labels[own], weight) if kept else 0.0 * model(x[own]).sum()
        else:
            total = cross_entropy(model(x[own]), labels[own], weight, reduction="sum")
            mine = global_mean(total, weight[labels[own][labels[own] >= 0]].sum(), gradients=kind)
        mine.backward()
        found = model.weight.grad
        dist.all_reduce(found)
        found = found if kind == "summed" else found / dist.get_world_size()
        errors.append(float((found - gradient).norm() / gradient.norm()))
        if kind != "means":
            errors[-1] = max(errors[-1], float((mine.detach() - loss).abs() / loss))
    return errors


def gradient_error_under_ddp():
    x, labels, weight = data(2, 40)
    loss, gradient = whole_gradient(x, labels, weight)
    own = parts(40, dist.get_world_size())[dist.get_rank()]
    model = torch.nn.parallel.DistributedDataParallel(linear())
    found = own_loss(model, x[own], labels[own], weight)
    found.backward()
    error = float((model.module.weight.grad - gradient).norm() / gradient.norm())
    return max(error, float((found.detach() - loss).abs() / loss))


def gradient_error_under_fsdp():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    x, labels, weight = data(3, 40)
    loss, gradient = whole_gradient(x, labels, weight)
    own = parts(40, dist.get_world_size())[dist.get_rank()]
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = linear()
    fully_shard(model, mesh=mesh)
    found = own_loss(model, x[own], labels[own], weight)
    found.backward()
    error = float((model.weight.grad.full_tensor() - gradient).norm() / gradient.norm())
    return max(error, float((found.detach() - loss).abs() / loss))


def raised_by_bad_count(value):
    try:
        global_mean(torch.tensor(1.0), value if dist.get_rank() == dist.get_world_size() - 1 else 2.0)
    except ValueError as error:
        return str(error), float(global_mean(torch.tensor(3.0), 2.0))
    return None


def mean_of_nothing():
    x = torch.ones(2, requires_grad=True)
    loss = global_mean((0.0 * x).sum(), 0)
    loss.backward()
    return loss.item(), x.grad.tolist()


class Grid:
    """Ranks as row groups by class groups: two of each, where there are four ranks."""

    def __init__(self):
        size, rank = dist.get_world_size(), dist.get_rank()
        self.t = 2 if size % 2 == 0 else 1
        self.p = size // self.t
        self.row, self.column = divmod(rank, self.t)
        rows = [[r * self.t + c for c in range(self.t)] for r in range(self.p)]
        columns = [[r * self.t + c for r in range(self.p)] for c in range(self.t)]
        self.class_group, _ = dist.new_subgroups_by_enumeration(rows)
        self.row_group, _ = dist.new_subgroups_by_enumeration(columns)


def gradient_errors_on_a_grid(reduction):
    """Return the relative errors of loss and of all gradients, with rows and classes spread."""
    grid = Grid()
    x, labels, weight = data(4, 30)
    inputs, model = x.clone().requires_grad_(), linear()
    of_classes, of_rows = weight.clone().requires_grad_(), torch.linspace(0.5, 2.0, 30, dtype=x.dtype).requires_grad_()
    options = {"label_smoothing": 0.1, "reduction": reduction, "z_loss": 0.1}
    whole = cross_entropy(model(inputs), labels, of_classes, sample_weight=of_rows, **options)
    whole.backward()
    own, rows = class_range(CLASSES, grid.column, grid.t), parts(30, grid.p)[grid.row]
    shard = model.weight.detach()[own.start : own.stop].clone().requires_grad_()
    bias = model.bias.detach()[own.start : own.stop].clone()
    mine = x[rows].clone().requires_grad_()
    my_classes, my_rows = weight.clone().requires_grad_(), of_rows.detach()[rows].clone().requires_grad_()
    loss = class_parallel_cross_entropy(
        mine,
        shard,
        labels[rows],
        bias_shard=bias,
        group=grid.class_group,
        row_group=grid.row_group,
        weight=my_classes,
        sample_weight=my_rows,
        **options,
    )
    loss.backward()
    for of_all_rows in (shard, my_classes):
        dist.all_reduce(of_all_rows.grad, group=grid.row_group)
    found = (loss.detach(), *(t.grad / grid.p for t in (mine, shard, my_classes, my_rows)))
    truth = (
        whole.detach(), inputs.grad[rows], model.weight.grad[own.start : own.stop], of_classes.grad, of_rows.grad[rows]
    )  # fmt: skip
    return [float((a - b).norm() / max(float(b.norm()), 1e-3)) for a, b in zip(found, truth, strict=True)]


def raised_on_a_grid(faulty):
    """Return what a bad label, or a mismatch, on one rank of a grid raises on this one, and whether it goes on."""
    grid = Grid()
    found = []
    for spoil in ("label", "option", None):
        labels, options = torch.tensor([0, 1]), {}
        if dist.get_rank() == faulty and spoil == "label":
            labels[1] = 9
        if dist.get_rank() == faulty and spoil == "option":
            options["z_loss"] = -1.0
        own = class_range(CLASSES, grid.column, grid.t)
        try:
            loss = class_parallel_cross_entropy(
                torch.ones(2, 3),
                torch.zeros(len(own), 3),
                labels,
                group=grid.class_group,
                row_group=grid.row_group,
                **options,
            )
            found.append(round(loss.item(), 4))
        except ValueError as error:
            found.append(str(error))
    return found


def trained_head(steps, classes=7, saved=None):
    """Train a head for some steps; return its shards' state dicts, gathered, and the last loss."""
    head = ClassParallelHead(FEATURES, classes, seed=5, dtype=torch.float64, label_smoothing=0.1)
    if saved is not None:
        head.load_rows([{name: torch.tensor(v) for name, v in state.items()} for state in saved])
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    rng = np.random.default_rng(6)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        x, labels = torch.tensor(rng.normal(size=(8, FEATURES))), torch.tensor(rng.integers(0, classes, 8))
        optimizer.zero_grad()
        loss = head(x, labels)
        loss.backward()
        optimizer.step()
    return {name: value.detach().numpy() for name, value in head.state_dict().items()}, float(loss.detach())


def head_under_ddp():
    """Return the error of a step of a head whose rows are spread too, under DDP over the ranks that share classes."""
    grid = Grid()
    x, labels, _ = data(7, 20)
    head = ClassParallelHead(FEATURES, CLASSES, group=grid.class_group, row_group=grid.row_group, dtype=torch.float64)
    rows = parts(20, grid.p)[grid.row]
    wrapped = torch.nn.parallel.DistributedDataParallel(head, process_group=grid.row_group)
    wrapped(x[rows], labels[rows]).backward()
    group = dist.new_group([dist.get_rank()], use_local_synchronization=True)
    alone = ClassParallelHead(FEATURES, CLASSES, group=group, dtype=torch.float64)
    alone(x, labels).backward()
    own = class_range(CLASSES, grid.column, grid.t)
    truth = alone.weight.grad[own.start : own.stop]
    return float((head.weight.grad - truth).norm() / max(float(truth.norm()), 1e-3))


def loading_the_wrong_rows():
    head = ClassParallelHead(FEATURES, 7)
    state = head.state_dict()
    state["class_range"] = torch.tensor([0, 1, 7])
    messages = []
    with contextlib.redirect_stderr(io.StringIO()):
        for attempt in (
            lambda: head.load_state_dict(state),
            lambda: head.load_rows([]),
            lambda: head.load_rows([head.state_dict()] * 2),
            lambda: head.load_rows([ClassParallelHead(FEATURES, 8).state_dict()]),
        ):
            try:
                attempt()
                messages.append("")
            except (RuntimeError, ValueError) as error:
                messages.append(str(error))
    return messages
