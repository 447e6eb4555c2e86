"""What waits in a session: observations to step through, and visits to its state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foretoken.models.contract import Array, Arrays
from foretoken.models.tasks import SequenceReply
from foretoken.server.sessions.session import Want

__all__ = ["Visit", "Work"]


@dataclass(eq=False, slots=True)
class Work:
    """Observations of one message, which is applied wholly or not at all.

    Args:
        values: float64 [T, D].
        want: which outputs are answered.
        deadline: by when it must be answered.
        done: receives the reply.
    """

    values: Array
    want: Want
    deadline: float
    done: asyncio.Future[SequenceReply]
    arrived: float = field(default_factory=time.monotonic)
    at: int = 0  # observations that have been stepped through
    parts: list[SequenceReply] = field(default_factory=list)
    before: Arrays | None = None  # the state to go back to, once there is a way back to go
    queued: float = 0.0  # seconds
    compute: float = 0.0

    @property
    def left(self) -> int:
        """Observations that are still to be stepped through."""
        return len(self.values) - self.at

    def add(self, reply: SequenceReply, count: int) -> None:
        """Take in the reply to the next ``count`` observations."""
        self.at += count
        if self.want == "every" or (self.want == "last" and not self.left):
            self.parts.append(reply)

    def reply(self) -> SequenceReply:
        """The reply to the whole message."""
        if self.want == "nothing":
            return SequenceReply({})
        if self.want == "last":
            return SequenceReply({n: a[-1:] for n, a in self.parts[-1].outputs.items()})
        if len(self.parts) == 1:
            return self.parts[0]
        return SequenceReply(
            {n: np.concatenate([p.outputs[n] for p in self.parts]) for n in self.parts[0].outputs}
        )

    def fail(self, error: BaseException) -> None:
        """Give an error to whoever still waits."""
        _fail(self.done, error)


@dataclass(eq=False, slots=True)
class Visit:
    """A look at a session once all that came before it is done.

    Args:
        look: is called then, in the event loop, while nothing of the session runs.
        done: receives what it returns.
    """

    look: Callable[[], Any]
    done: asyncio.Future[Any]

    def pay(self) -> None:
        """Do it, and tell whoever waits."""
        if self.done.done():
            return
        try:
            self.done.set_result(self.look())
        except Exception as e:  # whoever asked for the look is to hear of it
            self.done.set_exception(e)

    def fail(self, error: BaseException) -> None:
        """Give an error to whoever still waits."""
        _fail(self.done, error)


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
        done.exception()  # it counts as heard, even if nobody waits any more
