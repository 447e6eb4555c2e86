"""Text encoders: BERT, and decoders whose tokens see each other both ways; vectors of length 1.

Letters: B texts, T tokens (padded), N tokens of a list of all rows (``rows``), W width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from foretoken.errors import InvalidInput
from foretoken.models.layers.decoder import DecoderBlock, DecoderShape
from foretoken.models.layers.gqa import GroupedProjections
from foretoken.models.layers.linear_gelu import LinearGELU
from foretoken.models.layers.rmsnorm import RMSNorm
from foretoken.models.layers.rope import angles, frequencies
from foretoken.models.layers.texts.kept import KeptTokenizer
from foretoken.models.text_encoder.config import BertShape
from foretoken.models.text_encoder.rows import Rows, rows_of

__all__ = ["BertBody", "DecoderBody", "TextEncoder"]


class BertBlock(nn.Module):
    """Attention and GELU MLP, each added and then normalised (post-norm)."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        s, D = shape, shape.width // shape.heads
        self.attention = GroupedProjections(s.width, s.heads, s.heads, D, bias=True, out_bias=True)
        self.norm_attention = nn.LayerNorm(s.width, s.eps)
        self.mlp_in, self.mlp_out = LinearGELU(s.width, s.mlp), nn.Linear(s.mlp, s.width)
        self.norm_mlp = nn.LayerNorm(s.width, s.eps)

    def forward(self, h: Tensor, rows: Rows) -> Tensor:
        """h [N, W] -> [N, W]."""
        seen = rows.attend(*self.attention.project(h))
        h = self.norm_attention(h + self.attention.finish(seen))
        out: Tensor = self.norm_mlp(h + self.mlp_out(self.mlp_in(h)))
        return out


class BertBody(nn.Module):
    """BERT (Devlin et al. 2019) and RoBERTa, without pooler and head."""

    causal = False

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        s = self.shape = shape
        self.words = nn.Embedding(s.vocab, s.width)
        self.positions = nn.Embedding(s.positions, s.width)
        self.types = nn.Embedding(s.types, s.width)
        self.norm = nn.LayerNorm(s.width, s.eps)
        self.blocks = nn.ModuleList(BertBlock(s) for _ in range(s.layers))

    def forward(self, ids: Tensor, rows: Rows) -> Tensor:
        """ids [B, T] -> [N, W]."""
        # Each sum in float32, whatever tables are stored in.
        h = self.words(rows.listed(ids)).float() + self.types.weight[0]
        h = self.norm(h + self.positions(rows.listed(self._places(ids))))
        for block in cast("Iterable[BertBlock]", self.blocks):
            h = block(h, rows)
        return cast("Tensor", h)

    def _places(self, ids: Tensor) -> Tensor:
        """Rows of the table of positions, [B, T]."""
        pad = self.shape.pad
        if pad is None:
            return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        real = (ids != pad).long()
        return real.cumsum(1) * real + pad


class DecoderBody(nn.Module):
    """Llama or Qwen2 (Yang et al. 2024) without its head.

    Args:
        shape: of the decoder.
        causal: whether a token sees none after itself.
    """

    frequencies: Tensor

    def __init__(self, shape: DecoderShape, *, causal: bool) -> None:
        super().__init__()
        s, self.causal = shape, causal
        self.words = nn.Embedding(s.vocab, s.width)
        self.blocks = nn.ModuleList(DecoderBlock(s) for _ in range(s.layers))
        self.norm = RMSNorm(s.width, s.eps)
        turned = frequencies(s.head_width, s.theta, s.scaling)
        self.register_buffer("frequencies", turned, persistent=False)

    def forward(self, ids: Tensor, rows: Rows) -> Tensor:
        """ids [B, T] -> [N, W]."""
        places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        cos, sin = angles(rows.listed(places), self.frequencies)
        h = self.words(rows.listed(ids)).float()
        for block in cast("Iterable[DecoderBlock]", self.blocks):
            h = block(h, cos, sin, rows.attend)
        out: Tensor = self.norm(h)
        return out


class TextEncoder(nn.Module):
    """A body, pooled.

    Args:
        body: that reads the tokens.
        pooling: "mean" of a text's tokens, the first ("cls") or the "last" of them.
        tokenizer: bytes of its tokenizer.json; 0: none.
    """

    outliers = 4  # of each matrix in int8; see ``exporters.calibrate``

    def __init__(self, body: BertBody | DecoderBody, pooling: str, tokenizer: int = 0) -> None:
        super().__init__()
        self.body, self.pooling = body, pooling
        if tokenizer:
            self.tokenizer = KeptTokenizer(tokenizer)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> TextEncoder:
        """The network of a version's configuration.

        Raises:
            InvalidInput: if it describes none.
        """
        kind, shape, pooling = config["kind"], config["shape"], config["pooling"]
        if kind not in ("bert", "decoder") or pooling not in ("mean", "cls", "last"):
            raise InvalidInput(
                f"kind is 'bert' or 'decoder', and pooling 'mean', 'cls' or 'last', not {kind!r} "
                f"and {pooling!r}"
            )
        if kind == "bert":
            return cls(BertBody(BertShape(**shape)), pooling, config["tokenizer"])
        body = DecoderBody(DecoderShape(**shape), causal=config["causal"])
        return cls(body, pooling, config["tokenizer"])

    def forward(self, ids: Tensor, length: Tensor) -> Tensor:
        """Vectors of texts.

        Args:
            ids: int64 [B, T] tokens; what lies at and after a text's length is padding.
            length: int64 [B], 0 to T.

        Returns:
            [B, W] of length 1; zeros for a text without tokens.
        """
        return self.vectors(ids, rows_of(length, ids.shape[1], causal=self.body.causal), length)

    def vectors(self, ids: Tensor, rows: Rows, length: Tensor) -> Tensor:
        """``forward``, with tokens listed in a certain way."""
        h = self.body(ids, rows)
        if self.pooling == "mean":
            pooled = rows.mean(h)
        else:
            index = torch.zeros_like(length) if self.pooling == "cls" else (length - 1).clamp(min=0)
            pooled = rows.at(h, index).float() * (length > 0)[:, None]
        return normalize(pooled, dim=-1)
