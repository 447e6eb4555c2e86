"""Fits a table of tokens to a teacher's vectors of texts: cosine of the sum of a text's rows.

Letters: V tokens, N texts, M tokens of all texts together, E width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, embedding_bag

__all__ = ["fitted"]

EPOCHS, BATCH, RATE = 2, 512, 2e-3  # the rate falls to 0 in a straight line


def fitted(
    start: Tensor,
    weights: Tensor,
    texts: tuple[Tensor, Tensor],
    wanted: Tensor,
    *,
    seed: int = 0,
    tell: Callable[[float, float], None] = lambda *_: None,
) -> Tensor:
    """A table float32 [V, E] that brings sums of rows near to the teacher's vectors.

    Args:
        start: float32 [V, E] to begin with.
        weights: float32 [V] by which rows are multiplied before they are added; they stay.
        texts: tokens int64 [M] of all texts, and how many of them each has, int64 [N], all > 0.
        wanted: float32 [N, E], the teacher's vectors of the texts.
        seed: of the order in which texts are seen.
        tell: is told the fraction done in [0, 1] and the mean cosine of the last batch.
    """
    ids, lengths = texts
    first = lengths.cumsum(0) - lengths
    table = start.clone().requires_grad_()
    optimizer = torch.optim.SparseAdam([table], lr=RATE)
    generator = torch.Generator().manual_seed(seed)
    steps = EPOCHS * -(-len(lengths) // BATCH)
    step = 0
    for _ in range(EPOCHS):
        for few in torch.split(torch.randperm(len(lengths), generator=generator), BATCH):
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
            mine = lengths[few]
            offsets = mine.cumsum(0) - mine
            moved = (first[few] - offsets).repeat_interleave(mine)
            read = ids[torch.arange(len(moved)) + moved]
            made = embedding_bag(
                read, table, offsets, mode="sum", sparse=True, per_sample_weights=weights[read]
            )
            cosine = cosine_similarity(made, wanted[few]).mean()
            optimizer.zero_grad()
            (1 - cosine).backward()  # type: ignore[no-untyped-call]
            optimizer.step()  # type: ignore[no-untyped-call]
            step += 1
            tell(step / steps, float(cosine.detach()))
    return table.detach()
