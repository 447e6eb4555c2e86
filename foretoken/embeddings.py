"""The answer to texts: their vectors, and how much of each was read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["BYTES", "Embeddings", "joined", "parted"]

T = TypeVar("T")

BYTES = 1 << 20  # of texts, and of the prompt before each, that go in a message


@dataclass(frozen=True)
class Embeddings:
    """Vectors of N texts, in order.

    Args:
        vectors: float32 [N, D], each of length 1 unless the model says otherwise.
        tokens: that the model read of each text, int64 [N].
        cut: tokens that were cut off, int64 [N].
        model: that answered.
        version: of it.
    """

    vectors: NDArray[np.float32]
    tokens: NDArray[np.int64]
    cut: NDArray[np.int64]
    model: str
    version: int

    @property
    def ref(self) -> str:
        """What answers in the same way again: ``NAME:VERSION``."""
        return f"{self.model}:{self.version}"

    def __len__(self) -> int:
        return len(self.vectors)


def joined(parts: Sequence[Embeddings]) -> Embeddings:
    """One answer from those to consecutive texts, by the same version."""
    if len(parts) == 1:
        return parts[0]
    return Embeddings(
        vectors=np.concatenate([part.vectors for part in parts]),
        tokens=np.concatenate([part.tokens for part in parts]),
        cut=np.concatenate([part.cut for part in parts]),
        model=parts[0].model,
        version=parts[0].version,
    )


def parted(
    given: Iterable[T], size: Callable[[T], int], most: int, room: int = BYTES
) -> Iterator[list[T]]:
    """Texts in parts, in order.

    Args:
        given: texts, in any form.
        size: of one.
        most: texts of a part.
        room: in a part for the sizes of its texts; what takes more is a part of its own.
    """
    part: list[T] = []
    held = 0
    for each in given:
        own = size(each)
        if part and (len(part) == most or held + own > room):
            yield part
            part, held = [], 0
        part.append(each)
        held += own
    if part:
        yield part
