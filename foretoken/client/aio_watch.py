"""A run that is followed, on ``grpc.aio``."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from foretoken.client.aio_transport import Stream, Transport
from foretoken.client.methods import method
from foretoken.client.operations import Action, Budget, Exchange, Pause, Steps, adrive
from foretoken.client.watching import Outlook, Watched

__all__ = ["AsyncWatch"]


class AsyncWatch:
    """See ``Watch``; its ``push`` is awaited."""

    def __init__(self, transport: Transport, watched: Watched, timeout: float) -> None:
        self._transport = transport
        self._watched = watched
        self._timeout = timeout
        self._stream: Stream | None = None

    @property
    def outlook(self) -> Outlook | None:
        """After the last observation; None before the run is begun."""
        return self._watched.outlook

    async def push(self, step: float, value: float, best: float | None = None) -> Outlook:
        """See ``Watch.push``."""
        return await self._run(self._watched.push(step, value, best))

    async def close(self) -> None:
        """End the stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def _run(self, steps: Steps[Outlook]) -> Outlook:
        budget = Budget(self._timeout)
        return await adrive(steps, lambda action: self._perform(action, budget))

    async def _perform(self, action: Action, budget: Budget) -> Any:
        if isinstance(action, Pause):
            return await self._transport.perform(action, budget)
        assert isinstance(action, Exchange)
        if action.fresh or self._stream is None:
            await self.close()
            self._stream = self._transport.stream(method("Curves.Watch"))
        try:
            return await self._stream.exchange(action.request, budget)
        except BaseException:
            self._stream.cancel()
            self._stream = None
            raise

    async def __aenter__(self) -> Self:
        await self._run(self._watched.begin())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
