"""Float32 within autocast, for what has more digits than bfloat16 holds."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["exactly"]


def exactly(like: Tensor) -> AbstractContextManager[object]:
    """Where autocast does nothing, if it would, on the device of ``like``."""
    device = like.device.type
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
