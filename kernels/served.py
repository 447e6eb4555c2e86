"""Which calls Triton kernels without a backward pass serve."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["by_kernel"]

KINDS = (torch.float32, torch.float16, torch.bfloat16)


def by_kernel(*tensors: Tensor) -> bool:
    """Whether these lie on a GPU, in dtypes that kernels read, and nobody wants gradients.

    Never in what torch traces, to compile or to export it: that holds the reference.
    """
    if not tensors[0].is_cuda or torch.compiler.is_compiling():
        return False
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return False
    return all(t.is_cuda and t.dtype in KINDS for t in tensors)
