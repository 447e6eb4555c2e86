"""Merging calls on one graph into padded batches, and taking the answers apart again.

Letters: B rows, other letters as the graph declares them. All of it is pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Arrays, Tensor

BATCH = "B"
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


def tokens(call: Sizes) -> int:
    """Cost of one row: the sum of its lettered lengths, at least one."""
    return max(1, sum(length for letter, length in call.items() if letter != BATCH))


def plan(calls: Sequence[Sizes], budget: int) -> Iterator[list[int]]:
    """Split calls, by index, into batches of at most ``budget`` tokens after padding.

    Calls are taken from the shortest to the longest, so that a batch pads little. A call larger
    than the budget is a batch of its own.
    """
    batch: list[int] = []
    padded: dict[str, int] = {}
    for i in sorted(range(len(calls)), key=lambda i: tokens(calls[i])):
        wider = _padded(padded, calls[i])
        if batch and wider.get(BATCH, 1) * tokens(wider) > budget:
            yield batch
            batch, wider = [], dict(calls[i])
        batch.append(i)
        padded = wider
    if batch:
        yield batch


def _padded(batch: Sizes, call: Sizes) -> dict[str, int]:
    """Sizes of a batch that takes in one more call: rows add up, other letters are the longest."""
    wider = {letter: max(length, batch.get(letter, 0)) for letter, length in call.items()}
    return {**wider, BATCH: batch.get(BATCH, 0) + call.get(BATCH, 1)}


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
