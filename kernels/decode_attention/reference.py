"""Attention to keys and values that lie in blocks, in plain torch: any dtype, float64 for tests.

Letters: P blocks, s tokens of a block, K heads of keys and values, D head width, H heads of
queries, G = H / K of them to a head of keys, B rows, T queries of a row, M blocks of the longest
row, S = M·s.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["decode_attention"]


def decode_attention(
    q: Tensor, keys: Tensor, values: Tensor, tables: Tensor, seen: Tensor
) -> Tensor:
    """What the last T tokens of each row see of all its tokens up to themselves.

    Args:
        q: [B, T, H, D], not scaled; head h reads head h // G of keys.
        keys: [P, s, K, D]; those of the last T tokens are there, too.
        values: [P, s, K, D].
        tables: integers [B, M], each row's blocks in order, filled up with any block.
        seen: integers [B], tokens of each row, at least T. What lies after them in blocks may be
            anything, NaN too.

    Returns:
        [B, T, H, D], in the dtype of ``values``.
    """
    B, T, S = len(q), q.shape[1], tables.shape[1] * keys.shape[1]
    place = torch.arange(S, device=q.device)
    # What lies beyond a row's end is whatever its last block held, which may be no number.
    ends = (place >= seen[:, None]).nonzero(as_tuple=True)
    blocks = tables.flatten().long()
    k, v = (each.index_select(0, blocks).view(B, S, *each.shape[2:]) for each in (keys, values))
    k[ends] = 0.0
    v[ends] = 0.0
    last = seen[:, None] - T + torch.arange(T, device=q.device)  # that each query sees: [B, T]
    bias = torch.zeros(B, T, S, dtype=v.dtype, device=q.device)
    bias.masked_fill_(place > last[:, :, None], -torch.inf)
    q, k, v = (each.to(v.dtype).transpose(1, 2) for each in (q, k, v))  # [B, H or K, T or S, D]
    grouped = q.shape[1] != k.shape[1]
    made = scaled_dot_product_attention(q, k, v, bias[:, None], enable_gqa=grouped)
    return made.transpose(1, 2)
