"""Merging calls on one graph into padded batches, and taking the answers apart again.

Letters: B rows, other letters as the graph declares them. All of it is pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Arrays, Tensor

BATCH = "B"
WASTE = 0.1  # of a batch's tokens may be padding,
SLACK = 64  # or so many: less than another call of a runtime costs
PATIENCE = 16  # calls that do not fit, until the search for company is given up
Sizes = Mapping[str, int]  # letter -> length


def sizes(tensors: Sequence[Tensor], arrays: Arrays) -> dict[str, int]:
    """Length of each letter of ``tensors`` in one call's ``arrays``.

    Raises:
        InvalidInput: if an array is missing, or its dtype or shape is not what was declared.
    """
    found: dict[str, int] = {}
    for tensor in tensors:
        array = arrays.get(tensor.name)
        if array is None:
            raise InvalidInput(f"tensor {tensor.name!r} is missing; given are {sorted(arrays)}")
        fits = array.ndim == len(tensor.dims) and array.dtype == tensor.dtype
        for dim, length in zip(tensor.dims, array.shape, strict=False):
            fits &= (found.setdefault(dim, length) if isinstance(dim, str) else dim) == length
        if not fits:
            raise InvalidInput(
                f"tensor {tensor.name!r} must be {tensor.dtype} {list(tensor.dims)}, "
                f"not {array.dtype} {list(array.shape)} (letters so far: {found})"
            )
    return found


class Extent(NamedTuple):
    """How large a call is: its rows, and its lengths other than the batch, in declared order."""

    rows: int
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, call: Sizes) -> Extent:
        """That of a call with these sizes."""
        lengths = dict(call)
        return cls(lengths.pop(BATCH, 1), tuple(lengths.values()))

    @property
    def tokens(self) -> int:
        """Cost: for each row the sum of its lengths, at least one."""
        return self.rows * (sum(self.lengths) or 1)

    def with_(self, other: Extent) -> Extent:
        """That of a batch of both: rows add up, other lengths are the longest."""
        longest = tuple(map(max, self.lengths, other.lengths))
        return Extent(self.rows + other.rows, longest)


def company(first: Extent, others: Sequence[Extent], budget: int) -> list[int]:
    """Which of ``others``, by index, are to share a batch with ``first``.

    Those most alike are taken first, while the batch keeps within ``budget`` tokens after padding
    and within the padding that is worth it: a tenth of the batch, or ``SLACK`` tokens.
    """
    taken: list[int] = []
    batch, real, refused = first, first.tokens, 0
    for i in sorted(range(len(others)), key=lambda i: _distance(first, others[i])):
        wider = batch.with_(others[i])
        tokens, needed = wider.tokens, real + others[i].tokens
        if tokens > budget or tokens - needed > max(SLACK, WASTE * tokens):
            refused += 1
            if refused == PATIENCE:
                break
            continue
        taken.append(i)
        batch, real = wider, needed
    return taken


def _distance(one: Extent, other: Extent) -> int:
    if one.lengths == other.lengths:
        return 0
    return sum(abs(a - b) for a, b in zip(one.lengths, other.lengths, strict=True))


def merge(tensors: Sequence[Tensor], calls: Sequence[Arrays], shapes: Sequence[Sizes]) -> Arrays:
    """Stack calls along the batch axis, padding lettered axes to the longest."""
    if len(calls) == 1:
        return calls[0]
    longest = {letter: max(s[letter] for s in shapes) for letter in shapes[0]}
    rows = sum(s[BATCH] for s in shapes)
    merged = {}
    for tensor in tensors:
        dims = [longest[d] if isinstance(d, str) else d for d in tensor.dims]
        out = np.full([rows, *dims[1:]], tensor.pad, dtype=tensor.dtype)
        start = 0
        for call in calls:
            part = call[tensor.name]
            out[(slice(start, start + len(part)), *map(slice, part.shape[1:]))] = part
            start += len(part)
        merged[tensor.name] = out
    return merged


def split(tensors: Sequence[Tensor], merged: Arrays, shapes: Sequence[Sizes]) -> list[Arrays]:
    """Take a batch's outputs apart again, without the padding; the inverse of ``merge``."""
    parts: list[Arrays] = []
    start = 0
    for shape in shapes:
        rows = slice(start, start + shape[BATCH])
        own = {}
        for tensor in tensors:
            cut = [slice(shape.get(d)) if isinstance(d, str) else slice(d) for d in tensor.dims[1:]]
            own[tensor.name] = merged[tensor.name][(rows, *cut)]
        parts.append(own)
        start = rows.stop
    return parts
