"""A tokenizer among a module's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["KeptTokenizer"]


class KeptTokenizer(nn.Module):
    """tokenizer.json among the weights, so that a version's digest speaks for it as well.

    Args:
        nbytes: of the file.
    """

    json: Tensor

    def __init__(self, nbytes: int) -> None:
        super().__init__()
        self.register_buffer("json", torch.zeros(nbytes, dtype=torch.uint8))
