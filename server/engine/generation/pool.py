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
from foretoken.kernels.rope import rotate_into_
from foretoken.models.generation import Keeping
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


class View(Keeping):
    """Keeps a batch's new keys and values, and lets its tokens see all of theirs.

    Args:
        pool: where they lie.
        batch: whose they are; tokens of their passes stand one request after another.
    """

    def __init__(self, pool: Pool, batch: Sequence[Decoding]) -> None:
        self._pool = pool
        places = np.concatenate([_places(one, pool.size) for one in batch])
        self._places = torch.from_numpy(places).to(pool.device)
        # Rows of equal length go together: one group of all that decode, one of each longer pass.
        self._groups: list[tuple[Tensor, Tensor, Tensor]] = []
        rows: dict[int, list[tuple[int, Decoding]]] = {}
        at = 0
        for one in batch:
            rows.setdefault(one.count, []).append((at, one))
            at += one.count
        for T, those in rows.items():
            tables = [one.tables[one.at][: -(-one.end // pool.size)] for _, one in those]
            longest = max(map(len, tables))
            filled = np.array([t + [SPARE] * (longest - len(t)) for t in tables], np.int64)
            first = np.array([at for at, _ in those], np.int64)
            which = torch.from_numpy(first[:, None] + np.arange(T))
            seen = torch.tensor([one.end for _, one in those])
            self._groups.append(
                (
                    which.to(pool.device),
                    torch.from_numpy(filled).to(pool.device),
                    seen.to(pool.device),
                )
            )

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries [N, H, D], keys and values [N, K, D] -> what each query saw, [N, H, D]."""
        pool = self._pool
        for new, kept in ((k, pool.keys), (v, pool.values)):
            kept.flatten(0, 1).index_copy_(0, self._places, new.to(kept.dtype))
        return self._seen(q)

    def turned(self, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """See ``Keeping.turned``."""
        pool = self._pool
        return self._seen(rotate_into_(q, k, v, cos, sin, pool.keys, pool.values, self._places))

    def _seen(self, q: Tensor) -> Tensor:
        pool = self._pool
        out = torch.empty(q.shape, dtype=pool.values.dtype, device=q.device)
        for which, tables, seen in self._groups:
            out[which] = decode_attention(q[which], pool.keys, pool.values, tables, seen)
        return out


def _places(one: Decoding, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where the pass's tokens go in the pool seen as one list; those of others' blocks nowhere."""
    tokens = np.arange(one.begin, one.end)
    blocks = np.array(one.tables[one.at], np.int64)[tokens // size]
    own = tokens // size >= one.shared[one.at]
    return np.where(own, blocks, SPARE) * size + tokens % size
