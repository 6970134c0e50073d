"""The loss with classes, rows or both spread over the ranks of ``torch.distributed``."""

from crossent.torch.parallel.cost import StepCost, step_cost
from crossent.torch.parallel.head import ClassParallelHead
from crossent.torch.parallel.layout import class_range
from crossent.torch.parallel.loss import class_parallel_cross_entropy
from crossent.torch.parallel.mean import global_mean
from crossent.torch.parallel.start import init

__all__ = [
    "ClassParallelHead",
    "StepCost",
    "class_parallel_cross_entropy",
    "class_range",
    "global_mean",
    "init",
    "step_cost",
]
