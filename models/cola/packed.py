"""Problems of several lengths in one list of tokens: dense layers see one matrix, without gaps.

Letters: N tokens of all rows, R rows of a part, T tokens of each, H heads of queries, K heads of
keys and values, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foretoken.models.layers.gqa import attend, causal

__all__ = ["Packed"]


@dataclass(frozen=True)
class Packed:
    """How N tokens are laid out: parts one after another, each of R rows of T tokens.

    Args:
        parts: (R, T) of each.
    """

    parts: tuple[tuple[int, int], ...]

    @property
    def tokens(self) -> int:
        """N."""
        return sum(R * T for R, T in self.parts)

    def positions(self, device: torch.device) -> Tensor:
        """Of each token in its row, int64 [N]."""
        rows = (torch.arange(T, device=device).repeat(R) for R, T in self.parts)
        return torch.cat(list(rows))

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal attention within rows: [N, H, D], [N, K, D] twice -> [N, H, D]."""
        seen, at = [], 0
        for R, T in self.parts:
            own = (each[at : at + R * T].view(R, T, *each.shape[1:]) for each in (q, k, v))
            seen.append(_causal(*own).flatten(0, 1))
            at += R * T
        return torch.cat(seen)


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As ``gqa.causal``, in plain products on CPUs.

    The backward pass of torch's fused attention takes as long there as all else of a step.
    """
    if q.device.type != "cpu":
        return causal(q, k, v)
    q, k, v = (each.to(v.dtype).transpose(1, 2) for each in (q, k, v))
    later = torch.full((1, 1, q.shape[2], q.shape[2]), -torch.inf, dtype=v.dtype).triu(1)
    return attend(q, k, v, later).transpose(1, 2)
