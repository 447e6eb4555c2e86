"""A decoder of Llama's or Qwen2's type whose tokens pass a chain of layers.

Keys and values belong to a position of the chain, never to a layer: a layer that comes twice has
seen other tokens the second time.

Letters: B rows, T tokens of each, S tokens of the past, N tokens of all rows, V tokens of the
vocabulary, W width, K heads of keys and values, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from foretoken.models.cola.packed import Packed
from foretoken.models.depth.chains import full
from foretoken.models.layers.decoder import Attend, DecoderBlock, DecoderShape
from foretoken.models.layers.gqa import attend, causal
from foretoken.models.layers.rmsnorm import RMSNorm
from foretoken.models.layers.rope import angles, frequencies
from foretoken.models.layers.texts.kept import KeptTokenizer
from foretoken.models.layers.words import Words

__all__ = ["Cache", "ColaConfig", "ColaModel"]

# Keys and values [B, S, K, D] of each position of a chain.
Cache = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class ColaConfig:
    """What a model is.

    Args:
        shape: of the decoder.
        tied: whether the head is the table of the tokens.
        positions: tokens that a row may have, prompt and answer together.
        tokenizer: bytes of its tokenizer.json; 0: none.
    """

    shape: DecoderShape
    tied: bool = False
    positions: int = 2048
    tokenizer: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ColaConfig:
        """Of a version's configuration, which says more than the network's."""
        own = {field.name: config[field.name] for field in fields(cls) if field.name in config}
        return cls(**{**own, "shape": DecoderShape(**config["shape"])})


class ColaModel(nn.Module):
    """See the module's docstring.

    Args:
        config: what it is.
    """

    frequencies: Tensor

    def __init__(self, config: ColaConfig) -> None:
        super().__init__()
        self.config, s = config, config.shape
        self.layers, self.kv_heads, self.head_width = s.layers, s.kv_heads, s.head_width
        self.words = Words(s.vocab, s.width)
        self.blocks = nn.ModuleList(DecoderBlock(s) for _ in range(s.layers))
        self.norm = RMSNorm(s.width, s.eps)
        self.head = None if config.tied else nn.Linear(s.width, s.vocab, bias=False)
        turned = frequencies(s.head_width, s.theta, s.scaling)
        self.register_buffer("frequencies", turned, persistent=False)
        if config.tokenizer:
            self.tokenizer = KeptTokenizer(config.tokenizer)

    def forward(
        self, ids: Tensor, chain: Sequence[int] | None = None, packed: Packed | None = None
    ) -> Tensor:
        """Logits after every token, without a cache.

        Args:
            ids: int64 [B, T], or [N] if they are packed.
            chain: indices of layers; None: all in order.
            packed: how tokens are laid out; None: as rows of one length.

        Returns:
            [B, T, V], or [N, V].
        """
        chain = full(len(self.blocks)) if chain is None else chain
        see: Attend = causal if packed is None else packed
        if packed is None:
            positions = torch.arange(ids.shape[-1], device=ids.device)
        else:
            positions = packed.positions(ids.device)
        turned = angles(positions, self.frequencies)
        h = self.words(ids)
        for layer in chain:
            h = self.blocks[layer](h, *turned, see)
        return self.logits(h)

    def cached(
        self, ids: Tensor, chain: Sequence[int] | None = None, past: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """Logits after further tokens, and the cache with theirs: prefill and decoding alike.

        Args:
            ids: int64 [B, T], which follow the S tokens of the past.
            chain: as of ``forward``; the same as the past's.
            past: of the tokens before; None: there are none.

        Returns:
            [B, T, V], and the cache of S + T tokens.
        """
        chain = full(len(self.blocks)) if chain is None else chain
        T = ids.shape[1]
        S = 0 if past is None else past[0][0].shape[1]
        turned = angles(torch.arange(S, S + T, device=ids.device), self.frequencies)
        h, after = self.words(ids), []
        for position, layer in enumerate(chain):
            seen = _Seen(None if past is None else past[position])
            h = self.blocks[layer](h, *turned, seen)
            after.append(seen.kept)
        return self.logits(h), tuple(after)

    def embed(self, ids: Tensor) -> Tensor:
        """Tokens int64 [N] -> [N, W]; see ``foretoken.models.generation.Layered``."""
        h: Tensor = self.words(ids)
        return h

    def turned(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of positions [N]; see ``foretoken.models.generation.Layered``."""
        return angles(positions, self.frequencies)

    def layer(self, index: int, h: Tensor, turned: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """One layer on tokens [N, W] of any rows; see ``foretoken.models.generation.Layered``."""
        out: Tensor = self.blocks[index](h, *turned, attend)
        return out

    def logits(self, h: Tensor) -> Tensor:
        """What follows every chain: [..., W] -> [..., V]."""
        h = self.norm(h)
        scores: Tensor = self.words.scores(h) if self.head is None else self.head(h)
        return scores


class _Seen:
    """Attention to a past and to the tokens after it, in plain products; keeps both."""

    def __init__(self, past: tuple[Tensor, Tensor] | None) -> None:
        self._past = past

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, T, H, D], [B, T, K, D] twice -> [B, T, H, D]."""
        k = k.to(v.dtype)
        if self._past is not None:
            k, v = (torch.cat(both, dim=1) for both in zip(self._past, (k, v), strict=True))
        self.kept = (k, v)
        T, whole = q.shape[1], k.shape[1]
        later = torch.ones(T, whole, dtype=torch.bool, device=q.device).triu(whole - T + 1)
        bias = torch.zeros(1, 1, T, whole, dtype=v.dtype, device=q.device)
        q, k, v = (each.to(v.dtype).transpose(1, 2) for each in (q, k, v))
        return attend(q, k, v, bias.masked_fill(later, -torch.inf)).transpose(1, 2)
