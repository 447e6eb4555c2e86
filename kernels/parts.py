"""Keys cut into parts, so that few rows fill a GPU, and what their answers are together.

A part s of S has an answer o_s and the logarithm λ_s of the mass that it saw, in units of log 2.
"""
# ruff: noqa: ANN001, ANN202  (what a kernel takes has no types in Python)
# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["combined", "parts"]

LEAST = 4  # blocks of keys that a part is worth
WAVES = 2  # programs for each multiprocessor


@triton.jit
def _combine(part_at, lse_at, out_at, LINES, D, S, PARTS: tl.constexpr, WIDTH: tl.constexpr):
    """One line (a row of a head of a table): its parts, weighed by the mass that each saw."""
    line = tl.program_id(0).to(tl.int64)
    s, d = tl.arange(0, PARTS), tl.arange(0, WIDTH)
    lse = tl.load(lse_at + s * LINES + line, mask=s < S, other=float("-inf"))
    weights = tl.exp2(lse - tl.max(lse, 0))  # the first part has seen a key
    there = (s < S)[:, None] & (d < D)[None, :]
    parts = tl.load(part_at + (s[:, None] * LINES + line) * D + d[None, :], mask=there, other=0.0)
    mixed = tl.sum(parts * weights[:, None], 0) / tl.sum(weights, 0)
    tl.store(out_at + line * D + d, mixed.to(out_at.dtype.element_ty), mask=d < D)


def combined(mixed: Tensor, lse: Tensor, out: Tensor) -> None:
    """Write what parts saw together.

    Args:
        mixed: float32 [S, LINES, D], finite; the answer of each part.
        lse: float32 [S, LINES]; −∞ where a part has seen nothing, never the first.
        out: [..., D] of LINES lines, contiguous.
    """
    S, lines, D = mixed.shape
    most, width = triton.next_power_of_2(S), triton.next_power_of_2(D)
    _combine[(lines,)](
        mixed, lse, out, lines, D, S,
        PARTS=most, WIDTH=width, num_warps=min(16, max(4, most * width // 2048)),
    )  # fmt: skip


def parts(programs: int, blocks: int, device: torch.device) -> int:
    """How many parts to cut ``blocks`` of keys into: enough that ``programs`` of each fill the GPU.

    It depends on shapes alone, never on a timing.
    """
    if device.type != "cuda":
        return 1
    wanted = WAVES * torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(wanted // programs, blocks // LEAST))
