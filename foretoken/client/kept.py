"""Inputs that a session may have to be told again, for as long as it may."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import DataLoss
from foretoken.proto import sequences as wire

__all__ = ["Input", "Inputs"]

REPLAY = 1 << 12  # observations of one message when inputs are told again

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Input:
    """Observations of one message: float64 [T, D], and which outputs are wanted."""

    values: Floats
    want: wire.Want

    def __len__(self) -> int:
        return len(self.values)


class Inputs:
    """Inputs of one session, in order: answered ones that are not safe yet, then the others.

    Args:
        keep: whether answered ones are kept until they are safe.

    Attributes:
        step: observations whose outputs have arrived.
        pending: inputs that are not answered.
    """

    def __init__(self, *, keep: bool) -> None:
        self.step = 0
        self.pending: deque[Input] = deque()
        self._keep = keep
        self._answered: deque[Input] = deque()
        self._base = 0  # step before the first of those

    def begin(self, step: int) -> None:
        """The session is at ``step``, and nothing of it is known but that."""
        self.step = self._base = step
        self._answered.clear()

    def answer(self, durable_step: int) -> None:
        """The first pending input is answered, and all up to ``durable_step`` are safe."""
        done = self.pending.popleft()
        self.step += len(done)
        if not self._keep:
            self._base = self.step
            return
        self._answered.append(done)
        while self._answered and self._base + len(self._answered[0]) <= durable_step:
            self._base += len(self._answered.popleft())

    def refuse(self) -> Input:
        """The first pending input was not taken; returns it."""
        return self.pending.popleft()

    def since(self, step: int) -> Iterator[Floats]:
        """Answered inputs after ``step``, merged into few [T, D].

        Raises:
            DataLoss: if ``step`` lies before what is kept, or behind what was answered.
        """
        if not self._base <= step <= self.step:
            raise DataLoss(
                f"the server goes on with the session from step {step}; its outputs have arrived "
                f"up to {self.step}, and inputs are kept since {self._base}"
            )
        skip = step - self._base
        part: list[Floats] = []
        count = 0
        for each in self._answered:
            values = each.values[skip:]
            skip = max(0, skip - len(each))
            for start in range(0, len(values), REPLAY):
                piece = values[start : start + REPLAY]
                if part and count + len(piece) > REPLAY:
                    yield np.concatenate(part)
                    part, count = [], 0
                part.append(piece)
                count += len(piece)
        if part:
            yield np.concatenate(part)
