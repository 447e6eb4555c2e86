"""Keys and values of all requests in blocks of one size, whatever the position of the chain.

Letters: P blocks, s tokens of a block, K heads of keys and values, D head width, N tokens of a
batch, H heads of queries.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from foretoken.kernels.decode_attention import decode_attention
from foretoken.kernels.rope import rotate, rotate_into_
from foretoken.models.generation import Keeping
from foretoken.models.layers.gqa import causal
from foretoken.server.engine.generation.blocks import SPARE
from foretoken.server.engine.generation.decoding import Decoding
from foretoken.server.engine.generation.spans import Group, Spans

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

    def view(self, batch: Sequence[Decoding], spans: Spans) -> View:
        """The pool as a layer sees it for a batch, each at the position of its chain."""
        return View(self, batch, spans)


class View(Keeping):
    """Keeps a batch's new keys and values, and lets its tokens see all of theirs.

    Args:
        pool: where they lie.
        batch: whose they are; tokens of their passes stand one request after another.
        spans: of the batch.
    """

    def __init__(self, pool: Pool, batch: Sequence[Decoding], spans: Spans) -> None:
        self._pool, self._spans = pool, spans
        kept = [one for one in batch if not one.work.scored]
        places = [place for one in kept for place in _places(one, pool.size)]
        self._places = torch.tensor(places, dtype=torch.int64, device=pool.device)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries [N, H, D], keys and values [N, K, D] -> what each query saw, [N, H, D]."""
        pool, kept = self._pool, self._spans.kept
        for new, there in ((k, pool.keys), (v, pool.values)):
            own = new if kept is None else new[kept]
            there.flatten(0, 1).index_copy_(0, self._places, own.to(there.dtype))
        return self._all(q, k, v)

    def unturned(self, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """See ``Keeping.unturned``."""
        pool = self._pool
        if self._spans.kept is not None:  # some are read from here, and not from the pool
            return self(*rotate(q, k, cos, sin), v)
        q = rotate_into_(q, k, v, cos, sin, pool.keys, pool.values, self._places)
        return self._all(q, k, v)

    def _all(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        pool, spans = self._pool, self._spans
        if len(spans.groups) == 1:
            group = spans.groups[0]
            B, T = len(group.members), group.count
            rows = (each.view(B, T, *each.shape[1:]) for each in (q, k, v))
            return self._seen(group, *rows).flatten(0, 1)
        out = torch.empty(q.shape, dtype=pool.values.dtype, device=q.device)
        for group in spans.groups:
            out[group.which] = self._seen(group, q[group.which], k[group.which], v[group.which])
        return out

    def _seen(self, group: Group, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, T, H, D], [B, T, K, D] twice -> [B, T, H, D]."""
        pool = self._pool
        if group.scored:
            return causal(q, k, v.to(pool.values.dtype))
        tables = np.full((len(group.members), group.blocks), SPARE)
        for row, one in zip(tables, group.members, strict=True):
            own = one.tables[one.at][: group.blocks]
            row[: len(own)] = own
        where = torch.from_numpy(tables).to(pool.device)
        return decode_attention(q, pool.keys, pool.values, where, group.seen)


def _places(one: Decoding, size: int) -> list[int]:
    """Where the pass's tokens go in the pool seen as one list; those of others' blocks nowhere."""
    table, shared = one.tables[one.at], one.shared[one.at]
    return [
        (table[t // size] if t // size >= shared else SPARE) * size + t % size
        for t in range(one.begin, one.end)
    ]
