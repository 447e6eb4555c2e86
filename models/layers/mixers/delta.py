"""The delta rule as a token mixer: per head, a matrix that replaces what is stored under a key.

Yang et al. 2024, Parallelizing Linear Transformers with the Delta Rule over Sequence Length; the
gated variant: Yang, Kautz and Hatamizadeh 2025, Gated Delta Networks. Queries, keys and values go
through a short causal convolution per channel and SiLU; queries and keys then have length 1.

Letters: B sequences, T tokens (padded), W width, H heads, D = W / H, F taps of a convolution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, logsigmoid, pad, silu

from foretoken.errors import InvalidInput
from foretoken.kernels import delta_rule
from foretoken.models.layers.mixers import State

__all__ = ["DeltaNet"]

EPSILON = 1e-6  # under the roots of norms
KEPT = 4.0  # logit of what a fresh gate keeps, 0.98: forgetting is to be learned


class DeltaNet(nn.Module):
    """The mixer; see ``models.layers.mixers.Mixer``.

    Args:
        width: W, a multiple of heads.
        heads: H.
        conv: F, at least 2.
        gated: whether memories fade, by a factor that each token sets for each head.

    Raises:
        InvalidInput: a size is too small, or W is not a multiple of H.
    """

    def __init__(self, width: int, heads: int, conv: int = 4, *, gated: bool = False) -> None:
        super().__init__()
        if min(width, heads) < 1 or conv < 2 or width % heads:
            raise InvalidInput(
                f"width {width}, heads {heads}, conv {conv}: need positive sizes, conv of at "
                "least 2 and a width that is a multiple of heads"
            )
        self.width, self.heads, self.taps, self.gated = width, heads, conv, gated
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.conv = nn.Parameter(torch.empty(3 * width, 1, conv).uniform_(-1, 1) / math.sqrt(conv))
        self.rates = nn.Linear(width, 2 * heads if gated else heads)
        if gated:
            nn.init.constant_(self.rates.bias[heads:], KEPT)
        self.norm = nn.Parameter(torch.ones(width // heads))
        self.out = nn.Linear(width, width, bias=False)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """S [H, D, D], the memories; conv [3·W, F - 1], the latest inputs of the convolutions."""
        D = self.width // self.heads
        return {"S": (self.heads, D, D), "conv": (3 * self.width, self.taps - 1)}

    def start(self, B: int) -> State:
        return {k: self.norm.new_zeros(B, *shape) for k, shape in self.shapes().items()}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        fresh = self.qkv(x).to(self.norm.dtype)[..., None]  # [B, 3 W, 1]
        window = torch.cat([state["conv"], fresh], dim=-1)
        q, k, v = self._by_head((window * self.conv[:, 0]).sum(-1))
        o, S = delta_rule.step(q, k, v, *self._rates(x), state["S"])
        return self._read(o), {"S": S, "conv": window[..., 1:]}

    def step_(self, x: Tensor, pools: State, slots: Tensor) -> Tensor:
        fresh = self.qkv(x).to(self.norm.dtype)[..., None]
        inputs = pools["conv"]
        window = torch.cat([inputs.index_select(0, slots), fresh], dim=-1)
        inputs.index_copy_(0, slots, window[..., 1:])
        q, k, v = self._by_head((window * self.conv[:, 0]).sum(-1))
        return self._read(delta_rule.step_(q, k, v, *self._rates(x), pools["S"], slots))

    def scan(self, x: Tensor, length: Tensor, state: State) -> tuple[Tensor, State]:
        fresh = self.qkv(x).to(self.norm.dtype).transpose(1, 2)  # [B, 3 W, T]
        window = torch.cat([state["conv"], fresh], dim=-1)
        o, S = self._remember(x, window, length, state["S"])
        # The last real inputs: of a short sequence some are those that were there before.
        at = length[:, None] + torch.arange(self.taps - 1, device=x.device)
        kept = window.gather(2, at[:, None].expand(-1, 3 * self.width, -1))
        return self._read(o), {"S": S, "conv": kept}

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, W] -> [B, T, W], from the start of each sequence."""
        window = pad(self.qkv(x).to(self.norm.dtype).transpose(1, 2), (self.taps - 1, 0))
        o, _ = self._remember(x, window, None, self.start(len(x))["S"])
        return self._read(o)

    def _remember(
        self, x: Tensor, window: Tensor, length: Tensor | None, S: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x [B, T, W] and inputs of the convolutions [B, 3 W, F - 1 + T] -> o [B, T, H, D], S."""
        with torch.autocast(x.device.type, enabled=False):
            mixed = conv1d(window, self.conv, groups=3 * self.width).transpose(1, 2)
        return delta_rule.chunk(*self._by_head(mixed), *self._rates(x), length, S)

    def _by_head(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[..., 3 W] -> q, k, v [..., H, D], the first two of length 1."""
        q, k, v = torch.unflatten(silu(mixed), -1, (3, self.heads, -1)).unbind(-3)
        return _unit(q), _unit(k), v

    def _rates(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """How much is replaced, in (0, 1), and the logarithm of what is kept: [..., H] each."""
        rates = self.rates(x).to(self.norm.dtype)
        if not self.gated:
            return torch.sigmoid(rates), None
        beta, kept = rates.chunk(2, dim=-1)
        return torch.sigmoid(beta), logsigmoid(kept)

    def _read(self, o: Tensor) -> Tensor:
        """What the heads have read, [..., H, D] -> [..., W]."""
        o = o * torch.rsqrt(o.square().mean(-1, keepdim=True) + EPSILON) * self.norm
        out: Tensor = self.out(o.flatten(-2))
        return out


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPSILON)
