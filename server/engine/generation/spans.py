"""Where a batch's tokens stand: what is the same at every layer that it runs in this company.

Letters: N tokens of a batch, B rows of a group, T tokens of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foretoken.models.contract import Array
from foretoken.server.engine.generation.decoding import Decoding

__all__ = ["Group", "Spans"]


@dataclass(frozen=True)
class Group:
    """Rows of one length.

    Args:
        members: of the batch, B of them.
        count: T.
        scored: that they keep nothing.
        which: of the batch's tokens, int64 [B, T]; None: all of them, in order.
        seen: tokens of each row, its own included, int64 [B].
        blocks: of the row that has most.
    """

    members: Sequence[Decoding]
    count: int
    scored: bool
    which: Tensor | None
    seen: Tensor
    blocks: int


class Spans:
    """A batch's tokens: rows of equal length go together, all that decode in one group.

    Args:
        batch: whose passes stand one after another.
        size: tokens of a block.
        device: where tensors are made.
    """

    def __init__(self, batch: Sequence[Decoding], size: int, device: torch.device) -> None:
        self._batch = [(one, one.begin, one.end) for one in batch]
        self.counts = [one.count for one in batch]
        spans = [np.arange(one.begin, one.end) for one in batch]
        self.positions = _moved(spans, device)  # int64 [N]
        # Tokens that are kept, and their place in a block; None: all are.
        kept = [np.full(one.count, not one.work.scored) for one in batch]
        self.kept = None
        if any(one.work.scored for one in batch):
            self.kept = torch.from_numpy(np.flatnonzero(np.concatenate(kept))).to(device)
        first = np.cumsum([0, *self.counts])
        rows: dict[tuple[int, bool], list[int]] = {}
        for i, one in enumerate(batch):
            rows.setdefault((one.count, one.work.scored), []).append(i)
        self.groups = [
            self._group([batch[i] for i in those], T, scored, first[those], size, device)
            for (T, scored), those in rows.items()
        ]

    def of(self, batch: Sequence[Decoding]) -> bool:
        """Whether these are the spans of that batch, as it stands now."""
        return len(batch) == len(self._batch) and all(
            one is known and one.begin == begin and one.end == end
            for one, (known, begin, end) in zip(batch, self._batch, strict=True)
        )

    def _group(
        self,
        members: Sequence[Decoding],
        T: int,
        scored: bool,
        first: Array,
        size: int,
        device: torch.device,
    ) -> Group:
        which = None
        if len(members) < len(self._batch):
            which = torch.from_numpy(first[:, None] + np.arange(T)).to(device)
        ends = [one.end for one in members]
        return Group(
            members, T, scored, which, torch.tensor(ends, device=device), -(-max(ends) // size)
        )


def _moved(
    parts: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]], device: torch.device
) -> Tensor:
    whole = np.concatenate(parts) if parts else np.empty(0, np.int64)
    return torch.from_numpy(whole).to(device)
