"""Work that several callers want at once, done once; nobody's leaving spoils it for the others."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from foretoken.errors import DeadlineExceeded, Unavailable

__all__ = ["Flights"]

T = TypeVar("T")


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class Flights(Generic[T]):
    """Work by its key; it belongs to one event loop."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def share(
        self,
        key: Hashable,
        work: Callable[[], Coroutine[Any, Any, T]],
        deadline: float = math.inf,
    ) -> T:
        """What ``work()`` returns, which is under way already if others wait for the same.

        It goes on while anybody waits, and is cancelled when the last one leaves.

        Args:
            key: of the work.
            work: does it; must not depend on the caller's deadline.
            deadline: until when this caller waits, by ``time.monotonic``.

        Raises:
            DeadlineExceeded: if that passes.
            ForetokenError: whatever the work raises, to everybody who waits.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(work()))
            flight.task.add_done_callback(lambda _: self._landed(key, flight))
        flight.waiting += 1
        left = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
        try:
            async with asyncio.timeout(left) as limit:
                return await asyncio.shield(flight.task)
        except TimeoutError as e:
            if limit.expired():
                raise DeadlineExceeded("the deadline passed before the answer was there") from e
            raise
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if flight.task.cancelled() and not (current and current.cancelling()):
                raise Unavailable("the work was given up; ask again") from None
            raise
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: Hashable, flight: _Flight[T]) -> None:
        self._forget(key, flight)
        if not flight.task.cancelled():
            flight.task.exception()  # has been asked for: those who waited have it

    def _forget(self, key: Hashable, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
