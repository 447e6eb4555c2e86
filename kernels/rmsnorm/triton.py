"""Root mean square layer normalisation in Triton, a row in one pass; see README.md.

Letters: R rows, W width.
"""
# ruff: noqa: ANN001, ANN202  (what a kernel takes has no types in Python)
# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["add_rmsnorm", "rmsnorm"]

TILE = 2048  # numbers that a program holds, where a row has fewer
WIDE = 4096  # from which on a row takes more than 4 warps


@triton.jit
def _norm(
    x_at, more_at, weight_at, total_to, out_to,
    xr, xw, mr, mw, ww,
    R, W, eps,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, ADD: tl.constexpr,
):  # fmt: skip
    """Some rows. Writes out [R, W], and what was added up before, total [R, W], if it was."""
    r, w = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    real = w < W
    there = (r < R)[:, None] & real[None, :]
    to = r[:, None] * W + w[None, :]

    x = tl.load(x_at + r[:, None] * xr + w[None, :] * xw, mask=there, other=0.0).to(tl.float32)
    if ADD:
        more_from = more_at + r[:, None] * mr + w[None, :] * mw
        total = x + tl.load(more_from, mask=there, other=0.0).to(tl.float32)
        narrow = total.to(total_to.dtype.element_ty)
        tl.store(total_to + to, narrow, mask=there)
        x = narrow.to(tl.float32)  # what others will read is what is normalised
    weight = tl.load(weight_at + w * ww, mask=real, other=0.0).to(tl.float32)
    square = tl.sum(x * x, 1) / W
    out = x / tl.sqrt(square + eps)[:, None] * weight[None, :]
    tl.store(out_to + to, out.to(out_to.dtype.element_ty), mask=there)


def rmsnorm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As ``reference.rmsnorm``, in any strides."""
    out = torch.empty(x.shape, device=x.device, dtype=x.dtype)
    _launch(x, None, weight, eps, out, out)
    return out


def add_rmsnorm(x: Tensor, more: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """As ``reference.add_rmsnorm``, in any strides; the sum is read once less."""
    dtype = torch.promote_types(x.dtype, more.dtype)
    total, out = (torch.empty(x.shape, device=x.device, dtype=dtype) for _ in range(2))
    _launch(x, more, weight, eps, total, out)
    return total, out


def _launch(
    x: Tensor, more: Tensor | None, weight: Tensor, eps: float, total: Tensor, out: Tensor
) -> None:
    W = x.shape[-1]
    x = x.reshape(-1, W)
    added = x if more is None else more.reshape(-1, W)
    width = triton.next_power_of_2(W)
    rows = max(1, TILE // width)
    if x.numel():
        _norm[(triton.cdiv(len(x), rows),)](
            x, added, weight, total, out,
            *x.stride(), *added.stride(), weight.stride(0),
            len(x), W, eps,
            ROWS=rows, WIDTH=width, ADD=more is not None, num_warps=4 if width < WIDE else 8,
        )  # fmt: skip
