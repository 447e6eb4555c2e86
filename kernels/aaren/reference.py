"""Attention as an RNN in plain torch: any dtype, float64 for tests; see README.md.

Letters: B rows, N slots of a pool, T steps (padded), C steps of a chunk, H heads, D width of each.
The state of a head is m, the largest score, u = Σ e^{s_i − m} and w = Σ e^{s_i − m} v_i.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["CHUNK", "NOTHING", "recurrence", "scan", "scan_", "softmax", "step", "step_"]

NOTHING = -1e30  # m before the first step: e^{m − s} is 0, and unlike -inf it never becomes NaN
CHUNK = 64  # steps of which scores are compared with each other
LEAST = -80.0  # below it CPUs compute exp through denormal numbers, ten times as long


def step(
    scores: Tensor, values: Tensor, m: Tensor, u: Tensor, w: Tensor, decay: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step (Feng et al. 2024, section 3.1), in the dtype of m.

    Args:
        scores: [B, H], q · k.
        values: [B, H, D].
        m: [B, H]; ``NOTHING`` before the first step.
        u: [B, H]; 0 before the first step.
        w: [B, H, D]; 0 before the first step.
        decay: [H], at least 0: what a score loses in every step after its own; None: 0, the paper.

    Returns:
        out [B, H, D] in the dtype of values, m, u, w.
    """
    s = scores.to(m.dtype)
    held = m if decay is None else m - decay.to(m.dtype)
    m = torch.maximum(held, s)
    keep, new = torch.exp(held - m), torch.exp(s - m)
    u = u * keep + new
    w = w * keep[..., None] + values.to(w.dtype) * new[..., None]
    return (w / u[..., None]).to(values.dtype), m, u, w


def step_(
    scores: Tensor,
    values: Tensor,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    slots: Tensor,
    decay: Tensor | None = None,
) -> Tensor:
    """``step`` of some slots of a pool, which is changed in place.

    Args:
        scores: [B, H].
        values: [B, H, D].
        m: [N, H], in any strides, and so are u and w.
        u: [N, H].
        w: [N, H, D].
        slots: [B] int64, 0..N-1, none of them twice.
        decay: [H], see ``step``.

    Returns:
        out [B, H, D] in the dtype of values.
    """
    out, *after = step(scores, values, *_rows((m, u, w), slots), decay)
    for pool, rows in zip((m, u, w), after, strict=True):
        pool.index_copy_(0, slots, rows)
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
    """T steps at once: masked softmax over chunks, with the state as carry between them.

    Nothing flows back through the largest scores, of which no output depends: gradients of out, of
    w / u and of m + ln u are exact, those of m, u and w apart are not. In an exported graph all
    steps are one chunk, for T is not known.

    Args:
        scores: [B, T, H], T at least 1.
        values: [B, T, H, D]; what lies after length has to be finite.
        length: [B] integers, 0..T, how many steps are real; None: all.
        m: [B, H], see ``step`` for these.
        u: [B, H].
        w: [B, H, D].
        decay: [H], see ``step``.

    Returns:
        out [B, T, H, D] in the dtype of values, arbitrary but finite after length; and m, u, w
        after the last real step.
    """
    T = scores.shape[1]
    s, v = scores.to(m.dtype).transpose(1, 2), values.to(w.dtype).transpose(1, 2)
    with _exact(values):
        if torch.compiler.is_exporting():
            out, m, u, w = _chunk(s, v, length, m, u, w, decay)
            return out.transpose(1, 2).to(values.dtype), m, u, w
        outs = []
        for first in range(0, T, CHUNK):
            here = slice(first, min(first + CHUNK, T))
            left = None if length is None else length - first
            out, m, u, w = _chunk(s[:, :, here], v[:, :, here], left, m, u, w, decay)
            outs.append(out)
    return torch.cat(outs, dim=2).transpose(1, 2).to(values.dtype), m, u, w


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
    """``scan`` of some slots of a pool, which is changed in place.

    Args:
        scores: [B, T, H], see ``scan`` for these.
        values: [B, T, H, D].
        length: [B].
        m: [N, H], in any strides, and so are u and w.
        u: [N, H].
        w: [N, H, D].
        slots: [B] int64, 0..N-1, none of them twice.
        decay: [H], see ``step``.

    Returns:
        out [B, T, H, D] in the dtype of values.
    """
    out, *after = scan(scores, values, length, *_rows((m, u, w), slots), decay)
    for pool, rows in zip((m, u, w), after, strict=True):
        pool.index_copy_(0, slots, rows)
    return out


