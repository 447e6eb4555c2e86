"""Attention to keys and values in blocks in Triton: online softmax over parts; see README.md.

Letters as in ``reference``; R = T G rows that read one head of keys, S parts that M s keys are cut
into.
"""
# ruff: noqa: ANN001, ANN202  (what a kernel takes has no types in Python)
# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from foretoken.kernels.parts import combined, parts

__all__ = ["decode_attention", "tile"]

LOG2E = 1.4426950408889634
TILE = 1 << 14  # bytes of keys that a program reads at a time


@triton.jit
def _lines(x_at, line, there, WIDE: tl.constexpr):
    """Keys or values [KEYS, D] of one head, and 0 where none is."""
    x = tl.load(x_at + line[:, None], mask=there, other=0.0)
    if WIDE:
        x = x.to(tl.float32)
    return x


@triton.jit
def _attend(
    q_at, k_at, v_at, tables_at, n_at, out_at, lse_at,
    qb, qt, qh, qd, kp, ks, kk, kd, vp, vs, vk, vd, tb, tm,
    B, K, T, G, D, ROW_BLOCKS, PER_PART, S, scale,
    SIZE: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, WIDTH: tl.constexpr,
    PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One block of rows of one head of keys, over one part of their keys.

    Writes out [S, B, T, H, D], and lse [S, B, T, H] in units of log 2.
    """
    pid = tl.program_id(0)
    block, rest = pid % ROW_BLOCKS, pid // ROW_BLOCKS
    part, head = rest % S, rest // S
    b, h = (head // K).to(tl.int64), head % K

    # Queries of one token stand together: those of a block have nearly the same keys.
    row = block * ROWS + tl.arange(0, ROWS)
    t, g = row // G, row % G
    d = tl.arange(0, WIDTH)
    real_row, real_d = t < T, d < D
    q = tl.load(
        q_at + b * qb + (t * qt + (h * G + g) * qh)[:, None] + d[None, :] * qd,
        mask=real_row[:, None] & real_d[None, :],
        other=0.0,
    )
    q = q.to(k_at.dtype.element_ty)
    if WIDE:
        q = q.to(tl.float32)
    n = tl.load(n_at + b).to(tl.int32)
    last = n - T + t  # that each query sees
    longest = n - T + tl.minimum((block * ROWS + ROWS - 1) // G, T - 1) + 1
    start = part * PER_PART
    end = tl.minimum(start + PER_PART, longest)
    k_at, v_at, tables_at = k_at + h * kk, v_at + h * vk, tables_at + b * tb

    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, WIDTH], tl.float32)
    for first in range(start, end, KEYS):
        key = first + tl.arange(0, KEYS)
        real_key = key < end
        there = real_key[:, None] & real_d[None, :]
        page = tl.load(tables_at + key // SIZE * tm, mask=real_key, other=0).to(tl.int64)
        place = key % SIZE
        k = _lines(k_at + d[None, :] * kd, page * kp + place * ks, there, WIDE)
        v = _lines(v_at + d[None, :] * vd, page * vp + place * vs, there, WIDE)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        visible = real_key[None, :] & (key[None, :] <= last[:, None])
        scores = tl.where(visible, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        base = tl.where(higher > float("-inf"), higher, 0.0)  # of a row that sees none so far
        keep = tl.exp2(top - base)
        weights = tl.exp2(scores - base[:, None])
        total = total * keep + tl.sum(weights, 1)
        mixed = mixed * keep[:, None]
        mixed += tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
        top = higher

    some = total > 0  # not in a part that begins after the last key of a query
    mixed = mixed / tl.where(some, total, 1.0)[:, None]
    line = ((part * B + b) * T + t) * K * G + h * G + g
    tl.store(
        out_at + line[:, None] * D + d[None, :],
        mixed.to(out_at.dtype.element_ty),
        mask=real_row[:, None] & real_d[None, :],
    )
    if S > 1:
        lse = tl.where(some, top + tl.log2(tl.where(some, total, 1.0)), float("-inf"))
        tl.store(lse_at + line, lse, mask=real_row)


def decode_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    tables: Tensor,
    seen: Tensor,
    S: int | None = None,
) -> Tensor:
    """As ``reference.decode_attention``, in one pass over the keys, which stay where they are.

    Args:
        q: [B, T, H, D] float32, float16 or bfloat16, in any strides, and so are keys and values.
        keys: [P, s, K, D].
        values: [P, s, K, D], in the dtype of keys.
        tables: integers [B, M].
        seen: integers [B]; what lies after a row's tokens is not read.
        S: parts that keys are cut into; the default fills the device.

    Returns:
        [B, T, H, D] in the dtype of values; products are added up in float32.
    """
    B, T, H, D = q.shape
    size, K, M = keys.shape[1], keys.shape[2], tables.shape[1]
    out = torch.empty(B, T, H, D, device=q.device, dtype=values.dtype)
    if not q.numel():
        return out
    G = H // K
    rows, some, width = tile(G * T, D, keys.dtype)
    row_blocks, blocks = triton.cdiv(G * T, rows), triton.cdiv(M * size, some)
    per_part = triton.cdiv(blocks, S or parts(row_blocks * B * K, blocks, q.device))
    S = triton.cdiv(blocks, per_part)
    mixed, lse = out, out
    if S > 1:
        mixed = torch.empty(S, B * T * H, D, device=q.device, dtype=torch.float32)
        lse = torch.empty(S, B * T * H, device=q.device, dtype=torch.float32)
    _attend[(row_blocks * S * B * K,)](
        q, keys, values, tables, seen, mixed, lse,
        *q.stride(), *keys.stride(), *values.stride(), *tables.stride(),
        B, K, T, G, D, row_blocks, per_part * some, S, D**-0.5 * LOG2E,
        SIZE=size, ROWS=rows, KEYS=some, WIDTH=width,
        PRECISION="tf32x3" if keys.dtype == torch.float32 else "tf32",
        WIDE=q.device.type == "cpu",  # Triton's interpreter has no products of bfloat16
        num_warps=8 if rows == 64 else 4, num_stages=2,
    )  # fmt: skip
    if S > 1:
        combined(mixed, lse, out)
    return out


def tile(R: int, D: int, dtype: torch.dtype) -> tuple[int, int, int]:
    """Rows, keys and numbers of each that a program holds: powers of 2, at least 16.

    What they and the products of float32 take has to fit registers and shared memory.
    """
    width = max(16, triton.next_power_of_2(D))
    keys = min(64, max(16, TILE // (width * dtype.itemsize)))
    rows = min(keys, 128 // dtype.itemsize, max(16, triton.next_power_of_2(R)))
    return rows, keys, width
