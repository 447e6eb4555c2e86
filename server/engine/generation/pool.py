"""Keys and values of all requests in blocks of one size, whatever the position of the chain.

Letters: P blocks, s tokens of a block, K heads of keys and values, D head width, N tokens of a
batch, H heads of queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foretoken.models.layers.gqa import causal
from foretoken.server.engine.generation.attention import paged_attention
from foretoken.server.engine.generation.blocks import SPARE
from foretoken.server.engine.generation.decoding import Decoding

__all__ = ["Pool", "View"]


class Pool:
    """The blocks' contents.

    Args:
        count: of blocks, beside the spare one.
        size: tokens of a block.
        kv_heads: K.
        head_width: D.
        dtype: of keys and values.
        device: where they lie.
    """

    def __init__(
        self,
        count: int,
        size: int,
        kv_heads: int,
        head_width: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (count + 1, size, kv_heads, head_width)
        self.size = size
        self.device = torch.device(device)
        # Memory that is not written yet may hold anything: reading it is the reader's mistake.
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)

    @staticmethod
    def nbytes(size: int, kv_heads: int, head_width: int, dtype: torch.dtype) -> int:
        """Bytes of one block."""
        return 2 * size * kv_heads * head_width * dtype.itemsize

    def view(self, batch: Sequence[Decoding]) -> View:
        """The pool as a layer sees it for a batch, each at the position of its chain."""
        return View(self, batch)


# Tokens of rows, [B, T]; tables [B, M] and tokens seen [B], or None of rows that keep nothing.
_Group = tuple[Tensor, tuple[Tensor, Tensor] | None]


class View:
    """Keeps a batch's new keys and values, and lets its tokens see all of theirs.

    Args:
        pool: where they lie.
        batch: whose they are; tokens of their passes stand one request after another.
    """

    def __init__(self, pool: Pool, batch: Sequence[Decoding]) -> None:
        self._pool = pool
        # Rows of equal length go together: one group of all that decode, one of each longer pass.
        rows: dict[tuple[int, bool], list[tuple[int, Decoding]]] = {}
        kept, places, at = [], [], 0
        for one in batch:
            rows.setdefault((one.count, one.work.scored), []).append((at, one))
            if not one.work.scored:
                kept.append(np.arange(at, at + one.count))
                places.append(_places(one, pool.size))
            at += one.count
        self._kept = self._moved(kept) if len(kept) < len(batch) else None
        self._places = self._moved(places)
        self._groups = [self._group(T, scored, those) for (T, scored), those in rows.items()]

    def _group(self, T: int, scored: bool, those: Sequence[tuple[int, Decoding]]) -> _Group:
        size = self._pool.size
        first = np.array([at for at, _ in those], np.int64)
        which = self._moved([first[:, None] + np.arange(T)])
        if scored:
            return which, None
        tables = [one.tables[one.at][: -(-one.end // size)] for _, one in those]
        longest = max(map(len, tables))
        filled = np.array([t + [SPARE] * (longest - len(t)) for t in tables], np.int64)
        seen = np.array([one.end for _, one in those], np.int64)
        return which, (self._moved([filled]), self._moved([seen]))

    def _moved(self, parts: Sequence[np.ndarray[Any, np.dtype[np.int64]]]) -> Tensor:
        whole = np.concatenate(parts) if parts else np.empty(0, np.int64)
        return torch.from_numpy(whole).to(self._pool.device)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries [N, H, D], keys and values [N, K, D] -> what each query saw, [N, H, D]."""
        pool = self._pool
        for new, there in ((k, pool.keys), (v, pool.values)):
            own = new if self._kept is None else new[self._kept]
            there.flatten(0, 1).index_copy_(0, self._places, own.to(there.dtype))
        out = torch.empty(q.shape, dtype=pool.values.dtype, device=q.device)
        for which, paged in self._groups:
            if paged is None:
                out[which] = causal(q[which], k[which], v[which].to(out.dtype))
            else:
                out[which] = paged_attention(q[which], pool.keys, pool.values, *paged)
        return out


def _places(one: Decoding, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where the pass's tokens go in the pool seen as one list; those of others' blocks nowhere."""
    tokens = np.arange(one.begin, one.end)
    blocks = np.array(one.tables[one.at], np.int64)[tokens // size]
    own = tokens // size >= one.shared[one.at]
    return np.where(own, blocks, SPARE) * size + tokens % size
