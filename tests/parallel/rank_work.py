"""What the ranks of a test do; every function runs on all ranks of a group at once."""

from __future__ import annotations

import numpy as np
import option_cases
import torch
import torch.distributed as dist

from crossent.torch.parallel import call as call_module
from crossent.torch.parallel import class_parallel_cross_entropy, class_range


def tensor(values, dtype=None, requires_grad=False):
    found = None if values is None else torch.tensor(values, dtype=dtype)
    return found.requires_grad_() if requires_grad and found is not None else found


def call(problem, own, dtype, **changes):
    """Return the loss of a problem whose classes ``own`` are this rank's, and its leaves."""
    leaves = (
        tensor(problem.x, dtype, True),
        tensor(problem.weight[own], dtype, True),
        None if problem.bias is None else tensor(problem.bias[own], dtype, True),
    )
    labels = problem.target.ndim == 1
    arguments = {
        "x": leaves[0],
        "weight_shard": leaves[1],
        "target": tensor(problem.target) if labels else tensor(problem.target[:, own]),
        "bias_shard": leaves[2],
        "weight": tensor(problem.class_weight),
        "sample_weight": tensor(problem.sample_weight),
        "max_memory": problem.max_memory,
        **problem.options,
        **changes,
    }
    return class_parallel_cross_entropy(**arguments), leaves


def error(found, truth, size):
    """Return the largest difference, relative to the largest size."""
    if found.shape != truth.shape:
        return np.inf
    if truth.size == 0:
        return 0.0
    largest = size.max()
    difference = np.abs(found - truth).max()
    return float(difference if largest == 0.0 else difference / largest)


def worst_errors(numbers):
    """Return the worst error of loss and gradients by dtype, with the case it was of, and how many cases ran."""
    worst = dict.fromkeys(option_cases.DTYPES, (0.0, None))
    every = option_cases.cases()
    for number in numbers:
        case = every[number]
        problem = option_cases.problem_of(case)
        own = option_cases.shares(case, dist.get_world_size())[dist.get_rank()]
        n = len(problem.x)
        bar = case.generator.uniform(0.5, 2.0, n) if case.reduction == "none" else np.float64(0.75)
        loss, leaves = call(problem, own, getattr(torch, case.dtype))
        loss.backward(torch.tensor(bar, dtype=loss.dtype))
        truth, sizes = option_cases.expected(problem, bar)
        found = loss.detach().numpy().astype(np.float64), gradient(leaves[0])
        errors = [error(*triple) for triple in zip(found, truth, sizes)]
        # Relative to the whole gradient: a shard's own may be of rounding errors only.
        for leaf, whole, size in zip(leaves[1:], truth[2:], sizes[2:], strict=True):
            if leaf is not None:
                rest = whole.copy()
                rest[own] = gradient(leaf)
                errors.append(error(rest, whole, size))
        largest = max(errors, key=lambda each: np.inf if np.isnan(each) else each)
        if not largest <= worst[case.dtype][0]:
            worst[case.dtype] = (largest, case)
    return worst, len(numbers)


def gradient(leaf):
    return leaf.grad.numpy().astype(np.float64)


def small_problem(seed=0, n=6, c=9, d=4, labels=True):
    """Return the arguments of a plain call with this rank's share of the classes, and the whole weight."""
    rng = np.random.default_rng(seed)
    own = class_range(c, dist.get_rank(), dist.get_world_size())
    weight, bias = torch.tensor(rng.normal(size=(c, d))), torch.tensor(rng.normal(size=c))
    target = torch.tensor(rng.integers(0, c, n)) if labels else torch.tensor(rng.dirichlet(np.ones(c), n))
    arguments = {
        "x": torch.tensor(rng.normal(size=(n, d))).requires_grad_(),
        "weight_shard": weight[own.start : own.stop].clone().requires_grad_(),
        "bias_shard": bias[own.start : own.stop].clone().requires_grad_(),
        "target": target if labels else target[:, own.start : own.stop].clone(),
    }
    return arguments, weight, bias, target


def is_right(**options):
    """Whether a plain call gives the loss that one process gives."""
    arguments, weight, bias, target = small_problem(seed=1)
    loss = class_parallel_cross_entropy(**arguments, **options)
    loss.backward()
    x = arguments["x"].detach().clone().requires_grad_()
    whole = torch.nn.functional.cross_entropy(x @ weight.T + bias, target)
    whole.backward()
    return torch.allclose(loss, whole, rtol=1e-12) and torch.allclose(arguments["x"].grad, x.grad, atol=1e-14)


