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
    """Observations of one message, and which outputs are wanted.

    Args:
        values: float64 [T, D].
        want: which outputs.
        goes_on: whether it is part of one whole with the input before it: it is told once that is
            answered, and not at all if that is refused; others wait until the whole is answered.
    """

    values: Floats
    want: wire.Want
    goes_on: bool = False

    def __len__(self) -> int:
        return len(self.values)


class Inputs:
    """Inputs of one session, in order: answered ones that are not safe yet, then the others.

    Args:
        keep: whether answered ones are kept until they are safe.

    Attributes:
        step: observations whose outputs have arrived.
        pending: inputs that are not answered.
        told: of those, the first ones, which are on their way.
    """

    def __init__(self, *, keep: bool) -> None:
        self.step = 0
        self.pending: deque[Input] = deque()
        self.told = 0
        self._keep = keep
        self._answered: deque[Input] = deque()
        self._base = 0  # step before the first of those

    def begin(self, step: int) -> None:
        """The session is at ``step``, and nothing of it is known but that."""
        self.step = self._base = step
        self._answered.clear()

    def tell(self) -> Input | None:
        """The next pending input, which is on its way now; None if none is to be told yet."""
        if self.told == len(self.pending):
            return None
        found = self.pending[self.told]
        if self.told and (found.goes_on or self.pending[self.told - 1].goes_on):
            return None
        self.told += 1
        return found

    def answer(self, durable_step: int) -> None:
        """The first pending input is answered, and all up to ``durable_step`` are safe."""
        done = self.pending.popleft()
        self.told -= 1
        self.step += len(done)
        if not self._keep:
            self._base = self.step
            return
        self._answered.append(done)
        while self._answered and self._base + len(self._answered[0]) <= durable_step:
            self._base += len(self._answered.popleft())

    def refuse(self) -> list[Input]:
        """The first pending input was not taken; returns it, and those that go on from it."""
        refused = [self.pending.popleft()]
        self.told -= 1
        while self.pending and self.pending[0].goes_on:
            refused.append(self.pending.popleft())
        return refused

    def put_back(self, refused: list[Input]) -> None:
        """What was refused is pending again, before all else; nothing may be on its way."""
        self.pending.extendleft(reversed(refused))

    def withdraw(self) -> int:
        """Drop inputs that nothing was told of; returns how many, each with those that go on."""
        kept, dropped = self.told, 0
        while kept < len(self.pending) and self.pending[kept].goes_on:
            kept += 1
        while len(self.pending) > kept:
            dropped += not self.pending.pop().goes_on
        return dropped

    def clear(self) -> None:
        """Nothing is pending any more."""
        self.pending.clear()
        self.told = 0

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
