"""Turns: requests under one key go one after another, in the order in which they came."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from foretoken.errors import DeadlineExceeded
from foretoken.server.terms import Terms

__all__ = ["Turns"]


@dataclass(slots=True)
class _Queue:
    """Those who want a turn under one key; ``asyncio.Lock`` wakes them in their order."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    members: int = 0


class Turns:
    """Who is at work under which key; a key that nobody wants takes no memory.

    It belongs to one event loop.
    """

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    def __contains__(self, key: str) -> bool:
        """Whether somebody has the turn."""
        return key in self._queues

    def __len__(self) -> int:
        return len(self._queues)

    @asynccontextmanager
    async def turn(self, key: str, terms: Terms) -> AsyncIterator[None]:
        """Have the turn for the length of the block.

        One's place is taken at once, before anything else runs in the event loop.

        Raises:
            DeadlineExceeded: if it does not come before the deadline.
        """
        queue = self._queues.setdefault(key, _Queue())
        queue.members += 1
        try:
            if queue.members == 1:
                await queue.lock.acquire()  # which does not wait
            else:
                await self._wait(queue, terms)
            try:
                yield
            finally:
                queue.lock.release()
        finally:
            queue.members -= 1
            if not queue.members:
                del self._queues[key]

    @staticmethod
    async def _wait(queue: _Queue, terms: Terms) -> None:
        try:
            async with asyncio.timeout(terms.left if terms.deadline < math.inf else None):
                await queue.lock.acquire()
        except TimeoutError as e:
            raise DeadlineExceeded(
                "the deadline passed before the requests of the sequence that came before were "
                "answered"
            ) from e