def _set(name, place, value):
    def spoil(arguments):
        with torch.no_grad():
            arguments[name][place] = value

    return spoil


def _replace(**changes):
    return lambda arguments: arguments.update(changes)


def _rows(arguments):
    arguments.update(x=arguments["x"].detach()[:-1].requires_grad_(), target=arguments["target"][:-1])
    arguments.update(sample_weight=arguments["sample_weight"][:-1])


# What is wrong on one rank, and words of the message that all ranks raise.
FAULTS = {
    "label C": (_set("target", 2, 9), ValueError, "target[2] = 9 is outside [0, 9)"),
    "label -1": (_set("target", 2, -1), ValueError, "target[2] = -1 is outside [0, 9)"),
    "label 2^40": (_set("target", 2, 2**40), ValueError, "target[2] = 1099511627776 is outside [0, 9)"),
    "NaN in x": (_set("x", (3, 1), torch.nan), ValueError, "x[3, 1] = nan: expected a finite number"),
    "inf in x": (_set("x", (3, 1), torch.inf), ValueError, "x[3, 1] = inf: expected a finite number"),
    "NaN in weight": (_set("weight_shard", (0, 1), torch.nan), ValueError, "weight_shard[0, 1] = nan"),
    "inf in weight": (_set("weight_shard", (0, 1), torch.inf), ValueError, "weight_shard[0, 1] = inf"),
    "NaN in bias": (_set("bias_shard", 0, torch.nan), ValueError, "bias_shard[0] = nan"),
    "overflow": (_set("weight_shard", slice(None), 1e308), ValueError, "overflow torch.float64"),
    "negative class weight": (_set("weight", slice(None), -0.5), ValueError, "= -0.5: expected a finite number of"),
    "NaN class weight": (_set("weight", slice(None), torch.nan), ValueError, "= nan: expected a finite number of"),
    "number of class weights": (_replace(weight=torch.ones(77)), ValueError, "weight has 77 entries: expected 9"),
    "NaN sample weight": (_set("sample_weight", 4, torch.nan), ValueError, "sample_weight[4] = nan"),
    "dtype": (_replace(x=torch.ones(6, 4).requires_grad_()), ValueError, "dtype of x is torch.float64 on rank 0 and"),
    "dtype of target": (_replace(target=torch.ones(6, dtype=torch.bool)), TypeError, "target has dtype torch.bool"),
    "number of rows": (_rows, ValueError, "rows of x is [6] on rank 0 and [5] on rank"),
    "number of columns": (_replace(x=torch.ones(6, 5, requires_grad=True)), ValueError, "x has shape (6, 5): expected"),
    "no tensor": (_replace(x=[[1.0]]), TypeError, "x is a list: expected a tensor"),
    "option": (_replace(label_smoothing=0.2), ValueError, "label_smoothing is 0.1 on rank 0 and 0.2 on rank"),
    "bad option": (_replace(label_smoothing=1.5), ValueError, "label_smoothing = 1.5: expected a number in [0, 1]"),
    "returned": (_replace(return_lse=True), ValueError, "return_lse is False on rank 0 and True on rank"),
    "few classes": (
        _replace(target=(torch.zeros(6, 2, dtype=torch.int64), torch.ones(6, 2))),
        ValueError,
        "target is labels on rank 0 and distributions over 2 classes on rank",
    ),
    "pair of targets": (_replace(target=(1, 2)), TypeError, "expected a tensor, or a pair of tensors (indices,"),
    "shapes of a pair": (
        _replace(target=(torch.zeros(6, 2, dtype=torch.int64), torch.ones(6, 3))),
        ValueError,
        "target has shapes (6, 2), (6, 3): expected (6, 'k') for both",
    ),
    "shift": (_replace(shift=-1), ValueError, "shift = -1: expected an integer of at least 0"),
    "gradient": (_replace(gradient="unbiased"), ValueError, "gradient is exact on rank 0 and unbiased on rank"),
    "bad gradient": (_replace(gradient="fast"), ValueError, "gradient = 'fast': expected one of 'exact', 'unbiased'"),
    "threshold": (_replace(threshold=0.0), ValueError, "threshold = 0.0: expected a number in (0, 1]"),
    "generator": (_replace(generator=3), TypeError, "generator is a int: expected a torch.Generator, or None"),
    "class weights that learn": (
        _replace(weight=torch.ones(9, requires_grad=True)),
        ValueError,
        "weight requires a gradient is False on rank 0 and True on rank",
    ),
    "reduction": (_replace(reduction="none"), ValueError, "reduction is mean on rank 0 and none on rank"),
    "budget": (_replace(max_memory="much"), ValueError, "max_memory = 'much': expected a positive number of bytes"),
    "frozen x": (
        lambda a: a.update(x=a["x"].detach()),
        ValueError,
        "x requires a gradient is True on rank 0 and False",
    ),
    "other x": (_set("x", (5, 3), 0.25), ValueError, "x differs between the ranks"),
    "other target": (
        lambda a: a.update(target=(a["target"] + 1) % 9),
        ValueError,
        "target, sample_weight or normalizer",
    ),
    "target ignored": (_set("target", 1, -100), ValueError, "target, sample_weight or normalizer differs"),
    "other sample weight": (_set("sample_weight", 1, 0.0), ValueError, "target, sample_weight or normalizer differs"),
    "other normalizer": (_replace(normalizer=3.0), ValueError, "target, sample_weight or normalizer differs"),
}
# Where the other ranks hold nothing to compare with, these are no faults.
NEED_TWO = {
    "dtype", "number of rows", "option", "returned", "few classes", "reduction", "frozen x", "other x",
    "other target", "target ignored", "other sample weight", "other normalizer", "gradient", "class weights that learn",
}  # fmt: skip


