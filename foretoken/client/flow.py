"""Chunks of rows on their way through a stream, and how one that breaks is mended.

A few chunks are on their way at a time, so that neither side waits for the other and memory stays
as it is. The client keeps those that are not answered: when a stream breaks for no fault of the
caller's, a new one is sent them again, by the same context.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, TypeVar

from foretoken.client import aio_transport, blocking_transport
from foretoken.client.methods import method
from foretoken.client.operations import (
    Action,
    Budget,
    Pause,
    Receive,
    Send,
    Steps,
    adrive,
    drive,
    message,
)
from foretoken.client.predictions import Prediction, prediction_of
from foretoken.client.tables import TableLike, table_message
from foretoken.client.tabular import DELAYS, Given
from foretoken.errors import (
    DeadlineExceeded,
    ForetokenError,
    InternalError,
    Overloaded,
    Unavailable,
)
from foretoken.proto import tabular as wire

__all__ = ["Flow", "aflowing", "flowing"]

R = TypeVar("R")

# What grpc.aio makes of a write to a stream that the server has just ended; its status is lost.
TOO_LATE = "Internal error from Core"

MOMENT = 0.05  # seconds that a server has to refuse an opening before more is sent
WINDOW = 3  # chunks on their way; the server takes one more than that before it has to be read


class Flow:
    """A stream of chunks; a transport performs its steps.

    Args:
        given: what predictions rest on.
        key: chooses the side of a canary.
        uncertainty: whether replies carry it.
    """

    def __init__(self, given: Given, key: str | None, *, uncertainty: bool) -> None:
        self._opening = message(
            wire.PredictOpen, key=key, uncertainty=uncertainty, **given.fields()
        )
        self._uncertainty = uncertainty
        self._pending: deque[wire.PredictStreamRequest] = deque()
        self._sent = 0  # of those, on the stream there is now
        self._opened = self._broken = False
        self._stuck = False  # whether the server takes no more, for a reason that is yet to come

    @property
    def pending(self) -> int:
        """Chunks that are not answered."""
        return len(self._pending)

    def put(self, chunk: TableLike) -> Steps[None]:
        """Send a chunk."""
        self._pending.append(wire.PredictStreamRequest(test=table_message(chunk)))
        if not self._broken:
            yield from self._send()

    def take(self) -> Steps[Prediction]:
        """The reply to the first chunk that is not answered."""
        for delay in (*DELAYS, None):
            try:
                if self._broken:
                    yield from self._open_again()
                reply = yield Receive()
            except (Unavailable, Overloaded) as e:
                self._broken = True
                if delay is None:
                    raise
                yield Pause(max(delay, e.retry_after if isinstance(e, Overloaded) else 0.0))
                continue
            self._pending.popleft()
            self._sent -= 1
            if reply.context_id and not self._opening.context_id:
                self._opening.context_id = reply.context_id  # in the place of labelled rows
                self._opening.model = f"{reply.model}:{reply.version}"
            yield from self._send()
            return prediction_of(reply, uncertainty=self._uncertainty)
        raise AssertionError("the last attempt raises")

    def _send(self) -> Steps[None]:
        """Send what is not sent yet; ``take`` hears, in its turn, why that cannot be."""
        try:
            if not self._opened:
                self._opened = True
                yield Send(wire.PredictStreamRequest(open=self._opening), fresh=True)
            while self._sent < len(self._pending) and not self._stuck:
                yield Send(self._pending[self._sent], fresh=False)
                self._sent += 1
        except DeadlineExceeded:
            raise
        except ForetokenError:
            self._stuck = True

    def _open_again(self) -> Steps[None]:
        """Send one thing after the other, so that why the last stream broke is not lost again."""
        self._broken = self._stuck = False
        self._sent = 0
        yield Send(wire.PredictStreamRequest(open=self._opening), fresh=True)
        yield Pause(MOMENT)
        yield Send(self._pending[0], fresh=False)
        self._sent = 1


class _Blocking:
    """Performs a flow's steps on a channel of ``grpc``."""

    def __init__(self, transport: blocking_transport.Transport, timeout: float) -> None:
        self._transport = transport
        self._timeout = timeout
        self._stream: blocking_transport.Stream | None = None

    def run(self, steps: Steps[R]) -> R:
        budget = Budget(self._timeout)
        return drive(steps, lambda action: self._perform(action, budget))

    def _perform(self, action: Action, budget: Budget) -> Any:
        if isinstance(action, Pause):
            return self._transport.perform(action, budget)
        if isinstance(action, Send) and action.fresh:
            self.cancel()
            self._stream = self._transport.stream(method("Tabular.PredictStream"))
        assert self._stream is not None
        if isinstance(action, Send):
            return self._stream.send(action.request, budget)
        return self._stream.receive(budget)

    def close(self) -> None:
        """End the stream in order."""
        if self._stream is not None:
            self._stream.close()

    def cancel(self) -> None:
        """End the stream now."""
        if self._stream is not None:
            self._stream.cancel()


def flowing(
    transport: blocking_transport.Transport, flow: Flow, chunks: Iterable[TableLike], timeout: float
) -> Iterator[Prediction]:
    """A prediction for each of ``chunks``, which is read as fast as they are answered."""
    ours = _Blocking(transport, timeout)
    try:
        for chunk in chunks:
            ours.run(flow.put(chunk))
            if flow.pending >= WINDOW:
                yield ours.run(flow.take())
        while flow.pending:
            yield ours.run(flow.take())
        ours.close()
    finally:
        ours.cancel()


class _Awaited:
    """Performs a flow's steps on a channel of ``grpc.aio``."""

    def __init__(self, transport: aio_transport.Transport, timeout: float) -> None:
        self._transport = transport
        self._timeout = timeout
        self._stream: aio_transport.Stream | None = None

    async def run(self, steps: Steps[R]) -> R:
        budget = Budget(self._timeout)
        return await adrive(steps, lambda action: self._perform(action, budget))

    async def _perform(self, action: Action, budget: Budget) -> Any:
        if isinstance(action, Pause):
            return await self._transport.perform(action, budget)
        if isinstance(action, Send) and action.fresh:
            self.cancel()
            self._stream = self._transport.stream(method("Tabular.PredictStream"))
        assert self._stream is not None
        try:
            if isinstance(action, Send):
                return await self._stream.send(action.request, budget)
            return await self._stream.receive(budget)
        except InternalError as e:
            if TOO_LATE in str(e):
                raise Unavailable("the stream has ended while it was written to") from e
            raise

    async def close(self) -> None:
        """End the stream in order."""
        if self._stream is not None:
            await self._stream.close()

    def cancel(self) -> None:
        """End the stream now."""
        if self._stream is not None:
            self._stream.cancel()


async def aflowing(
    transport: aio_transport.Transport,
    flow: Flow,
    chunks: Iterable[TableLike] | AsyncIterable[TableLike],
    timeout: float,
) -> AsyncIterator[Prediction]:
    """See ``flowing``."""
    ours = _Awaited(transport, timeout)
    try:
        async for chunk in _each(chunks):
            await ours.run(flow.put(chunk))
            if flow.pending >= WINDOW:
                yield await ours.run(flow.take())
        while flow.pending:
            yield await ours.run(flow.take())
        await ours.close()
    finally:
        ours.cancel()


async def _each(
    chunks: Iterable[TableLike] | AsyncIterable[TableLike],
) -> AsyncIterator[TableLike]:
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            yield chunk
    else:
        for chunk in chunks:
            yield chunk
