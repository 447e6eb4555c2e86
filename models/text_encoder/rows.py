"""Rows of tokens as one list of tokens: padded for exported graphs and CPUs, packed on GPUs.

Everything but attention and pooling works on one token at a time, so blocks take a list [N, W].
What they need to know of rows is here: which tokens see each other, and which make up a vector.

Letters: B rows, T tokens of a row (padded), N tokens of the list, W width, H heads of queries, K
heads of keys and values, D head width.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from foretoken.models.layers.gqa import attend

__all__ = ["Packed", "Padded", "Rows", "rows_of"]

# Up to so many tokens of a list, multiples of so many: oneDNN compiles a kernel for each length
# that it meets, which takes as long as all products of a small batch.
STEPS = ((64, 16), (1024, 64), (math.inf, 256))
SHUT = -1e9  # added to scores of later tokens: their share is 0
# Added to scores of padding. It repeats its row's first token (see ``Padded``), so its share is
# that token's times e^-30, and what it adds to the row vanishes in float32. With less, CPUs would
# compute the softmax through denormal numbers, in four times the time.
FAINT = -30.0


class Rows(Protocol):
    """How the tokens of a batch lie in one list."""

    def listed(self, x: Tensor) -> Tensor:
        """What is known of each token of each row, [B, T], as a list [N]."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries [N, H, D], keys and values [N, K, D] -> what each token sees, [N, H, D]."""

    def mean(self, h: Tensor) -> Tensor:
        """[N, W] -> means over the tokens of each row, [B, W]; zeros for rows without any."""

    def at(self, h: Tensor, index: Tensor) -> Tensor:
        """[N, W] -> the token of each row at ``index`` [B], [B, W]."""


class Padded:
    """All rows as long as the longest: N = T · B, the first token of each row, then the second, ...

    In this order heads of all rows are matrices as they lie, and attention copies none of them. But
    in exported graphs some tokens may follow that belong to no row (see ``STEPS``).
    Unless it is causal, padding repeats the first token of its row, place and all: then it has that
    token's keys and values in every layer.

    Args:
        length: [B] integers, how many tokens of each row are real.
        T: tokens of a row.
        causal: whether a token sees none after itself.
    """

    def __init__(self, length: Tensor, T: int, *, causal: bool) -> None:
        self._shape = (T, length.shape[0])
        self._count = T * length.shape[0]
        self._spare = 0 if torch.onnx.is_in_onnx_export() else _spare(self._count)
        self._length = length
        place = torch.arange(T, device=length.device)
        self._real = place < length[:, None]  # [B, T]
        zeros = torch.zeros(self._real.shape, device=length.device)
        self._bias = zeros.masked_fill(~self._real, FAINT)[:, None, None, :]
        if causal:
            self._bias = torch.zeros(T, T, device=length.device).masked_fill(
                place > place[:, None], SHUT
            )[None, None]

    def listed(self, x: Tensor) -> Tensor:
        """See ``Rows.listed``."""
        listed = torch.where(self._real, x, x[:, :1]).t().flatten(0, 1)
        return pad(listed, (0, self._spare)) if self._spare else listed

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See ``Rows.attend``."""
        q, k, v = self._by_head(q, v.dtype), self._by_head(k, v.dtype), self._by_head(v, v.dtype)
        bias = self._bias.to(v.dtype)
        if torch.onnx.is_in_onnx_export():
            return attend(q, k, v, bias).permute(2, 0, 1, 3).flatten(0, 1)
        seen = scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=True)
        out = seen.new_zeros(self._count + self._spare, *q.shape[1::2])
        out[: self._count].view(*self._shape, *q.shape[1::2]).copy_(seen.permute(2, 0, 1, 3))
        return out

    def mean(self, h: Tensor) -> Tensor:
        """See ``Rows.mean``."""
        share = self._real / self._length.clamp(min=1)[:, None]
        # No matrix product: autocast would round it.
        weighted: Tensor = share.t()[:, :, None] * self._of_rows(h)
        return weighted.sum(0)

    def at(self, h: Tensor, index: Tensor) -> Tensor:
        """See ``Rows.at``."""
        B = self._shape[1]
        return h[torch.arange(B, device=h.device) + index * B]

    def _by_head(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """[N, H, D] -> [B, H, T, D], a view but for the dtype."""
        return self._of_rows(x).permute(1, 2, 0, 3).to(dtype)

    def _of_rows(self, x: Tensor) -> Tensor:
        """[N, ...] -> [T, B, ...]."""
        own = x[: self._count] if self._spare else x
        return own.view(*self._shape, *x.shape[1:])


class Packed:
    """Real tokens only, row after row; attention is block-diagonal and computes no padding.

    Args:
        length: [B] integers, how many tokens of each row are real.
        T: tokens of a row.
        causal: whether a token sees none after itself.
    """

    def __init__(self, length: Tensor, T: int, *, causal: bool) -> None:
        B = length.shape[0]
        self._padded = Padded(length, T, causal=causal)
        self._length, self._longest, self._causal = length, T, causal
        self._ends = pad(length.cumsum(0), (1, 0))  # [B + 1], where rows begin in the list
        place = torch.arange(T, device=length.device)
        real = place < length[:, None]  # [B, T]
        self._row, self._place = real.nonzero(as_tuple=True)  # [N] each
        # Where ``Padded`` has each token, and which token stands in each of its places.
        self._spots = self._place * B + self._row
        sources = self._ends[:-1, None] + torch.where(real, place, 0)
        self._sources = sources.t().flatten().clamp(max=max(len(self._row) - 1, 0))

    def listed(self, x: Tensor) -> Tensor:
        """See ``Rows.listed``."""
        return x[self._row, self._place]

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See ``Rows.attend``; in 16 bits on a GPU one kernel, else padded for the while."""
        if not len(q):
            return q
        fused = q.is_cuda and v.dtype != torch.float32 and v.shape[-1] % 8 == 0
        if self._causal or not fused:
            padded = (x[self._sources] for x in (q, k, v))
            return self._padded.attend(*padded)[self._spots]
        return _varlen(q.to(v.dtype), k.to(v.dtype), v, self._ends.to(torch.int32), self._longest)

    def mean(self, h: Tensor) -> Tensor:
        """See ``Rows.mean``."""
        sums = torch.zeros(len(self._length), h.shape[-1], device=h.device)
        sums.index_add_(0, self._row, h.float())
        return sums / self._length.clamp(min=1)[:, None]

    def at(self, h: Tensor, index: Tensor) -> Tensor:
        """See ``Rows.at``."""
        if not len(h):
            return h.new_zeros(len(index), h.shape[-1])
        return h[(self._ends[:-1] + index).clamp(max=len(h) - 1)]


def _spare(tokens: int) -> int:
    """Tokens that are missing to the next length of ``STEPS``."""
    step = next(step for most, step in STEPS if tokens <= most)
    return -tokens % step


def rows_of(length: Tensor, T: int, *, causal: bool) -> Rows:
    """The way that is the faster one where ``length`` lies."""
    kind = Packed if length.is_cuda else Padded
    return kind(length, T, causal=causal)


def _varlen(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, longest: int) -> Tensor:
    """Block-diagonal attention of torch's flash kernels; rows end at ``ends``, int32 [B + 1]."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  (GPUs only)

    if (group := q.shape[1] // k.shape[1]) > 1:
        k, v = (x.repeat_interleave(group, dim=1) for x in (k, v))
    made = varlen_attn(q, k, v, ends, ends, longest, longest)
    assert isinstance(made, Tensor)  # nothing beside it was asked for
    return made
