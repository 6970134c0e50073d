"""What the ranks of a test at the edges do: confident rows, ignored rows, masked classes, low precision, memory."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist

from crossent.torch.parallel import class_parallel_cross_entropy, class_range


def own_classes(classes):
    found = class_range(classes, dist.get_rank(), dist.get_world_size())
    return slice(found.start, found.stop)


def confident_row(margin, dtype, soft, label):
    """Return loss and the whole gradient of the logits (margin at the label, 0 else) of four classes."""
    logits = torch.zeros(4, dtype=dtype)
    logits[label] = margin
    own = own_classes(4)
    weight = logits[own].clone().unsqueeze(1).requires_grad_()
    x = torch.ones(1, 1, dtype=dtype, requires_grad=True)
    target = torch.eye(4, dtype=dtype)[label : label + 1, own] if soft else torch.tensor([label])
    loss = class_parallel_cross_entropy(x, weight, target)
    loss.backward()
    # With x = 1, the weight's gradient is that of the logits.
    return loss.item(), weight.grad.flatten().tolist(), x.grad.item()


def ignored_rows_with_nan():
    x = torch.tensor([[1.0, 2.0], [torch.nan, torch.inf], [0.5, -1.0]], requires_grad=True)
    weight = torch.arange(10.0).reshape(5, 2)[own_classes(5)].clone().requires_grad_()
    loss = class_parallel_cross_entropy(x, weight, torch.tensor([0, -100, 3]), reduction="none")
    loss.sum().backward()
    return loss.tolist(), x.grad.tolist(), bool(weight.grad.isfinite().all())


def masked_classes(label, smoothing):
    """Return the loss with the last of four classes at -inf, and whether all gradients are finite."""
    bias = torch.tensor([0.0, 1.0, 2.0, -torch.inf])[own_classes(4)]
    x = torch.ones(1, 2, requires_grad=True)
    weight = torch.zeros(4, 2)[own_classes(4)].requires_grad_()
    loss = class_parallel_cross_entropy(
        x,
        weight,
        torch.tensor([label]),
        bias_shard=bias,
        label_smoothing=smoothing,
        weight=torch.tensor([1.0, 1.0, 1.0, 1.0 if label == 3 else 0.0]),
    )
    loss.backward()
    return loss.item(), bool(weight.grad.isfinite().all() and x.grad.isfinite().all())


def backward_twice(max_memory):
    """Return the weight's gradient of one backward, of a second one, and of a loss scaled and used twice."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(7, 3)), requires_grad=True)
    weight = torch.tensor(rng.normal(size=(11, 3)))[own_classes(11)].requires_grad_()
    target = torch.tensor(rng.integers(0, 11, 7))
    loss = class_parallel_cross_entropy(x, weight, target, max_memory=max_memory)
    found = []
    for scale in (1.0, 1.0, 2.5):
        (grad,) = torch.autograd.grad(loss * scale, weight, retain_graph=True)
        found.append(grad.numpy())
    return found


def second_derivative():
    x = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.eye(4, 2, dtype=torch.float64)[own_classes(4)]
    loss = class_parallel_cross_entropy(x, weight, torch.tensor([0, 1]))
    try:
        torch.autograd.grad(loss, x, create_graph=True)
    except NotImplementedError as error:
        return str(error)
    return None


def frozen(which):
    """Return which gradients there are."""
    x, weight = torch.ones(2, 2), torch.eye(4, 2)[own_classes(4)]
    for each in (x, weight):
        each.requires_grad_()
    {"x": x, "weight": weight}[which].requires_grad_(False)
    class_parallel_cross_entropy(x, weight, torch.tensor([0, 1])).backward()
    return x.grad is not None, weight.grad is not None


def without_gradients():
    x, weight = torch.ones(2, 2, requires_grad=True), torch.eye(4, 2)[own_classes(4)]
    with torch.no_grad():
        loss = class_parallel_cross_entropy(x, weight, torch.tensor([0, 1]))
    return loss.requires_grad, loss.item()


def low_precision(dtype, rows, max_memory):
    """Return the relative errors of loss and gradients, given the rounded inputs, and the results' dtypes."""
    rng = np.random.default_rng(1)
    x, weight = (torch.tensor(rng.normal(size=s)).to(dtype) for s in ((rows, 16), (300, 16)))
    target = torch.tensor(rng.integers(0, 300, rows))
    leaves = x.double().requires_grad_(), weight.double().requires_grad_()
    truth = torch.nn.functional.cross_entropy(leaves[0] @ leaves[1].T, target)
    truth.backward()
    own = own_classes(300)
    mine = x.clone().requires_grad_(), weight[own].clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = class_parallel_cross_entropy(*mine, target, max_memory=max_memory)
    loss.backward()
    pairs = [(mine[0].grad, leaves[0].grad), (mine[1].grad, leaves[1].grad[own])]
    errors = [float((a.double() - b).norm() / max(float(b.norm()), 1e-9)) for a, b in pairs]
    return (
        float((loss.detach() - truth.detach()).abs() / truth.detach()),
        errors,
        str(loss.dtype),
        str(mine[0].grad.dtype),
    )


def shapes():
    """Return the shapes of the losses of rows in several dimensions, and of a single row."""
    found = []
    for shape in ((2, 3, 4), (4,), (0, 4)):
        x = torch.ones(shape, requires_grad=True)
        weight = torch.eye(5, 4)[own_classes(5)]
        target = torch.zeros(shape[:-1], dtype=torch.int32)
        loss = class_parallel_cross_entropy(x, weight, target, reduction="none")
        loss.sum().backward()
        found.append((tuple(loss.shape), tuple(x.grad.shape)))
    return found


def all_ignored(reduction):
    x, weight = torch.ones(2, 2, requires_grad=True), torch.eye(4, 2)[own_classes(4)].requires_grad_()
    loss = class_parallel_cross_entropy(x, weight, torch.tensor([-100, -100]), reduction=reduction)
    loss.sum().backward()
    return loss.tolist(), float(x.grad.abs().max()), float(weight.grad.abs().sum())


def peak_memory(rows, features, classes, max_memory):
    """Return the most that loss and backward hold, in bytes, beyond this rank's inputs and gradients."""
    own = own_classes(classes)
    weight = torch.randn(own.stop - own.start, features).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, features, generator=generator).requires_grad_()
    target = torch.randint(0, classes, (rows,), generator=generator)
    class_parallel_cross_entropy(x[:8], weight, target[:8], max_memory=max_memory)
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the peak counts from here
    before = resident("VmRSS")
    class_parallel_cross_entropy(x, weight, target, max_memory=max_memory).backward()
    return resident("VmHWM") - before - weight.nbytes - x.nbytes


def resident(field):
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith(field))
