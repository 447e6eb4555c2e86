"""Aaren: softmax attention with a learned query, as a recurrence (Feng et al. 2024, section 3).

Since the query is the same for all tokens, a head of attention over the first t tokens is a running
softmax average of values, and its state is a maximum, a sum of weights and a weighted sum. A fixed
``decay`` per head, absent in the paper, lowers the score of a token by that much per token after it
(as ALiBi does, Press et al. 2022), so that heads differ in how long they remember.

Letters: B sequences, T tokens (padded), W width, H heads, D = W / H.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foretoken.errors import InvalidInput
from foretoken.kernels.aaren import reference
from foretoken.models.layers.mixers import State

__all__ = ["Aaren", "geometric"]

CHUNK = 32  # tokens: faster to learn from than longer ones, of which memory is read and written


def geometric(heads: int) -> tuple[float, ...]:
    """Decays of H heads: none, then 1/2 per token and less by a constant factor, down to 1/512."""
    rates = [2.0 ** (-1 - 8 * i / max(heads - 2, 1)) for i in range(heads - 1)]
    return (0.0, *rates)


class Aaren(nn.Module):
    """The mixer; see ``models.layers.mixers.Mixer``.

    Args:
        width: W, a multiple of heads.
        heads: H.
        decay: H rates of at least 0 per token; None: 0 for all, as in the paper.
        folded: one map to scores, in the place of a query token and of its and the keys'
            projections, which multiply out to such a map. The paper's layer is not folded.

    Raises:
        InvalidInput: W is not a multiple of H, or decays are not H rates.
    """

    decay: Tensor | None

    def __init__(
        self,
        width: int,
        heads: int,
        decay: Sequence[float] | None = None,
        *,
        folded: bool = True,
    ) -> None:
        super().__init__()
        if width % heads:
            raise InvalidInput(f"width {width} is not a multiple of {heads} heads")
        if decay is not None and (len(decay) != heads or not all(0 <= d < 1e3 for d in decay)):
            raise InvalidInput(f"decay {list(decay)}: {heads} rates from 0 to 1000 are needed")
        self.width, self.heads, self.folded = width, heads, folded
        rates = None if decay is None else torch.tensor(decay, dtype=torch.float32)
        self.register_buffer("decay", rates, persistent=False)
        self.out = nn.Linear(width, width)
        if folded:
            self.score_value = nn.Linear(width, heads + width)
        else:
            self.query = nn.Parameter(torch.randn(width) / math.sqrt(width))
            self.qkv = nn.Linear(width, 3 * width)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """m, u [H] and w [H, D]."""
        H = self.heads
        return {"m": (H,), "u": (H,), "w": (H, self.width // H)}

    def start(self, B: int) -> State:
        like = self.out.weight
        start = {"m": reference.NOTHING, "u": 0.0, "w": 0.0}
        return {k: like.new_full((B, *s), start[k]) for k, s in self.shapes().items()}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        scores, values = self._project(x)
        out, m, u, w = reference.step(scores, values, **state, decay=self.decay)
        return self._together(out), {"m": m, "u": u, "w": w}

    def scan(self, x: Tensor, length: Tensor | None, state: State) -> tuple[Tensor, State]:
        scores, values = self._project(x)
        out, m, u, w = reference.scan(scores, values, length, **state, decay=self.decay)
        return self._together(out), {"m": m, "u": u, "w": w}

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, W] -> [B, T, W], from the start of each sequence."""
        scores, values = self._project(x)
        state, outs = self.start(len(x)), []
        for s, v in zip(torch.split(scores, CHUNK, 1), torch.split(values, CHUNK, 1), strict=True):
            out, *after = reference.scan(s, v, None, **state, decay=self.decay)
            state = dict(zip(state, after, strict=True))
            outs.append(out)
        return self._together(torch.cat(outs, dim=1))

    def _together(self, heads: Tensor) -> Tensor:
        """[..., H, D] -> [..., W]."""
        out: Tensor = self.out(heads.flatten(-2))
        return out

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[..., W] -> scores [..., H] and values [..., H, D]."""
        if self.folded:
            scores, values = torch.split(self.score_value(x), [self.heads, self.width], dim=-1)
            return scores, torch.unflatten(values, -1, (self.heads, -1))
        W = self.width
        q = nn.functional.linear(self.query, self.qkv.weight[:W], self.qkv.bias[:W])
        k, v = nn.functional.linear(x, self.qkv.weight[W:], self.qkv.bias[W:]).chunk(2, dim=-1)
        by_head = (self.heads, W // self.heads)
        scores = torch.unflatten(k * q, -1, by_head).sum(-1) * by_head[1] ** -0.5
        return scores, torch.unflatten(v, -1, by_head)
