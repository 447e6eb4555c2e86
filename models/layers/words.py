"""Tables of tokens that may be the head, too: what tied models have."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear

__all__ = ["Words"]


class Words(nn.Embedding):
    """Vectors of tokens, and scores by them.

    Letters: V tokens of the vocabulary, W width.
    """

    def scores(self, h: Tensor) -> Tensor:
        """[..., W] -> [..., V]."""
        return linear(h, self.weight)
