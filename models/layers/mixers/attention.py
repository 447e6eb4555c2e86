"""Causal softmax attention with a key/value cache: the mixer whose state grows with the sequence.

Letters: B sequences, T tokens (padded), C places of the cache, W width, H heads, D = W / H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

__all__ = ["Attention"]

State = dict[str, Tensor]


class Attention(nn.Module):
    """Multi-head attention of every token to itself and those before it (Vaswani et al. 2017).

    Positions are rotary (Su et al. 2021, RoFormer, equation 34). The state is "k" and "v"
    [B, H, C, D] float32, whose first "n" [B] int64 places hold tokens. C at least doubles when a
    token finds no place; C = T after a first scan. Without gradients, keys and values are written
    **into** the state that is given where they fit, so a caller who wants to go on from an earlier
    state again keeps a copy.

    Args:
        width: W, a multiple of heads.
        heads: H; D must be even.
        base: of the rotary angles; position p turns pair i by p / base^(2i / D).
    """

    turns: Tensor

    def __init__(self, width: int, heads: int, base: float = 10_000.0) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        angles = base ** -(torch.arange(0, self.head_width, 2) / self.head_width)
        self.register_buffer("turns", angles, persistent=False)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """State before the first token; what grows is the axis of length 0."""
        cache = (self.heads, 0, self.head_width)
        return {"k": cache, "v": cache, "n": ()}

    def start(self, B: int) -> State:
        """An empty cache for each of B sequences."""
        like = self.turns
        kinds = {"n": torch.int64}
        return {
            name: torch.zeros(B, *shape, dtype=kinds.get(name, torch.float32), device=like.device)
            for name, shape in self.shapes().items()
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, W] and the state -> [B, W] and the state after it."""
        one = torch.ones(len(x), dtype=torch.int64, device=x.device)
        mixed, after = self.scan(x[:, None], one, state)
        return mixed[:, 0], after

    def scan(self, x: Tensor, length: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, T, W], of which ``length`` [B] int64 tokens are real -> [B, T, W] and the state."""
        B, T, W = x.shape
        n = state["n"]
        positions = n[:, None] + torch.arange(T, device=x.device)  # [B, T]
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        q, k = self._turned(q, positions), self._turned(k, positions)
        if state["k"].shape[2] == 0:  # padding stands behind all that is real: no mask is needed
            mixed = scaled_dot_product_attention(q, k, v, is_causal=True)
            kept = {"k": k.float(), "v": v.float()}
        else:
            kept = {
                "k": _written(state["k"], k, positions),
                "v": _written(state["v"], v, positions),
            }
            mixed = _attend(q, kept["k"].to(q.dtype), kept["v"].to(q.dtype), positions)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(B, T, W))
        return out, {**kept, "n": n + length}

    def _turned(self, x: Tensor, positions: Tensor) -> Tensor:
        """x [B, H, T, D] with every pair (i, i + D / 2) turned by its position's angle."""
        angles = positions[:, None, :, None] * self.turns  # [B, 1, T, D / 2]
        cos, sin = angles.cos(), angles.sin()
        a, b = x.float().chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)


def _written(cache: Tensor, new: Tensor, positions: Tensor) -> Tensor:
    """``cache`` [B, H, C, D], grown if need be, with ``new`` [B, H, T, D] at places [B, T]."""
    C, needed = cache.shape[2], int(positions.max()) + 1
    if needed > C:
        cache = pad(cache, (0, 0, 0, max(needed, 2 * C) - C))
    elif torch.is_grad_enabled():
        cache = cache.clone()  # a gradient may still need what stands there
    rows = torch.arange(len(cache), device=cache.device)[:, None]
    cache[rows, :, positions] = new.float().transpose(1, 2)
    return cache


def _attend(q: Tensor, k: Tensor, v: Tensor, positions: Tensor) -> Tensor:
    """Queries [B, H, T, D] at ``positions`` [B, T] over the places up to their own."""
    low, high = (int(edge) for edge in torch.aminmax(positions))
    k, v = k[:, :, : high + 1], v[:, :, : high + 1]
    if low == high:  # every query sees every place
        return scaled_dot_product_attention(q, k, v)
    seen = torch.arange(high + 1, device=q.device) <= positions[..., None]  # [B, T, C]
    return scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
