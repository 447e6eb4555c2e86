"""The gate of Llama's MLP in Triton, in one pass over what it reads; see README.md.

Letters: N rows, M hidden width.
"""
# ruff: noqa: ANN001, ANN202  (what a kernel takes has no types in Python)
# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["swiglu"]

TILE = 1024  # numbers that a program makes


@triton.jit
def _gate(
    gate_at, up_at, out_to, gn, gm, un, um, N, M, COLUMN_BLOCKS,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Some columns of some rows. Writes out [N, M]."""
    pid = tl.program_id(0)
    block, first = pid % COLUMN_BLOCKS, (pid // COLUMN_BLOCKS).to(tl.int64) * ROWS
    n, m = (first + tl.arange(0, ROWS))[:, None], (block * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    there = (n < N) & (m < M)
    gate = tl.load(gate_at + n * gn + m * gm, mask=there, other=0.0).to(tl.float32)
    up = tl.load(up_at + n * un + m * um, mask=there, other=0.0).to(tl.float32)
    out = gate / (1 + tl.exp(-gate)) * up
    tl.store(out_to + n * M + m, out.to(out_to.dtype.element_ty), mask=there)


def swiglu(gate: Tensor, up: Tensor | None = None) -> Tensor:
    """As ``reference.swiglu``, in any strides, rounded once."""
    if up is None:
        gate, up = gate.chunk(2, dim=-1)
    dtype = torch.promote_types(gate.dtype, up.dtype)
    out = torch.empty(gate.shape, device=gate.device, dtype=dtype)
    M = gate.shape[-1]
    gate, up = gate.reshape(-1, M), up.reshape(-1, M)
    columns = min(TILE, triton.next_power_of_2(M))
    rows, blocks = TILE // columns, triton.cdiv(M, columns)
    if gate.numel():
        _gate[(triton.cdiv(len(gate), rows) * blocks,)](
            gate, up, out, *gate.stride(), *up.stride(), len(gate), M, blocks,
            ROWS=rows, COLUMNS=columns, num_warps=4,
        )  # fmt: skip
    return out
