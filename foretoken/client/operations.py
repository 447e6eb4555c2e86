"""What a call consists of, as data; a client performs it in its own way.

An operation that takes several calls (pages, large requests in parts) is a generator: it yields
the calls one after the other, is sent their replies, and returns the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from foretoken.client.methods import Method
from foretoken.errors import DeadlineExceeded, ForetokenError, InvalidInput

__all__ = [
    "DELAYS",
    "Action",
    "Budget",
    "Exchange",
    "Pause",
    "Receive",
    "Send",
    "Steps",
    "Unary",
    "Upload",
    "adrive",
    "drive",
    "message",
]

M = TypeVar("M", bound=Message)
R = TypeVar("R")

DELAYS = (0.1, 0.3, 0.9, 2.7)  # seconds before another try; longer than a worker's restart


@dataclass(frozen=True)
class Unary:
    """One message out, one back."""

    method: Method
    request: Message


@dataclass(frozen=True)
class Upload:
    """Many messages out, one back; ``messages`` may read files and raise."""

    method: Method
    messages: Iterator[Message]


@dataclass(frozen=True)
class Exchange:
    """One message out and one back on a stream; ``fresh`` asks for a new stream first."""

    request: Message
    fresh: bool


@dataclass(frozen=True)
class Send:
    """One message out on a stream; ``fresh`` asks for a new stream first."""

    request: Message
    fresh: bool


@dataclass(frozen=True)
class Receive:
    """One message back on that stream."""


@dataclass(frozen=True)
class Pause:
    """Nothing for so many seconds."""

    seconds: float


Action = Unary | Upload | Exchange | Send | Receive | Pause
Steps = Generator[Action, Any, R]


class Budget:
    """The time that one operation has, over all of its calls.

    Args:
        seconds: until the deadline; infinity for no deadline.

    Raises:
        InvalidInput: unless ``seconds`` is a positive number.
    """

    def __init__(self, seconds: float) -> None:
        if not isinstance(seconds, (int, float)) or not seconds > 0:
            raise InvalidInput(f"timeout must be a positive number of seconds, not {seconds!r}")
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds left; None without a deadline.

        Raises:
            DeadlineExceeded: if none are.
        """
        if math.isinf(self._end):
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"no answer within {self.seconds:g} s")
        return left


def message(kind: type[M], /, **fields: Any) -> M:
    """A message of the fields that are not None.

    Raises:
        InvalidInput: if a field is of a wrong type, out of range or not Unicode.
    """
    try:
        return kind(**{name: value for name, value in fields.items() if value is not None})
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"{', '.join(fields)}: {e}") from e


def drive(steps: Steps[R], perform: Callable[[Any], Any]) -> R:
    """Perform the actions of ``steps``, and return its result."""
    try:
        action = next(steps)
        while True:
            try:
                reply = perform(action)
            except ForetokenError as e:
                action = steps.throw(e)
            else:
                action = steps.send(reply)
    except StopIteration as end:
        result: R = end.value
        return result


async def adrive(steps: Steps[R], perform: Callable[[Any], Awaitable[Any]]) -> R:
    """Like ``drive``, for actions that are awaited."""
    try:
        action = next(steps)
        while True:
            try:
                reply = await perform(action)
            except ForetokenError as e:
                action = steps.throw(e)
            else:
                action = steps.send(reply)
    except StopIteration as end:
        result: R = end.value
        return result
