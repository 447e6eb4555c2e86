"""Context attention in Triton: online softmax over blocks of cached keys; see README.md.

Letters as in ``reference``; R = G M rows that read one key/value head, S parts that N is cut into.
"""
# ruff: noqa: ANN001, ANN202  (what a kernel takes has no types in Python)
# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from foretoken.kernels.parts import combined, parts

__all__ = ["context_attention"]

LOG2E = tl.constexpr(1.4426950408889634)
KEYS = 64  # in a block


@triton.jit
def _attend(
    q_at, k_at, v_at, n_at, out_at, lse_at,
    qb, qh, qm, qd, kb, kh, kn, kd, vb, vh, vn, vd,
    K, M, N, R, D, ROW_BLOCKS, PER_PART, S,
    ROWS: tl.constexpr, KEYS: tl.constexpr, WIDTH: tl.constexpr,
    PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One block of rows of one head of one table, over one part of its keys.

    Writes out [S, B K, R, D], and lse [S, B K, R] in units of log 2.
    """
    pid = tl.program_id(0)
    block, rest = pid % ROW_BLOCKS, pid // ROW_BLOCKS
    part, head = rest % S, (rest // S).to(tl.int64)
    b, h = head // K, head % K
    G = R // M

    row = block * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, WIDTH)
    real_row, real_d = row < R, d < D
    at = (h * G + row // M) * qh + (row % M) * qm  # [ROWS], in a table
    q = tl.load(
        q_at + b * qb + at[:, None] + d[None, :] * qd,
        mask=real_row[:, None] & real_d[None, :],
        other=0.0,
    )
    if WIDE:
        q = q.to(tl.float32)
    n = tl.minimum(tl.load(n_at + b), N).to(tl.int32)
    start = part * PER_PART
    end = tl.minimum(start + PER_PART, n)
    k_at += b * kb + h * kh
    v_at += b * vb + h * vh

    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, WIDTH], tl.float32)
    for first in range(start, end, KEYS):
        key = first + tl.arange(0, KEYS)
        real_key = key < end
        there = real_key[:, None] & real_d[None, :]
        where = key.to(tl.int64)[:, None]
        k = tl.load(k_at + where * kn + d[None, :] * kd, mask=there, other=0.0)
        v = tl.load(v_at + where * vn + d[None, :] * vd, mask=there, other=0.0)
        if WIDE:
            k, v = k.to(tl.float32), v.to(tl.float32)
        scores = tl.dot(q.to(k.dtype), tl.trans(k), input_precision=PRECISION) * LOG2E
        scores = tl.where(real_key[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))  # finite: the first key of a block is real
        keep = tl.exp2(top - higher)
        weights = tl.exp2(scores - higher[:, None])
        total = total * keep + tl.sum(weights, 1)
        mixed = mixed * keep[:, None]
        mixed += tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
        top = higher

    seen = total > 0  # not in a part that begins after the last real key
    mixed = mixed / tl.where(seen, total, 1.0)[:, None]
    line = (part * (tl.num_programs(0) // (ROW_BLOCKS * S)) + head) * R + row
    tl.store(
        out_at + line[:, None] * D + d[None, :],
        mixed.to(out_at.dtype.element_ty),
        mask=real_row[:, None] & real_d[None, :],
    )
    if S > 1:
        lse = tl.where(seen, top + tl.log2(tl.where(seen, total, 1.0)), float("-inf"))
        tl.store(lse_at + line, lse, mask=real_row)


def context_attention(q: Tensor, k: Tensor, v: Tensor, n: Tensor, S: int | None = None) -> Tensor:
    """As ``reference.context_attention``, in one pass over the keys, which are read once.

    Args:
        q: [B, H, M, D] float32, float16 or bfloat16, in any strides, and so are k and v.
        k: [B, K, N, D].
        v: [B, K, N, D].
        n: [B] integers, 1..N; what lies after n may be anything, NaN too.
        S: parts that keys are cut into; the default fills the device.

    Returns:
        [B, H, M, D] in the dtype of v; products are added up in float32.
    """
    B, H, M, D = q.shape
    K, N = k.shape[1], k.shape[2]
    R = H // K * M
    if not q.numel():
        return torch.empty(B, H, M, D, device=q.device, dtype=v.dtype)
    rows = min(64, max(16, triton.next_power_of_2(R)))
    row_blocks = triton.cdiv(R, rows)
    S = S or parts(row_blocks * B * K, N // KEYS, q.device)
    per_part = triton.cdiv(triton.cdiv(N, KEYS), S) * KEYS
    S = triton.cdiv(N, per_part)
    out = torch.empty(B, H, M, D, device=q.device, dtype=v.dtype)
    mixed, lse = out, out
    if S > 1:
        mixed = torch.empty(S, B * H * M, D, device=q.device, dtype=torch.float32)
        lse = torch.empty(S, B * H * M, device=q.device, dtype=torch.float32)
    width = max(16, triton.next_power_of_2(D))
    _attend[(row_blocks * S * B * K,)](
        q, k, v, n, mixed, lse,
        *q.stride(), *k.stride(), *v.stride(),
        K, M, N, R, D, row_blocks, per_part, S,
        ROWS=rows, KEYS=KEYS, WIDTH=width,
        PRECISION="tf32x3" if k.dtype == torch.float32 else "tf32",
        WIDE=q.device.type == "cpu",  # Triton's interpreter has no products of bfloat16
        num_warps=4, num_stages=2,
    )  # fmt: skip
    if S > 1:
        combined(mixed, lse, out)
    return out
