"""Attention as an RNN: one query's softmax over all steps so far; see README.md.

Each takes what the function of its name in ``reference`` takes and gives what that gives. On a GPU
it is a Triton kernel, whose state is float32 and which has no gradients; for gradients, on a CPU
and in exported graphs it is the reference.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from foretoken.kernels.aaren import reference

__all__ = ["scan", "scan_", "step", "step_"]


def step(
    scores: Tensor, values: Tensor, m: Tensor, u: Tensor, w: Tensor, decay: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``reference.step``: one step of B rows."""
    side = _side(scores, values, m, u, w, decay)
    made: tuple[Tensor, Tensor, Tensor, Tensor] = side.step(scores, values, m, u, w, decay)
    return made


def step_(
    scores: Tensor,
    values: Tensor,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    slots: Tensor,
    decay: Tensor | None = None,
) -> Tensor:
    """``reference.step_``: one step of some slots of a pool, in place."""
    side = _side(scores, values, m, u, w, decay)
    out: Tensor = side.step_(scores, values, m, u, w, slots, decay)
    return out


def scan(
    scores: Tensor,
    values: Tensor,
    length: Tensor | None,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    decay: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``reference.scan``: T steps of B rows."""
    side = _side(scores, values, m, u, w, decay)
    made: tuple[Tensor, Tensor, Tensor, Tensor] = side.scan(scores, values, length, m, u, w, decay)
    return made


def scan_(
    scores: Tensor,
    values: Tensor,
    length: Tensor | None,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    slots: Tensor,
    decay: Tensor | None = None,
) -> Tensor:
    """``reference.scan_``: T steps of some slots of a pool, in place."""
    side = _side(scores, values, m, u, w, decay)
    out: Tensor = side.scan_(scores, values, length, m, u, w, slots, decay)
    return out


def _side(scores: Tensor, *tensors: Tensor | None) -> ModuleType:
    """The module that serves these."""
    trained = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (scores, *tensors)
    )
    if not scores.is_cuda or trained or torch.compiler.is_exporting():
        return reference
    from foretoken.kernels.aaren import triton  # noqa: PLC0415  (Linux only)

    return triton
