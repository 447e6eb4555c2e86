"""Running sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array

__all__ = ["SequenceReply", "SequenceRequest"]


@dataclass(frozen=True)
class SequenceRequest:
    """The next ``T`` observations of a running sequence.

    Args:
        values: float64 [T, D].
        options: of the family, such as the horizon of a forecast; the same for a whole sequence.
    """

    values: Array
    options: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or 0 in self.values.shape:
            raise InvalidInput(f"values must be [T, D], both at least 1, not {self.values.shape}")


@dataclass(frozen=True)
class SequenceReply:
    """What a stream answers after each of ``T`` observations, by name, each [T, ...]."""

    outputs: Mapping[str, Array]
