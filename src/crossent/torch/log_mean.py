"""The logarithm of the mean loss, by the logarithms of the rows' losses: it has no smallest number to stop at."""

from __future__ import annotations

import torch
from torch import Tensor

from crossent.torch.call import Call
from crossent.torch.formulas import Rows, cross_entropy, rows_of

# Below it log softplus(t) is t to the last bit of a float64.
_LINEAR = -40.0


def log_mean(call: Call) -> Tensor:
    """Return log(mean loss) of a checked call."""
    if not has_log_losses(call):
        # These losses do not come near 0, unless it is to be 0: the mean itself will do.
        return cross_entropy(call._replace(reduction="mean")).log()
    z, rows = rows_of(call)
    assert rows.label is not None
    return log_mean_of(call, log_losses(z, rows.label), rows)


def has_log_losses(call: Call) -> bool:
    """Whether the logarithms of the rows' losses are worth more than that of their mean."""
    return not (call.is_soft or call.smoothing or call.z_loss)


def log_losses(z: Tensor, label: Tensor) -> Tensor:
    """Return log(loss) of the rows, classes last; the loss of each is softplus of what stands against its label."""
    label = label.unsqueeze(-1)
    return _log_softplus(z.scatter(-1, label, -torch.inf).logsumexp(dim=-1) - z.gather(-1, label).squeeze(-1))


def log_mean_of(call: Call, terms: Tensor, rows: Rows) -> Tensor:
    """Return log(mean loss) from the logarithms of the rows' losses, before their weights."""
    terms = terms + rows.weight.log()
    if rows.take_part is not None:
        terms = torch.where(rows.take_part, terms, -torch.inf)
    denominator = rows.weight.sum() if call.normalizer is None else torch.full_like(terms.sum(), call.normalizer)
    return (terms.reshape(-1).logsumexp(dim=0) - denominator.log()).to(call.loss_dtype)


def _log_softplus(t: Tensor) -> Tensor:
    near = torch.logaddexp(t.clamp(min=_LINEAR), torch.zeros_like(t)).log()
    return torch.where(t < _LINEAR, t, near)
