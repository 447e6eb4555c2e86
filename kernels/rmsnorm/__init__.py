"""Root mean square layer normalisation, alone and of a sum; see README.md.

Each takes what the function of its name in ``reference`` takes and gives what that gives. On a GPU
it is a Triton kernel without gradients; for gradients, on a CPU and in traced graphs it is the
reference.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor

from foretoken.kernels.rmsnorm import reference
from foretoken.kernels.served import by_kernel

__all__ = ["add_rmsnorm", "rmsnorm"]


def rmsnorm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``reference.rmsnorm``: rows of one mean square."""
    made: Tensor = _side(x, weight).rmsnorm(x, weight, eps)
    return made


def add_rmsnorm(x: Tensor, more: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """``reference.add_rmsnorm``: a sum, and its rows of one mean square."""
    made: tuple[Tensor, Tensor] = _side(x, more, weight).add_rmsnorm(x, more, weight, eps)
    return made


def _side(*tensors: Tensor) -> ModuleType:
    """The module that serves these."""
    if not by_kernel(*tensors):
        return reference
    from foretoken.kernels.rmsnorm import triton  # noqa: PLC0415  (Linux only)

    return triton
