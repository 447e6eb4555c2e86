"""The network of a static encoder: rows of a table, weighed and added up.

Letters: B texts, T tokens (padded), V tokens of the vocabulary, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from foretoken.models.layers.texts.kept import KeptTokenizer

__all__ = ["StaticEncoder"]


class StaticEncoder(nn.Module):
    """A unit vector of each text; zeros for one whose tokens all weigh nothing.

    The table is int8, and ``scale`` is both what a row's numbers are multiplied by and how much its
    token weighs: signs weigh little, special ones nothing.

    Args:
        vocab: V.
        width: W.
        tokenizer: bytes of its tokenizer.json; 0: none.
    """

    table: Tensor

    def __init__(self, vocab: int, width: int, tokenizer: int = 0) -> None:
        super().__init__()
        self.register_buffer("table", torch.randint(-127, 128, (vocab, width), dtype=torch.int8))
        self.scale = nn.Parameter(torch.full((vocab,), 1 / 127))
        if tokenizer:
            self.tokenizer = KeptTokenizer(tokenizer)

    def forward(self, ids: Tensor, length: Tensor) -> Tensor:
        """ids int64 [B, T] of which ``length`` int64 [B] are real -> [B, W]."""
        real = torch.arange(ids.shape[1], device=ids.device) < length[:, None]
        weights = self.scale[ids] * real
        total = weights[:, None] @ self.table[ids].float()  # [B, 1, W]
        return normalize(total[:, 0], dim=-1, eps=1e-30)
