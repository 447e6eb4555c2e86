"""Causal softmax attention with a key/value cache: the mixer whose state grows with the sequence.

Letters: B sequences, T tokens (padded), C places of the cache, W width, H heads, D = W / H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from foretoken.errors import InvalidInput
from foretoken.models.layers.mixers import State

__all__ = ["Attention"]


class Attention(nn.Module):
    """Multi-head attention of every token to itself and those before it (Vaswani et al. 2017).

    Positions are rotary (Su et al. 2021, RoFormer, equation 34). The state is "k" and "v"
    [B, H, C, D] float32, whose first "n" [B, 1] int64 places hold tokens. C at least doubles when a
    token finds no place; C = T after a first scan. Without gradients, keys and values are written
    **into** the state that is given where they fit, so a caller who wants to go on from an earlier
    state again keeps a copy.

    Args:
        width: W, a multiple of heads.
        heads: H; D must be even.
        base: of the rotary angles; position p turns pair i by p / base^(2i / D).

    Raises:
        InvalidInput: W is not a multiple of 2 H.
    """

    turns: Tensor

    def __init__(self, width: int, heads: int, base: float = 10_000.0) -> None:
        super().__init__()
        if width % (2 * heads):
            raise InvalidInput(f"width {width} is not an even multiple of {heads} heads")
        self.heads, self.head_width = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        angles = base ** -(torch.arange(0, self.head_width, 2) / self.head_width)
        self.register_buffer("turns", angles, persistent=False)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """State before the first token; what grows is the axis of length 0."""
        cache = (self.heads, 0, self.head_width)
        return {"k": cache, "v": cache, "n": (1,)}

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
        positions = state["n"] + torch.arange(x.shape[1], device=x.device)  # [B, T]
        q, k, v = self._projected(x, positions)
        if state["k"].shape[2] == 0:  # padding stands behind all that is real: no mask is needed
            mixed = _causal(q, k, v)
        else:
            k, v = _written(state["k"], k, positions), _written(state["v"], v, positions)
            mixed = _attend(q, k, v, positions)
        return self._joined(mixed), {"k": k, "v": v, "n": state["n"] + length[:, None]}

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, W] -> [B, T, W], from the start of each sequence."""
        positions = torch.arange(x.shape[1], device=x.device)[None]
        return self._joined(_causal(*self._projected(x, positions)))

    def _projected(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, T, W] at ``positions`` [B, T] -> queries, keys and values [B, H, T, D] float32."""
        by_head = self.qkv(x).float().view(*x.shape[:2], 3, self.heads, self.head_width)
        q, k, v = by_head.permute(2, 0, 3, 1, 4)
        angles = positions[:, None, :, None] * self.turns  # [B, 1, T, D / 2]
        cos, sin = angles.cos(), angles.sin()
        return _turned(q, cos, sin), _turned(k, cos, sin), v

    def _joined(self, mixed: Tensor) -> Tensor:
        """[B, H, T, D] -> [B, T, W]."""
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [B, H, T, D] with each pair (i, i + D / 2) turned by its position's angle."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with torch.autocast(q.device.type, enabled=False):  # backwards, bfloat16 takes CPUs longer
        return scaled_dot_product_attention(q, k, v, is_causal=True)


def _written(cache: Tensor, new: Tensor, positions: Tensor) -> Tensor:
    """``cache`` [B, H, C, D], grown if need be, with ``new`` [B, H, T, D] at places [B, T]."""
    C, needed = cache.shape[2], int(positions.max()) + 1
    if needed > C:
        cache = pad(cache, (0, 0, 0, max(needed, 2 * C) - C))
    elif torch.is_grad_enabled():
        cache = cache.clone()  # a gradient may still need what stands there
    rows = torch.arange(len(cache), device=cache.device)[:, None]
    cache[rows, :, positions] = new.transpose(1, 2)
    return cache


def _attend(q: Tensor, k: Tensor, v: Tensor, positions: Tensor) -> Tensor:
    """Queries [B, H, T, D] at ``positions`` [B, T] over the places up to their own."""
    low, high = (int(edge) for edge in torch.aminmax(positions))
    k, v = k[:, :, : high + 1], v[:, :, : high + 1]
    if low == high:  # every query sees every place
        return scaled_dot_product_attention(q, k, v)
    seen = torch.arange(high + 1, device=q.device) <= positions[..., None]  # [B, T, C]
    return scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
