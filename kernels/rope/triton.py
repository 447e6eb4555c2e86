"""Rotary position embedding in Triton, queries, keys and values in one launch; see README.md.

Letters as in ``reference``; B lists of N tokens, C = D / 2, L = H + K heads of a token that are
turned, or L = H + 2 K with those that are only kept.
"""
# ruff: noqa: ANN001, ANN202  (what a kernel takes has no types in Python)
# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["rotate", "rotate_into_"]

TILE = 512  # pairs that a program turns


@triton.jit
def _turn(
    q_at, k_at, v_at, cos_at, sin_at, places_at, q_to, k_to, v_to,
    qn, qh, qd, kn, kh, kd, vn, vh, vd, cn, cc, sn, sc,
    kn_to, kh_to, kd_to, vn_to, vh_to, vd_to,
    LINES, N, L, H, K, C,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Some heads of some tokens. Writes q [B N, H, D], and k, v where they are to be kept."""
    line = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, WIDTH)[None, :]
    there = (line < LINES)[:, None] & (c < C)
    n, head = (line // L).to(tl.int64), line % L
    angle = (n % N)[:, None]
    cos = tl.load(cos_at + angle * cn + c * cc, mask=there, other=0.0).to(tl.float32)
    sin = tl.load(sin_at + angle * sn + c * sc, mask=there, other=0.0).to(tl.float32)
    place = n
    if KEEP:
        place = tl.load(places_at + n, mask=line < LINES, other=0)

    asks = (head < H)[:, None] & there
    at = q_at + (n * qn + head * qh)[:, None]
    first = tl.load(at + c * qd, mask=asks, other=0.0).to(tl.float32)
    second = tl.load(at + (c + C) * qd, mask=asks, other=0.0).to(tl.float32)
    to = q_to + ((n * H + head) * 2 * C)[:, None]
    _turned(to, c, 1, first, second, cos, sin, C, asks)

    head -= H
    seen = ((head >= 0) & (head < K))[:, None] & there
    at = k_at + (n * kn + head * kh)[:, None]
    first = tl.load(at + c * kd, mask=seen, other=0.0).to(tl.float32)
    second = tl.load(at + (c + C) * kd, mask=seen, other=0.0).to(tl.float32)
    to = k_to + (place * kn_to + head * kh_to)[:, None]
    _turned(to, c, kd_to, first, second, cos, sin, C, seen)

    if KEEP:
        head -= K
        told = (head >= 0)[:, None] & there
        at = v_at + (n * vn + head * vh)[:, None]
        to = v_to + (place * vn_to + head * vh_to)[:, None]
        first = tl.load(at + c * vd, mask=told, other=0.0)
        second = tl.load(at + (c + C) * vd, mask=told, other=0.0)
        tl.store(to + c * vd_to, first.to(v_to.dtype.element_ty), mask=told)
        tl.store(to + (c + C) * vd_to, second.to(v_to.dtype.element_ty), mask=told)


@triton.jit
def _turned(to, c, step, first, second, cos, sin, C, there):
    """Writes pairs, turned."""
    kind = to.dtype.element_ty
    tl.store(to + c * step, (first * cos - second * sin).to(kind), mask=there)
    tl.store(to + (c + C) * step, (second * cos + first * sin).to(kind), mask=there)


def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """As ``reference.rotate``, in any strides."""
    turned, its = (
        torch.empty(x.shape, device=x.device, dtype=torch.promote_types(x.dtype, cos.dtype))
        for x in (q, k)
    )
    _launch(q.flatten(0, -3), k.flatten(0, -3), None, cos, sin, None, turned, its.flatten(0, -3))
    return turned, its


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
    """As ``reference.rotate_into_``: nothing is written but q and what the pool keeps."""
    turned = torch.empty(q.shape, device=q.device, dtype=values.dtype)
    kept = keys.view(-1, *keys.shape[2:]), values.view(-1, *values.shape[2:])
    _launch(q, k, v, cos, sin, places, turned, *kept)
    return turned


def _launch(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    places: Tensor | None,
    turned: Tensor,
    keys: Tensor,
    values: Tensor | None = None,
) -> None:
    tokens, H, D = q.shape
    K = k.shape[1]
    L = H + K if v is None else H + 2 * K
    width = triton.next_power_of_2(D // 2)
    rows = max(1, TILE // width)
    if q.numel():
        _turn[(triton.cdiv(tokens * L, rows),)](
            q, k, _or(v, k), cos, sin, _or(places, k), turned, keys, _or(values, keys),
            *q.stride(), *k.stride(), *_or(v, k).stride(), *cos.stride(), *sin.stride(),
            *keys.stride(), *_or(values, keys).stride(),
            tokens * L, len(cos), L, H, K, D // 2,
            ROWS=rows, WIDTH=width, KEEP=v is not None, num_warps=4,
        )  # fmt: skip


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A pointer that is never followed, where there is no tensor."""
    return other if tensor is None else tensor
