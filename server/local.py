"""In-process use: a plane on an event loop in a thread of its own, asked synchronously."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from foretoken.server.plane import Plane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

__all__ = ["LocalPlane"]

T = TypeVar("T")


class LocalPlane:
    """A plane for callers that do not await; safe to share between threads.

    Args:
        registry: where versions are found; the caller closes it.
        settings: for what a version's serving options leave open.
    """

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.registry = registry
        self.plane = Plane(registry, settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="foretoken-plane", daemon=True
        )
        self._thread.start()

    def predict(self, model: str, requests: Sequence[Any], key: str | None = None) -> list[Any]:
        """Answer ``requests`` as ``Plane.predict`` does, by what the registry says now.

        Args:
            model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
            requests: all of one task.
            key: decides which side of a canary answers.
        """
        return self.run(self._predict(model, requests, Terms(key=key)))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have ``work`` done on the plane's loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _predict(self, model: str, requests: Sequence[Any], terms: Terms) -> list[Any]:
        await self.plane.follow(everything=True)
        return (await self.plane.predict(model, requests, terms)).replies

    def close(self) -> None:
        """Release the loaded models, and end the thread."""
        if self._loop.is_closed():
            return
        self.run(self.plane.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> LocalPlane:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
