"""The networks that are tried against each other for the bundled table classifier.

All take raw tables and give the logits of their test rows, so that a trial can treat them alike.

Letters: B tables, N training rows, R rows (training rows first), F columns, E encoded columns,
W width, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from foretoken.models.layers.encoder import EncoderBlock
from foretoken.models.tabpfn.encoding import CLASSES, COLUMNS, SCORES
from foretoken.models.tabpfn.forests import forest_scores
from foretoken.models.tabpfn.model import TabPFN, TabPFNConfig
from foretoken.models.tabpfn.views import View, encode, see

__all__ = ["ARMS", "Arm"]

TREES = 24  # of the forest: a processor has minutes
Prepare = Callable[[Tensor, Tensor, Tensor, int, View, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Arm:
    """A network, and how tables are shown to it: (x, y, categorical, N, view) -> (x, y)."""

    summary: str
    network: Callable[[], nn.Module]
    prepare: Prepare


class Rows(nn.Module):
    """A row is a token: ``TabPFN`` itself."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.network = TabPFN(TabPFNConfig(256, 6, 4, 512, features=features, shared=1))

    def forward(self, x: Tensor, y: Tensor, N: int) -> Tensor:
        n = torch.full((len(x),), N)
        state = self.network.encode_context(x[:, :N], y[:, :N], n)
        return self.network.query(x[:, N:], n, *state)


class Cells(nn.Module):
    """A cell is a token: attention along rows of the table and along its columns, in turn.

    The label is a column of its own (Hollmann et al. 2025; Pfefferle et al. 2025).
    """

    def __init__(self, width: int = 96, heads: int = 4, layers: int = 3) -> None:
        super().__init__()
        self.embed_cell = nn.Linear(1, width)
        self.embed_class = nn.Embedding(CLASSES + 1, width)  # the last is a test row's
        self.across = _blocks(width, heads, layers)
        self.down = _blocks(width, heads, layers)
        self.head = _head(width)

    def forward(self, x: Tensor, y: Tensor, N: int) -> Tensor:
        B, R, F = x.shape
        label = self.embed_class(y.clone().index_fill_(1, torch.arange(N, R), CLASSES))
        h = torch.cat([_scalar(self.embed_cell, x), label[:, :, None]], 2)  # [B, R, F + 1, W]
        W = h.shape[-1]
        for across, down in zip(self.across, self.down, strict=True):
            h = _attend(across, h.reshape(B * R, F + 1, W)).view(B, R, F + 1, W)
            columns = h.transpose(1, 2).reshape(B * (F + 1), R, W)
            h = _attend(down, columns, N).view(B, F + 1, R, W).transpose(1, 2)
        out: Tensor = self.head(h[:, N:, -1])
        return out


class ColumnsThenRows(nn.Module):
    """Attention over a row's cells makes its token; then rows see rows (Qu et al. 2025)."""

    def __init__(self, cell: int = 64, heads: int = 4, tokens: int = 4) -> None:
        super().__init__()
        self.embed_cell = nn.Linear(1, cell)
        self.place = nn.Embedding(COLUMNS, cell)
        self.summary = nn.Parameter(torch.randn(tokens, cell) * 0.02)
        self.across = _blocks(cell, heads, 2)
        self.embed_class = nn.Embedding(CLASSES, tokens * cell)
        self.rows = _blocks(tokens * cell, heads, 5)
        self.head = _head(tokens * cell)

    def forward(self, x: Tensor, y: Tensor, N: int) -> Tensor:
        B, R, F = x.shape
        cells = _scalar(self.embed_cell, x) + self.place.weight[:F]
        K = len(self.summary)
        h = torch.cat([self.summary.expand(B, R, -1, -1), cells], 2).view(B * R, K + F, -1)
        for block in self.across:
            h = _attend(block, h)
        h = h[:, :K].reshape(B, R, -1)
        h = h + pad(self.embed_class(y[:, :N]), (0, 0, 0, R - N))
        for block in self.rows:
            h = _attend(block, h, N)
        out: Tensor = self.head(h[:, N:])
        return out


def _blocks(width: int, heads: int, layers: int) -> nn.ModuleList:
    return nn.ModuleList(
        EncoderBlock(width, heads, 2 * width, norm_first=True) for _ in range(layers)
    )


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, CLASSES)
    )


def _scalar(linear: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = linear(x[..., None])
    return gelu(out)


def _attend(block: nn.Module, h: Tensor, N: int | None = None) -> Tensor:
    """All tokens see the first N, or all."""
    assert isinstance(block, EncoderBlock)
    q, k, v = block.project(h)
    p = torch.softmax(q @ k[:, :, :N].transpose(-1, -2), -1).to(v.dtype)
    return block.finish(h, p @ v[:, :, :N])


def _plain(
    x: Tensor, y: Tensor, categorical: Tensor, N: int, view: View, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Standardised columns in random order, codes as numbers; classes renamed at random."""
    B, _, F = x.shape
    kept = min(F, COLUMNS)
    order = torch.rand(B, F, generator=generator).argsort(1)[:, None, :kept]
    shown = encode(x, categorical, N, View(view.gauss, indicators=False))
    values = shown[:, :, :F].gather(2, order.expand(-1, x.shape[1], -1))
    C = y.amax(1, keepdim=True) + 1
    return values, (y + view.shift) % C


def _scaled(*given: object) -> tuple[Tensor, Tensor]:
    values, labels = _plain(*given)  # type: ignore[arg-type]
    return values * (COLUMNS / values.shape[-1]) ** 0.5, labels


def _seen(
    x: Tensor, y: Tensor, categorical: Tensor, N: int, view: View, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    def chance(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    forest = forest_scores(x, categorical, y[:, :N], CLASSES, chance, TREES)
    return see(x, y, categorical, N, view, forest)


def _scored(kinds: int) -> Prepare:
    """Columns with the first so many kinds of scores, and no forest."""

    def prepare(
        x: Tensor, y: Tensor, categorical: Tensor, N: int, view: View, _: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        none = torch.zeros(*y.shape, CLASSES)
        values, labels = see(x, y, categorical, N, view, none)
        return torch.cat([values[..., : kinds * CLASSES], values[..., SCORES:]], -1), labels

    return prepare


ARMS = {
    "rows": Arm("rows as v1 shows them: columns in random order", lambda: Rows(COLUMNS), _scaled),
    "cells": Arm("attention over cells, along rows and columns", Cells, _plain),
    "columns-rows": Arm("columns into rows, then over rows", ColumnsThenRows, _scored(0)),
    "ordered": Arm("rows, best columns first", lambda: Rows(COLUMNS), _scored(0)),
    "ridge": Arm(
        "rows, best columns first, ridge scores", lambda: Rows(COLUMNS + CLASSES), _scored(1)
    ),
    "kernel": Arm(
        "rows, best columns first, ridge and kernel scores",
        lambda: Rows(COLUMNS + 2 * CLASSES),
        _scored(2),
    ),
    "forest": Arm(
        "rows, best columns first, ridge, kernel and forest scores",
        lambda: Rows(COLUMNS + SCORES),
        _seen,
    ),
}
