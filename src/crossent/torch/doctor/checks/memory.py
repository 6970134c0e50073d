"""Logits that take a good part of the memory."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import torch

from crossent.torch.doctor.advice import finding
from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.findings import Finding

_SHARE = 0.1
# No machine has so little memory that these were a tenth of it; what there is need not be asked for every batch.
_SMALL_BYTES = 2**20
# What the head keeps of the logits at a time, by default.
_HEAD_BYTES = 64 * 2**20


def device_memory(device: torch.device) -> int:
    """Return the memory that a device has for this process, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # a container's
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path("/sys/fs/cgroup", name).read_text()))
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits)


def logits_memory(call: LossCall) -> Iterator[tuple[Finding, float]]:
    """Yield a finding for logits of more than a tenth of the memory."""
    if call.function not in ("cross_entropy", "nll_loss"):
        return
    taken = call.input.numel() * call.input.itemsize
    if taken < _SMALL_BYTES:
        return
    memory = device_memory(call.input.device)
    if taken > _SHARE * memory:
        numbers = {
            "logits (MB)": taken / 1e6,
            "memory (MB)": memory / 1e6,
            "share": taken / memory,
            "with PyTorch's loss and gradient (MB)": 3 * taken / 1e6,
            "the fused head's part of them at a time (MB)": min(_HEAD_BYTES, taken) / 1e6,
        }
        yield finding("logits-memory", "warning", call.where, numbers), taken / memory