def _rows(pools: tuple[Tensor, Tensor, Tensor], slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    m, u, w = (pool.index_select(0, slots) for pool in pools)
    return m, u, w


def _chunk(
    s: Tensor,
    v: Tensor,
    length: Tensor | None,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    decay: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """s [B, H, C], v [B, H, C, D] -> out [B, H, C, D], m, u, w; length may lie outside 0..C."""
    C = s.shape[2]
    t = torch.arange(C, device=s.device)
    age = t[:, None] - t  # [C, C], of step i at step t
    past = (age >= 0).to(s.dtype)
    bias, held = torch.zeros_like(past), m[:, :, None].expand_as(s)
    if decay is not None:
        rate = decay.to(s.dtype)[:, None]  # [H, 1]
        bias, held = -rate[:, None] * age, m[:, :, None] - rate * (t + 1)
    scores = s[:, :, None] + bias.masked_fill(age < 0, NOTHING)  # [B, H, C, C]
    top = torch.maximum(scores.detach().amax(-1), held.detach())  # [B, H, C]
    # The largest term of a sum is 1, beside which e^LEAST is lost.
    weights = torch.exp((scores - top[..., None]).clamp(min=LEAST)) * past
    keep = torch.exp(held - top)
    us = weights.sum(-1) + keep * u[:, :, None]
    ws = weights @ v + keep[..., None] * w[:, :, None]
    out = ws / us[..., None]
    if length is None:
        return out, top[:, :, -1], us[:, :, -1], ws[:, :, -1]
    last = (length.clamp(1, C) - 1)[:, None, None]  # [B, 1, 1]
    any_ = (length > 0)[:, None]
    at = last.expand(-1, m.shape[1], -1)
    m = torch.where(any_, top.gather(2, at)[..., 0], m)
    u = torch.where(any_, us.gather(2, at)[..., 0], u)
    wide = at[..., None].expand(-1, -1, -1, v.shape[3])
    return out, m, u, torch.where(any_[..., None], ws.gather(2, wide)[:, :, 0], w)


def _exact(like: Tensor) -> AbstractContextManager[object]:
    """Autocast would round the sums to its own dtype."""
    device = like.device.type
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def recurrence(
    scores: Tensor,
    values: Tensor,
    length: Tensor,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    decay: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``scan``, step by step."""
    outs = []
    for t in range(scores.shape[1]):
        out, *after = step(scores[:, t], values[:, t], m, u, w, decay)
        real = (t < length)[:, None]
        m, u = torch.where(real, after[0], m), torch.where(real, after[1], u)
        w = torch.where(real[..., None], after[2], w)
        outs.append(out)
    return torch.stack(outs, dim=1), m, u, w


def softmax(scores: Tensor, values: Tensor, decay: Tensor | None = None) -> Tensor:
    """The out of ``scan`` before which nothing was: causal softmax over [T, T] scores.

    Args:
        scores: [B, T, H], T at least 1.
        values: [B, T, H, D].
        decay: [H], see ``step``.

    Returns:
        [B, T, H, D].
    """
    t = torch.arange(scores.shape[1], device=scores.device)
    age = (t[:, None] - t)[..., None]  # [T, T, 1]
    compared = scores[:, None] if decay is None else scores[:, None] - decay * age
    weights = torch.softmax(compared.masked_fill(age < 0, -torch.inf), dim=2)  # [B, T, T, H]
    return torch.einsum("btih,bihd->bthd", weights, values)
