"""The frame in which a model reads curves, in torch, for training; ``predict`` is its NumPy twin.

A model with ``frame="bounds"`` reads values between the metric's hard bounds, as the paper's does.
One with ``frame="observed"`` reads them zoomed to what has been seen: soft bounds lie at the best
observed value, give or take a reach, so that a loss that creeps from 0.1277 to 0.1274 fills the
model's scale as well as an accuracy that climbs from 0.1 to 0.9. The reach is the distance from
the best to the median value, but at least 1/(2N) of the room that finite bounds leave: few points
say little about scale. The map is that of ``foretoken.normalise``, with more being better.

Letters: B curves, N observed points, Q queries.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Frame(NamedTuple):
    """Soft bounds and the images of the hard ones, each [B, 1]."""

    low: Tensor
    high: Tensor
    first: Tensor
    last: Tensor

    def forward(self, y: Tensor) -> Tensor:
        """Values [B, ...] to the model's scale."""
        return (self._squash(y) - self.first) / (self.last - self.first)

    def log_slope(self, y: Tensor) -> Tensor:
        """log |d forward / dy| at values [B, ...]."""
        t = self._linear(y)
        log_sigmoid = torch.nn.functional.logsigmoid
        scale = 2 / ((self.high - self.low) * (self.last - self.first))
        return log_sigmoid(t) + log_sigmoid(-t) + scale.log()

    def _linear(self, y: Tensor) -> Tensor:
        return 2 * (y - self.low) / (self.high - self.low) - 1

    def _squash(self, y: Tensor) -> Tensor:
        return torch.sigmoid(self._linear(y))


def observed_frame(seen: Tensor, bounded: Tensor) -> Frame:
    """The frame of curves of which ``seen`` [B, N] has been observed, within [0, 1].

    Args:
        seen: observed values; N may be 0.
        bounded: [B, 2], whether 0 and 1 are hard bounds; a bound that is not hard is infinite.
    """
    B, N = seen.shape
    at_zero, at_one = bounded[:, :1], bounded[:, 1:]
    if N:
        best = seen.amax(dim=1, keepdim=True)
        spread = best - seen.quantile(0.5, dim=1, keepdim=True)
        room = torch.maximum(best * at_zero, (1 - best) * at_one)
        room = torch.where(room > 0, room, torch.where(best > 0, best, torch.ones_like(best)))
        reach = torch.maximum(spread, room / (2 * N))
    else:
        best = reach = seen.new_full((B, 1), 0.5)
    low = torch.where(at_zero, (best - reach).clamp_min(0.0), best - reach)
    high = torch.where(at_one, (best + reach).clamp_max(1.0), best + reach)
    soft = Frame(low, high, torch.zeros_like(low), torch.ones_like(low))
    first = torch.where(at_zero, soft.forward(torch.zeros_like(low)), soft.first)
    last = torch.where(at_one, soft.forward(torch.ones_like(low)), soft.last)
    return Frame(low, high, first, last)


def reflected(y: Tensor) -> Tensor:
    """Noisy values folded back into [0, 1], where a measured metric stays."""
    return 1 - (1 - y.abs().clamp_max(2.0)).abs()