def raised_by_fault(name, faulty, **more):
    """Spoil the arguments of one rank; return what this rank raises, and whether right calls before and after are."""
    before = is_right()
    arguments, *_ = small_problem()
    arguments |= {"weight": torch.ones(9), "sample_weight": torch.ones(6), "label_smoothing": 0.1, **more}
    if dist.get_rank() == faulty:
        FAULTS[name][0](arguments)
    try:
        class_parallel_cross_entropy(**arguments)
    except Exception as error:
        return type(error).__name__, str(error), before, is_right()
    return None


def raised_by_failing_backward(faulty):
    """Let one rank run out of memory in backward."""
    arguments, *_ = small_problem()
    loss = class_parallel_cross_entropy(**arguments)
    original = call_module.fill
    if dist.get_rank() == faulty:

        def fill(*_):
            raise MemoryError("no room for the gradient")

        call_module.fill = fill
    try:
        loss.backward()
    except MemoryError as error:
        call_module.fill = original
        return str(error), is_right()
    finally:
        call_module.fill = original
    return None


def raised_without_classes():
    try:
        class_parallel_cross_entropy(torch.ones(2, 3), torch.ones(0, 3), torch.tensor([0, 1]))
    except ValueError as error:
        return str(error)
    return None


def payloads(options, rows, labels=True, dtype=torch.float32, settle=True):
    """Return the bytes of each all-reduce of a call and its backward."""
    arguments, *_ = small_problem(n=rows, labels=labels)
    arguments = {n: t.detach().to(dtype if t.is_floating_point() else t.dtype) for n, t in arguments.items()}
    for name in ("x", "weight_shard"):
        arguments[name].requires_grad_()
    arguments |= options
    if settle:
        class_parallel_cross_entropy(**arguments)
    sizes, all_reduce = [], dist.all_reduce

    def counted(values, op=dist.ReduceOp.SUM, group=None):
        sizes.append(("MAX" if op == dist.ReduceOp.MAX else "SUM", values.numel() * values.itemsize))
        return all_reduce(values, op, group=group)

    dist.all_reduce = counted
    try:
        found = class_parallel_cross_entropy(**arguments)
        (found[0] if isinstance(found, tuple) else found).sum().backward()
    finally:
        dist.all_reduce = all_reduce
    return sizes


def payloads_of_class_weights(rows, size):
    own = class_range(9, dist.get_rank(), dist.get_world_size())
    weight = torch.ones(9 if size is None else len(own), requires_grad=True)
    return payloads({"weight": weight}, rows)


def raised_by_class_weights_of_two_kinds():
    """Let the first rank hold all class weights and the others their own."""
    arguments, *_ = small_problem()
    count = 9 if dist.get_rank() == 0 else len(arguments["weight_shard"])
    try:
        class_parallel_cross_entropy(**arguments, weight=torch.ones(count, requires_grad=True))
    except ValueError as error:
        return str(error), is_right()
    return None


def in_groups_of_their_own():
    """Whether calls in new groups, one after the other, are right: what one has agreed on is not another's."""
    found = []
    for rows in (6, 3, 6):
        group = dist.new_group()
        arguments, weight, bias, target = small_problem(seed=1, n=rows)
        loss = class_parallel_cross_entropy(**arguments, group=group)
        whole = torch.nn.functional.cross_entropy(arguments["x"].detach() @ weight.T + bias, target)
        found.append(torch.allclose(loss.detach(), whole, rtol=1e-12))
        dist.destroy_process_group(group)
    return found
