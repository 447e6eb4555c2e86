"""The (gated) delta rule in Triton: steps in place on a pool, and chunks; see README.md.

Letters as in ``reference``; a program holds some columns of one head's S, which never meet others.
"""
# ruff: noqa: ANN001, ANN202  (what a kernel takes has no types in Python)
# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["chunk", "chunk_", "step", "step_"]

NOTHING = tl.constexpr(-1e30)
STEPS = 16  # in a chunk: of 32, what lies between the products no longer fits the registers
STEP_TILE = 4096  # elements of S that one program holds
CHUNK_TILE = 2048


@triton.jit
def _step(
    q_at, k_at, v_at, beta_at, g_at, slots_at, o_at, S_at, S_to,
    qb, qh, qd, kb, kh, kd, vb, vh, vd, bb, bh, gb, gh,
    sn, sh, sk, sv, sn_to, sh_to, sk_to, sv_to,
    H, K, V, COLUMN_BLOCKS, scale,
    KEYS: tl.constexpr, COLUMNS: tl.constexpr, GATE: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """Some columns of one head of one row. Writes o [B, H, V] and S, which may be where it was."""
    pid = tl.program_id(0)
    block, line = pid % COLUMN_BLOCKS, (pid // COLUMN_BLOCKS).to(tl.int64)
    b, h = line // H, line % H
    slot = b
    if SLOTS:
        slot = tl.load(slots_at + b)
    d, c = tl.arange(0, KEYS), block * COLUMNS + tl.arange(0, COLUMNS)
    real_k, real_v = d < K, c < V
    there = real_k[:, None] & real_v[None, :]

    q = tl.load(q_at + b * qb + h * qh + d * qd, mask=real_k, other=0.0).to(tl.float32) * scale
    k = tl.load(k_at + b * kb + h * kh + d * kd, mask=real_k, other=0.0).to(tl.float32)
    v = tl.load(v_at + b * vb + h * vh + c * vd, mask=real_v, other=0.0).to(tl.float32)
    beta = tl.load(beta_at + b * bb + h * bh).to(tl.float32)
    S_line = S_at + slot * sn + h * sh
    S = tl.load(S_line + d[:, None] * sk + c[None, :] * sv, mask=there, other=0.0)
    if GATE:
        S *= tl.exp(tl.load(g_at + b * gb + h * gh).to(tl.float32))
    delta = beta * (v - tl.sum(S * k[:, None], 0))
    S += k[:, None] * delta[None, :]
    o = tl.sum(S * q[:, None], 0)

    tl.store(o_at + line * V + c, o.to(o_at.dtype.element_ty), mask=real_v)
    S_line = S_to + slot * sn_to + h * sh_to
    tl.store(S_line + d[:, None] * sk_to + c[None, :] * sv_to, S, mask=there)


@triton.jit
def _lines(x_at, at, line, d, xd, real, real_d):
    """x [T, D] at some steps, in float32, and 0 where nothing is real."""
    there = real[:, None] & real_d[None, :]
    x = tl.load(x_at + (at * line)[:, None] + d[None, :] * xd, mask=there, other=0.0)
    return x.to(tl.float32)


@triton.jit
def _inverse(A, STEPS: tl.constexpr, LEVELS: tl.constexpr):
    """(I + A)^-1 of strictly lower triangular A [STEPS, STEPS], as ``reference.inverse``."""
    t, i = tl.arange(0, STEPS)[:, None], tl.arange(0, STEPS)[None, :]
    X = tl.where(t == i, 1.0, 0.0) - tl.where((t >> 1) == (i >> 1), A, 0.0)
    for level in tl.static_range(1, LEVELS):
        beside = ((t >> (level + 1)) == (i >> (level + 1))) & ((t >> level) > (i >> level))
        right = tl.dot(tl.where(beside, A, 0.0), X, input_precision="tf32x3")
        X -= tl.dot(X, right, input_precision="tf32x3")
    return X


@triton.jit
def _blank(o_at, n, T, line, c, real_v, STEPS: tl.constexpr):
    """Writes 0 to the chunks after the one of the last real step, so that nothing is arbitrary."""
    for first in range((n + STEPS - 1) // STEPS * STEPS, T, STEPS):
        at = (first + tl.arange(0, STEPS)).to(tl.int64)
        to = (at * line)[:, None] + c[None, :]
        tl.store(o_at + to, 0.0, mask=(at < T)[:, None] & real_v[None, :])


@triton.jit
def _chunk(
    q_at, k_at, v_at, beta_at, g_at, length_at, slots_at, o_at, S_at, S_to,
    qb, qt, qh, qd, kb, kt, kh, kd, vb, vt, vh, vd, bb, bt, bh, gb, gt, gh,
    sn, sh, sk, sv, sn_to, sh_to, sk_to, sv_to,
    T, H, K, V, COLUMN_BLOCKS, scale,
    STEPS: tl.constexpr, LEVELS: tl.constexpr, KEYS: tl.constexpr, COLUMNS: tl.constexpr,
    GATE: tl.constexpr, SLOTS: tl.constexpr, LENGTH: tl.constexpr,
):  # fmt: skip
    """Some columns of one head of one row. Writes o [B, T, H, V] and S, perhaps where it was."""
    pid = tl.program_id(0)
    block, line = pid % COLUMN_BLOCKS, (pid // COLUMN_BLOCKS).to(tl.int64)
    b, h = line // H, line % H
    slot = b
    if SLOTS:
        slot = tl.load(slots_at + b)
    n = T
    if LENGTH:
        n = tl.minimum(tl.load(length_at + b), T).to(tl.int32)
    t, i = tl.arange(0, STEPS), tl.arange(0, STEPS)
    d, c = tl.arange(0, KEYS), block * COLUMNS + tl.arange(0, COLUMNS)
    real_k, real_v = d < K, c < V
    age = t[:, None] - i[None, :]
    there = real_k[:, None] & real_v[None, :]
    S_line = S_at + slot * sn + h * sh
    S = tl.load(S_line + d[:, None] * sk + c[None, :] * sv, mask=there, other=0.0)
    q_at, k_at, v_at = q_at + b * qb + h * qh, k_at + b * kb + h * kh, v_at + b * vb + h * vh
    beta_at, g_at = beta_at + b * bb + h * bh, g_at + b * gb + h * gh
    o_at += (b * T * H + h) * V

    for first in range(0, n, STEPS):
        at = (first + t).to(tl.int64)
        real = at < n
        q = _lines(q_at, at, qt, d, qd, real, real_k) * scale
        k = _lines(k_at, at, kt, d, kd, real, real_k)
        v = _lines(v_at, at, vt, c, vd, real, real_v)
        beta = tl.load(beta_at + at * bt, mask=real, other=0.0).to(tl.float32)

        weight = tl.where(age >= 0, 1.0, 0.0)
        within = tl.dot(k, tl.trans(k), input_precision="tf32x3")
        mixing = tl.dot(q, tl.trans(k), input_precision="tf32x3")
        known, kept = k, 1.0
        if GATE:
            g = tl.load(g_at + at * gt, mask=real, other=0.0).to(tl.float32)
            since, last = tl.cumsum(g, 0), tl.sum(g, 0)
            weight = tl.exp(tl.where(age >= 0, since[:, None] - since[None, :], NOTHING))
            q, known = q * tl.exp(since)[:, None], k * tl.exp(since)[:, None]
            k, kept = k * tl.exp(last - since)[:, None], tl.exp(last)
        mixing *= weight
        within = tl.where(age > 0, beta[:, None] * within * weight, 0.0)

        X = _inverse(within, STEPS, LEVELS)
        wrong = v - tl.dot(known, S, input_precision="tf32x3")
        delta = tl.dot(X, beta[:, None] * wrong, input_precision="tf32x3")
        o = tl.dot(q, S, input_precision="tf32x3")
        o += tl.dot(mixing, delta, input_precision="tf32x3")
        S = S * kept + tl.dot(tl.trans(k), delta, input_precision="tf32x3")
        o = tl.where(real[:, None], o, 0.0).to(o_at.dtype.element_ty)
        o_to = (at * H * V)[:, None] + c[None, :]
        tl.store(o_at + o_to, o, mask=(at < T)[:, None] & real_v[None, :])

    _blank(o_at, n, T, H * V, c, real_v, STEPS)
    S_line = S_to + slot * sn_to + h * sh_to
    tl.store(S_line + d[:, None] * sk_to + c[None, :] * sv_to, S, mask=there)


def step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, S: Tensor
) -> tuple[Tensor, Tensor]:
    """As ``reference.step``, in any strides; S is float32."""
    after = torch.empty_like(S)
    return _stepped(q, k, v, beta, g, S, after, None), after


def step_(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, S: Tensor, slots: Tensor
) -> Tensor:
    """As ``reference.step_``: what a slot holds is read once and written once, where it is."""
    return _stepped(q, k, v, beta, g, S, S, slots)


def chunk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    length: Tensor | None,
    S: Tensor,
) -> tuple[Tensor, Tensor]:
    """As ``reference.chunk``, in any strides; S is float32.

    What lies after length may be anything, NaN too; o is 0 there.
    """
    after = torch.empty_like(S)
    return _chunked(q, k, v, beta, g, length, S, after, None), after


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
    """As ``reference.chunk_``, with what ``chunk`` says."""
    return _chunked(q, k, v, beta, g, length, S, S, slots)


def _stepped(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    before: Tensor,
    after: Tensor,
    slots: Tensor | None,
) -> Tensor:
    B, H, V = v.shape
    K = k.shape[-1]
    o = torch.empty(B, H, V, device=v.device, dtype=v.dtype)
    keys, columns = _tile(K, V, 1, STEP_TILE)
    blocks = triton.cdiv(V, columns)
    if B:
        _step[(B * H * blocks,)](
            q, k, v, beta, beta if g is None else g, beta if slots is None else slots, o,
            before, after,
            *q.stride(), *k.stride(), *v.stride(), *beta.stride(),
            *((0, 0) if g is None else g.stride()), *before.stride(), *after.stride(),
            H, K, V, blocks, K**-0.5,
            KEYS=keys, COLUMNS=columns, GATE=g is not None, SLOTS=slots is not None, num_warps=4,
        )  # fmt: skip
    return o


def _chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    length: Tensor | None,
    before: Tensor,
    after: Tensor,
    slots: Tensor | None,
) -> Tensor:
    B, T, H, V = v.shape
    K = k.shape[-1]
    o = torch.empty(B, T, H, V, device=v.device, dtype=v.dtype)
    keys, columns = _tile(K, V, 16, CHUNK_TILE)
    blocks = triton.cdiv(V, columns)
    if B:
        _chunk[(B * H * blocks,)](
            q, k, v, beta, beta if g is None else g,
            beta if length is None else length, beta if slots is None else slots, o,
            before, after,
            *q.stride(), *k.stride(), *v.stride(), *beta.stride(),
            *((0, 0, 0) if g is None else g.stride()), *before.stride(), *after.stride(),
            T, H, K, V, blocks, K**-0.5,
            STEPS=STEPS, LEVELS=STEPS.bit_length() - 1, KEYS=keys, COLUMNS=columns,
            GATE=g is not None, SLOTS=slots is not None, LENGTH=length is not None,
            num_warps=4, num_stages=1,
        )  # fmt: skip
    return o


def _tile(K: int, V: int, least: int, tile: int) -> tuple[int, int]:
    """Rows and columns of S that a program holds, powers of 2 and ``least`` or more."""
    keys = max(least, triton.next_power_of_2(K))
    return keys, min(max(least, triton.next_power_of_2(V)), max(least, tile // keys))
