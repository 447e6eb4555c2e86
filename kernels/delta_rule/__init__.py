"""The (gated) delta rule: a matrix of what is stored under which key; see README.md.

Each takes what the function of its name in ``reference`` takes and gives what that gives. On a GPU
it is a Triton kernel, whose state is float32 and which has no gradients; for gradients, on a CPU
and in exported graphs it is the reference.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from foretoken.kernels.delta_rule import reference

__all__ = ["chunk", "chunk_", "step", "step_"]


def step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, S: Tensor
) -> tuple[Tensor, Tensor]:
    """``reference.step``: one step of B rows."""
    made: tuple[Tensor, Tensor] = _side(q, k, v, beta, g, S).step(q, k, v, beta, g, S)
    return made


def step_(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, S: Tensor, slots: Tensor
) -> Tensor:
    """``reference.step_``: one step of some slots of a pool, in place."""
    o: Tensor = _side(q, k, v, beta, g, S).step_(q, k, v, beta, g, S, slots)
    return o


def chunk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    length: Tensor | None,
    S: Tensor,
) -> tuple[Tensor, Tensor]:
    """``reference.chunk``: T steps of B rows."""
    side = _side(q, k, v, beta, g, S)
    made: tuple[Tensor, Tensor] = side.chunk(q, k, v, beta, g, length, S)
    return made


def chunk_(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    length: Tensor | None,
    S: Tensor,
    slots: Tensor,
) -> Tensor:
    """``reference.chunk_``: T steps of some slots of a pool, in place."""
    o: Tensor = _side(q, k, v, beta, g, S).chunk_(q, k, v, beta, g, length, S, slots)
    return o


def _side(q: Tensor, *tensors: Tensor | None) -> ModuleType:
    """The module that serves these."""
    trained = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (q, *tensors)
    )
    if not q.is_cuda or trained or torch.compiler.is_exporting():
        return reference
    from foretoken.kernels.delta_rule import triton  # noqa: PLC0415  (Linux only)

    return triton
