from torch import nn


def build(classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(5, classes), nn.Softmax(dim=1))
