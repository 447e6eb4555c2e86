"""Rotary position embedding of queries and keys, and of those that a pool keeps; see README.md.

Each takes what the function of its name in ``reference`` takes and gives what that gives. On a GPU
it is a Triton kernel without gradients; for gradients, on a CPU and in traced graphs it is the
reference.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor

from foretoken.kernels.rope import reference
from foretoken.kernels.served import by_kernel

__all__ = ["rotate", "rotate_into_"]


def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """``reference.rotate``: queries and keys, turned."""
    made: tuple[Tensor, Tensor] = _side(q, k, cos, sin).rotate(q, k, cos, sin)
    return made


def rotate_into_(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    places: Tensor,
) -> Tensor:
    """``reference.rotate_into_``: queries, turned; keys, turned, and values go into a pool."""
    side = _side(q, k, v, cos, sin, keys, values)
    turned: Tensor = side.rotate_into_(q, k, v, cos, sin, keys, values, places)
    return turned


def _side(*tensors: Tensor) -> ModuleType:
    """The module that serves these."""
    if not by_kernel(*tensors):
        return reference
    from foretoken.kernels.rope import triton  # noqa: PLC0415  (Linux only)

    return triton
