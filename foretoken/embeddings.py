"""The answer to texts: their vectors, and how much of each was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Embeddings", "joined"]


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
