"""Training a softmax network by minibatch SGD: the loop, the schedule, when to stop."""

from crossent.training.engine import train
from crossent.training.events import TrainingEvent
from crossent.training.examples import Examples
from crossent.training.options import TrainingOptions, TrainingResult
from crossent.training.problem import Problem

__all__ = ["Examples", "Problem", "TrainingEvent", "TrainingOptions", "TrainingResult", "train"]
