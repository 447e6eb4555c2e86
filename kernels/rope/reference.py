"""Rotary position embedding in plain torch: any dtype, float64 for tests.

Su et al. 2021, with the pairs of Llama. Letters: N tokens, H heads of queries, K heads of keys and
values, D head width, P blocks of a pool, s tokens of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rotate", "rotate_into_"]


def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Turn heads by the angles of their positions; pairs are i and i + D / 2.

    Args:
        q: [..., N, H, D].
        k: [..., N, K, D].
        cos: cosines of each token's D / 2 angles, [N, D / 2].
        sin: their sines.

    Returns:
        Both, turned, in the dtype that torch gives products with ``cos``.
    """
    return _turned(q, cos, sin), _turned(k, cos, sin)


def rotate_into_(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    places: Tensor,
) -> Tensor:
    """Turn queries, and keep keys, turned, and values in a pool, in place.

    Args:
        q: [N, H, D].
        k: [N, K, D].
        v: [N, K, D].
        cos: [N, D / 2].
        sin: [N, D / 2].
        keys: [P, s, K, D], whose first two axes are one list of tokens.
        values: [P, s, K, D], likewise.
        places: int64 [N], of each token in that list. A place that several have may hold anything
            afterwards.

    Returns:
        q, turned, [N, H, D] in the dtype of ``values``.
    """
    turned, k = rotate(q, k, cos, sin)
    for new, kept in ((k, keys), (v, values)):
        kept.view(-1, *kept.shape[2:]).index_copy_(0, places, new.to(kept.dtype))
    return turned.to(values.dtype)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[:, None, :], sin[:, None, :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
