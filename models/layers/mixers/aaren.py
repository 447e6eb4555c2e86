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
from foretoken.kernels import aaren
from foretoken.kernels.aaren.reference import NOTHING
from foretoken.models.layers.mixers import State
from foretoken.models.layers.precision import exactly

__all__ = ["Aaren", "geometric"]

CHUNK = 128  # tokens that are averaged by one product
SPREAD = 60.0  # of scores: e^60 times the smallest weight is still known to float32


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
        start = {"m": NOTHING, "u": 0.0, "w": 0.0}
        return {k: like.new_full((B, *s), start[k]) for k, s in self.shapes().items()}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        scores, values = self._project(x)
        out, m, u, w = aaren.step(scores, values, **state, decay=self.decay)
        return self._together(out), {"m": m, "u": u, "w": w}

    def step_(self, x: Tensor, pools: State, slots: Tensor) -> Tensor:
        scores, values = self._project(x)
        return self._together(aaren.step_(scores, values, **pools, slots=slots, decay=self.decay))

    def scan(self, x: Tensor, length: Tensor, state: State) -> tuple[Tensor, State]:
        scores, values = self._project(x)
        out, m, u, w = aaren.scan(scores, values, length, **state, decay=self.decay)
        # After length the scan says something, but not the same in graphs and in chunks.
        over = torch.arange(x.shape[1], device=x.device) >= length[:, None]
        out = out.masked_fill(over[..., None, None], 0.0)
        return self._together(out), {"m": m, "u": u, "w": w}

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, W] -> [B, T, W], from the start of each sequence."""
        scores, values = self._project(x)
        low, high = torch.aminmax(scores.detach())
        if high - low > SPREAD:
            state = self.start(len(x))
            out = aaren.scan(scores, values, None, **state, decay=self.decay)[0]
            return self._together(out)
        with exactly(x):
            out = self._averages(scores, values)
        return self._together(out.to(values.dtype))

    def _averages(self, scores: Tensor, values: Tensor) -> Tensor:
        """Running averages [B, T, H, D] by products with matrices that depend on ages alone.

        Where scores differ little, e^{s − top} of one top for all steps neither vanishes nor
        overflows, and the weights of a chunk are those times e^{−decay·age}: there is no tensor of
        scores by scores to exponentiate, or to keep for the gradient.
        """
        scores, values = scores.float(), values.float()
        weights = torch.exp(scores - scores.detach().amax(1, keepdim=True))[..., None]
        terms = torch.cat([weights * values, weights], dim=-1)  # [B, T, H, D + 1]
        flat = terms.permute(2, 1, 0, 3).flatten(2)  # [H, T, B·(D + 1)]
        kept, carry, sums = self._kept(flat), flat.new_zeros(1), []
        for chunk in torch.split(flat, CHUNK, 1):
            C = chunk.shape[1]
            sums.append(torch.baddbmm(self._aged(flat, C) * carry, kept[:, :C, :C], chunk))
            carry = sums[-1][:, -1:]
        whole = torch.unflatten(torch.cat(sums, dim=1), 2, terms.shape[::3])  # [H, T, B, D + 1]
        w, u = torch.split(whole.permute(2, 1, 0, 3), [values.shape[-1], 1], dim=-1)
        return w / u

    def _kept(self, like: Tensor) -> Tensor:
        """[H, C, C]: what is left at step t of a term of step j, 0 if that comes later."""
        t = torch.arange(CHUNK, device=like.device)
        return torch.exp(-self._rates(like) * (t[:, None] - t).clamp(min=0)).tril()

    def _aged(self, like: Tensor, C: int) -> Tensor:
        """[H, C, 1]: what is left at each step of a chunk of all before it."""
        t = torch.arange(1, C + 1, device=like.device)
        return torch.exp(-self._rates(like) * t[:, None])

    def _rates(self, like: Tensor) -> Tensor:
        """[H, 1, 1]."""
        rates = like.new_zeros(self.heads) if self.decay is None else self.decay
        return rates[:, None, None]

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
