"""Attention as an RNN in Triton: steps in place on a pool, and scans; see README.md.

Letters as in ``reference``; R = B H heads of rows.
"""
# ruff: noqa: ANN001, ANN202  (what a kernel takes has no types in Python)
# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["scan", "scan_", "step", "step_"]

NOTHING = tl.constexpr(-1e30)
STEPS = 32  # in a chunk
TILE = 1024  # elements of w that one program steps

State = tuple[Tensor, Tensor, Tensor]


@triton.jit
def _step(
    s_at, v_at, decay_at, slots_at, out_at,
    m_at, u_at, w_at, m_to, u_to, w_to,
    sb, sh, vb, vh, vd, ld,
    mn, mh, un, uh, wn, wh, wd,
    mn_to, mh_to, un_to, uh_to, wn_to, wh_to, wd_to,
    R, H, D,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, DECAY: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    """Some heads of some rows. Writes out [R, D] and the state, which may be where it was read."""
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, WIDTH)
    real = r < R
    there = real[:, None] & (d < D)[None, :]
    b, h = (r // H).to(tl.int64), r % H
    slot = b
    if SLOTS:
        slot = tl.load(slots_at + b, mask=real, other=0)

    s = tl.load(s_at + b * sb + h * sh, mask=real, other=0.0).to(tl.float32)
    v_line = (b * vb + h * vh)[:, None]
    v = tl.load(v_at + v_line + d[None, :] * vd, mask=there, other=0.0).to(tl.float32)
    held = tl.load(m_at + slot * mn + h * mh, mask=real, other=0.0)
    u = tl.load(u_at + slot * un + h * uh, mask=real, other=0.0)
    w_line = (slot * wn + h * wh)[:, None]
    w = tl.load(w_at + w_line + d[None, :] * wd, mask=there, other=0.0)
    if DECAY:
        held -= tl.load(decay_at + h * ld, mask=real, other=0.0).to(tl.float32)

    m = tl.maximum(held, s)
    keep, new = tl.exp(held - m), tl.exp(s - m)
    u = u * keep + new
    w = w * keep[:, None] + v * new[:, None]
    out = (w / u[:, None]).to(out_at.dtype.element_ty)

    tl.store(out_at + r.to(tl.int64)[:, None] * D + d[None, :], out, mask=there)
    tl.store(m_to + slot * mn_to + h * mh_to, m, mask=real)
    tl.store(u_to + slot * un_to + h * uh_to, u, mask=real)
    to = (slot * wn_to + h * wh_to)[:, None] + d[None, :] * wd_to
    tl.store(w_to + to, w, mask=there)


@triton.jit
def _scan(
    s_at, v_at, decay_at, length_at, slots_at, out_at,
    m_at, u_at, w_at, m_to, u_to, w_to,
    sb, st, sh, vb, vt, vh, vd, ld,
    mn, mh, un, uh, wn, wh, wd,
    mn_to, mh_to, un_to, uh_to, wn_to, wh_to, wd_to,
    T, H, D,
    STEPS: tl.constexpr, WIDTH: tl.constexpr, DECAY: tl.constexpr, SLOTS: tl.constexpr,
    LENGTH: tl.constexpr,
):  # fmt: skip
    """One head of one row. Writes out [B, T, H, D] and the state, which may be where it was."""
    pid = tl.program_id(0)
    b, h = (pid // H).to(tl.int64), pid % H
    slot = b
    if SLOTS:
        slot = tl.load(slots_at + b)
    n = T
    if LENGTH:
        n = tl.minimum(tl.load(length_at + b), T).to(tl.int32)
    i, t, d = tl.arange(0, STEPS)[None, :], tl.arange(0, STEPS), tl.arange(0, WIDTH)
    age = t[:, None] - i  # of step i at step t
    real_d = d < D
    rate = 0.0
    if DECAY:
        rate = tl.load(decay_at + h * ld).to(tl.float32)
    m, u = tl.load(m_at + slot * mn + h * mh), tl.load(u_at + slot * un + h * uh)
    w = tl.load(w_at + slot * wn + h * wh + d * wd, mask=real_d, other=0.0)
    s_at += b * sb + h * sh
    v_at += b * vb + h * vh
    out_at += (b * T * H + h) * D

    for first in range(0, n, STEPS):
        at = (first + t).to(tl.int64)
        real = at < n
        there = real[:, None] & real_d[None, :]
        s = tl.load(s_at + at * st, mask=real, other=float("-inf")).to(tl.float32)
        v_line = (at * vt)[:, None]
        v = tl.load(v_at + v_line + d[None, :] * vd, mask=there, other=0.0).to(tl.float32)
        scores = tl.where(age >= 0, s[None, :] - rate * age, NOTHING)
        held = m - rate * (t + 1)
        top = tl.maximum(tl.max(scores, 1), held)
        weights, keep = tl.exp(scores - top[:, None]), tl.exp(held - top)
        us = tl.sum(weights, 1) + keep * u
        ws = tl.dot(weights, v, input_precision="tf32x3") + keep[:, None] * w[None, :]
        out = (ws / us[:, None]).to(out_at.dtype.element_ty)
        out = tl.where(real[:, None], out, 0.0)
        out_to = (at * H * D)[:, None] + d[None, :]
        tl.store(out_at + out_to, out, mask=(at < T)[:, None] & real_d[None, :])
        last = at == tl.minimum(first + STEPS, n) - 1
        m, u = tl.sum(tl.where(last, top, 0.0), 0), tl.sum(tl.where(last, us, 0.0), 0)
        w = tl.sum(tl.where(last[:, None], ws, 0.0), 0)

    for first in range((n + STEPS - 1) // STEPS * STEPS, T, STEPS):  # nothing stays unwritten
        at = (first + t).to(tl.int64)
        out_to = (at * H * D)[:, None] + d[None, :]
        tl.store(out_at + out_to, 0.0, mask=(at < T)[:, None] & real_d[None, :])

    tl.store(m_to + slot * mn_to + h * mh_to, m)
    tl.store(u_to + slot * un_to + h * uh_to, u)
    tl.store(w_to + slot * wn_to + h * wh_to + d * wd_to, w, mask=real_d)


def step(
    scores: Tensor, values: Tensor, m: Tensor, u: Tensor, w: Tensor, decay: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As ``reference.step``, in any strides; the state is float32."""
    after = torch.empty_like(m), torch.empty_like(u), torch.empty_like(w)
    return _stepped(scores, values, (m, u, w), after, None, decay), *after


def step_(
    scores: Tensor,
    values: Tensor,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    slots: Tensor,
    decay: Tensor | None = None,
) -> Tensor:
    """As ``reference.step_``: what a slot holds is read once and written once, where it is."""
    return _stepped(scores, values, (m, u, w), (m, u, w), slots, decay)


def scan(
    scores: Tensor,
    values: Tensor,
    length: Tensor | None,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    decay: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As ``reference.scan``, in any strides; the state is float32.

    What lies after length may be anything, NaN too; out is 0 there.
    """
    after = torch.empty_like(m), torch.empty_like(u), torch.empty_like(w)
    return _scanned(scores, values, length, (m, u, w), after, None, decay), *after


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
    """As ``reference.scan_``, with what ``scan`` says."""
    return _scanned(scores, values, length, (m, u, w), (m, u, w), slots, decay)


def _stepped(
    scores: Tensor,
    values: Tensor,
    before: State,
    after: State,
    slots: Tensor | None,
    decay: Tensor | None,
) -> Tensor:
    B, H, D = values.shape
    out = torch.empty(B, H, D, device=values.device, dtype=values.dtype)
    width = triton.next_power_of_2(D)
    rows = max(1, TILE // width)
    if B:
        _step[(triton.cdiv(B * H, rows),)](
            scores, values, _or(decay, scores), _or(slots, scores), out, *before, *after,
            *scores.stride(), *values.stride(), 0 if decay is None else decay.stride(0),
            *_strides(before), *_strides(after),
            B * H, H, D,
            ROWS=rows, WIDTH=width, DECAY=decay is not None, SLOTS=slots is not None, num_warps=4,
        )  # fmt: skip
    return out


def _scanned(
    scores: Tensor,
    values: Tensor,
    length: Tensor | None,
    before: State,
    after: State,
    slots: Tensor | None,
    decay: Tensor | None,
) -> Tensor:
    B, T, H, D = values.shape
    out = torch.empty(B, T, H, D, device=values.device, dtype=values.dtype)
    if B:
        _scan[(B * H,)](
            scores, values, _or(decay, scores), _or(length, scores), _or(slots, scores), out,
            *before, *after,
            *scores.stride(), *values.stride(), 0 if decay is None else decay.stride(0),
            *_strides(before), *_strides(after),
            T, H, D,
            STEPS=STEPS, WIDTH=max(16, triton.next_power_of_2(D)), DECAY=decay is not None,
            SLOTS=slots is not None, LENGTH=length is not None, num_warps=4,
        )  # fmt: skip
    return out


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A pointer that is never followed, where there is no tensor."""
    return other if tensor is None else tensor


def _strides(state: State) -> list[int]:
    return [stride for tensor in state for stride in tensor.stride()]
