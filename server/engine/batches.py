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
BITS = {"bfloat16": "uint16"}  # dtypes that NumPy has not -> what holds their bits
Sizes = Mapping[str, int]  # letter -> length


def sizes(tensors: Sequence[Tensor], arrays: Arrays) -> dict[str, int]:
    """Length of each letter of ``tensors`` in one call's ``arrays``.

    Raises:
        InvalidInput: if an array is missing, or its dtype or shape is not what was declared.
    """
    found: dict[str, int] = {}
    fitting: dict[tuple[int | str, ...], tuple[int, ...]] = {}  # shapes: most tensors share one
    for tensor in tensors:
        array = arrays.get(tensor.name)
        if array is None:
            raise InvalidInput(f"tensor {tensor.name!r} is missing; given are {sorted(arrays)}")
        dims, shape = tensor.dims, array.shape
        fits = array.dtype == BITS.get(tensor.dtype, tensor.dtype)
        if fitting.get(dims) != shape:
            fits &= len(dims) == len(shape)
            for dim, length in zip(dims, shape, strict=False):
                fits &= (found.setdefault(dim, length) if isinstance(dim, str) else dim) == length
            if fits:
                fitting[dims] = shape
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


def joint(shapes: Sequence[Sizes], along: str = BATCH) -> dict[str, int]:
    """Sizes of a batch of calls: lengths of ``along`` add up, others are the longest."""
    found = {letter: max(s[letter] for s in shapes) for letter in shapes[0]}
    return {**found, along: sum(s[along] for s in shapes)}


def merge(
    tensors: Sequence[Tensor],
    calls: Sequence[Arrays],
    shapes: Sequence[Sizes],
    along: str = BATCH,
) -> Arrays:
    """Stack calls along an axis that all tensors have, padding other letters to the longest."""
    if len(calls) == 1:
        return calls[0]
    whole = joint(shapes, along)
    merged = {}
    for tensor in tensors:
        dims = [whole[d] if isinstance(d, str) else d for d in tensor.dims]
        out = np.full(dims, tensor.pad, dtype=BITS.get(tensor.dtype, tensor.dtype))
        axis, start = tensor.dims.index(along), 0
        for call in calls:
            part = call[tensor.name]
            box = [slice(length) for length in part.shape]
            box[axis] = slice(start, start + part.shape[axis])
            out[tuple(box)] = part
            start += part.shape[axis]
        merged[tensor.name] = out
    return merged


def split(
    tensors: Sequence[Tensor], merged: Arrays, shapes: Sequence[Sizes], along: str = BATCH
) -> list[Arrays]:
    """Take a batch's outputs apart again, without the padding; the inverse of ``merge``."""
    parts: list[Arrays] = []
    start = 0
    for shape in shapes:
        own = {}
        for tensor in tensors:
            box = [slice(shape.get(d)) if isinstance(d, str) else slice(d) for d in tensor.dims]
            box[tensor.dims.index(along)] = slice(start, start + shape[along])
            own[tensor.name] = merged[tensor.name][tuple(box)]
        parts.append(own)
        start += shape[along]
    return parts
