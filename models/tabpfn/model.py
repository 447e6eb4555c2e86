"""TabPFN: test rows see labelled training rows, and nothing else (Hollmann et al. 2022).

A row is one token: its features through one linear map, plus the embedding of its class if it is a
training row. Training rows attend to training rows; a test row attends to training rows only, so
the keys and values of the training rows in every layer are all that a fitted table is.

Letters: B tables, N training rows (padded), M test rows, F features, C classes, W width, L layers,
K key/value heads that test rows read, D width of a head.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from foretoken.errors import InvalidInput
from foretoken.kernels.context_attention import context_attention
from foretoken.models.layers.encoder import EncoderBlock

__all__ = ["TabPFN", "TabPFNConfig"]


@dataclass(frozen=True)
class TabPFNConfig:
    """The shape of the network and of what it is shown.

    Args:
        width: W, a multiple of heads.
        layers: L.
        heads: of attention.
        mlp: hidden width of MLPs and of the decoder.
        rows: most training rows of a table.
        features: most that a row shows: columns after encoding, and scores.
        classes: most classes.
        norm_first: pre-norm with a last norm (True), or the paper's post-norm.
        labels: "linear" embeds the class as a number, as the paper does; "table" looks it up.
        shared: K; test rows read the first K key/value heads.
        pipeline: of the preprocessing, see ``pipelines``.

    Raises:
        InvalidInput: a size is impossible.
    """

    width: int
    layers: int
    heads: int
    mlp: int
    rows: int = 1024
    features: int = 100
    classes: int = 10
    norm_first: bool = True
    labels: str = "table"
    shared: int | None = None
    pipeline: str = "ordered"

    def __post_init__(self) -> None:
        shared = self.shared or self.heads
        if self.width % self.heads or self.heads % shared or self.labels not in ("linear", "table"):
            raise InvalidInput(
                f"{self} is impossible: width must be a multiple of heads, heads of shared, and "
                "labels 'linear' or 'table'"
            )


class TabPFN(nn.Module):
    """The network; its two graphs are ``encode_context`` and ``query``."""

    def __init__(self, config: TabPFNConfig) -> None:
        super().__init__()
        c = self.config = config
        self.shared = c.shared or c.heads
        self.embed_row = nn.Linear(c.features, c.width)
        self.embed_class: nn.Module = (
            nn.Embedding(c.classes, c.width) if c.labels == "table" else nn.Linear(1, c.width)
        )
        self.blocks = nn.ModuleList(
            EncoderBlock(c.width, c.heads, c.mlp, norm_first=c.norm_first) for _ in range(c.layers)
        )
        self.final_norm = nn.LayerNorm(c.width) if c.norm_first else nn.Identity()
        self.head_in = nn.Linear(c.width, c.mlp)
        self.head_out = nn.Linear(c.mlp, c.classes)

    def encode_context(self, x: Tensor, y: Tensor, n: Tensor | None) -> tuple[Tensor, ...]:
        """Keys and values of the training rows, which is what test rows need of them.

        Args:
            x: [B, N, F] features as the pipeline makes them, F at most ``features``.
            y: [B, N] integers, the class of each row; anything after n.
            n: [B] integers, 1..N, how many rows are real; None: all.

        Returns:
            k0, v0, k1, v1, ... [B, K, N, D].
        """
        h = self._rows(x) + self._classes(y)
        kept: list[Tensor] = []
        *before, last = cast("Iterable[EncoderBlock]", self.blocks)
        for block in before:
            q, k, v = block.project(h)
            k, v = k.contiguous(), v.contiguous()  # as the state has them; products read both so
            kept += self._read(k, v)
            h = block.finish(h, context_attention(q, k, v, n, fresh=True))
        kept += self._read(*last.keys_values(h))  # nobody sees what training rows become after it
        return tuple(kept)

    def query(self, x: Tensor, n: Tensor | None, *state: Tensor) -> Tensor:
        """Class logits of test rows.

        Args:
            x: [B, M, F] features.
            n: [B] integers, how many training rows are real; None: all.
            state: what ``encode_context`` gave.

        Returns:
            [B, M, C]; a row depends on nothing but itself and the training rows.
        """
        h = self._rows(x)
        for block, k, v in zip(
            cast("Iterable[EncoderBlock]", self.blocks), state[::2], state[1::2], strict=True
        ):
            h = block.finish(h, context_attention(block.queries(h), k, v, n))
        logits: Tensor = self.head_out(gelu(self.head_in(self.final_norm(h))))
        return logits

    def _read(self, k: Tensor, v: Tensor) -> list[Tensor]:
        """Of all heads' keys and values, those that test rows read."""
        return [each[:, : self.shared].contiguous() for each in (k, v)]

    def _rows(self, x: Tensor) -> Tensor:
        return linear(x, self.embed_row.weight[:, : x.shape[-1]], self.embed_row.bias)

    def _classes(self, y: Tensor) -> Tensor:
        given = y if self.config.labels == "table" else y.to(self.embed_row.weight.dtype)[..., None]
        embedded: Tensor = self.embed_class(given)
        return embedded
