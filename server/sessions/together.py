"""Requests to what is slow and takes many at once: those that come while it works go together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from foretoken.errors import ForetokenError

__all__ = ["Together"]

A = TypeVar("A")
R = TypeVar("R")


class Together(Generic[A, R]):
    """Calls of one blocking function; it belongs to one event loop.

    Args:
        work: takes many requests, in a thread, and gives a result or an error for each.
        most: requests of one call.
    """

    def __init__(self, work: Callable[[Sequence[A]], Sequence[R | Exception]], most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: deque[tuple[A, asyncio.Future[R]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, request: A) -> R:
        """The result of one request.

        Raises:
            Exception: that the function gave for it, or raised for all that went together.
        """
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, done))
        if self._worker is None:
            self._worker = asyncio.ensure_future(self._run())
        return await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                turn = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                made = await asyncio.to_thread(self._made, [request for request, _ in turn])
                for (_, done), result in zip(turn, made, strict=True):
                    if done.done():
                        continue
                    if isinstance(result, Exception):
                        done.set_exception(result)
                    else:
                        done.set_result(result)
        finally:
            self._worker = None

    def _made(self, requests: Sequence[A]) -> Sequence[R | Exception]:
        """Results or errors, in a thread; what is no error of the tree is that of one request."""
        try:
            return self._work(requests)
        except ForetokenError as e:
            return [e] * len(requests)
        except Exception as e:
            if len(requests) == 1:
                return [e]
            return [made for each in requests for made in self._made([each])]

    async def settled(self) -> None:
        """Wait until nothing is being worked on."""
        if self._worker is not None:
            await asyncio.wait([self._worker])
