"""Chunks of rows or texts on their way through a stream, and how one that breaks is mended.

A few chunks are on their way at a time, so that neither side waits for the other and memory stays
as it is. The client keeps those that are not answered: when a stream breaks for no fault of the
caller's, a new one is sent them again, to be answered by the same context or version.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from foretoken.client import aio_transport, blocking_transport
from foretoken.client.methods import Method, method
from foretoken.client.operations import (
    DELAYS,
    Action,
    Budget,
    Pause,
    Receive,
    Send,
    Steps,
    adrive,
    drive,
)
from foretoken.errors import (
    DeadlineExceeded,
    ForetokenError,
    InternalError,
    Overloaded,
    Unavailable,
)

__all__ = ["Flow", "Subject", "aflowing", "flowing"]

R = TypeVar("R")
C = TypeVar("C")
A = TypeVar("A")
C_contra = TypeVar("C_contra", contravariant=True)
A_co = TypeVar("A_co", covariant=True)

# What grpc.aio makes of a write to a stream that the server has just ended; its status is lost.
TOO_LATE = "Internal error from Core"

MOMENT = 0.05  # seconds that a server has to refuse an opening before more is sent
WINDOW = 3  # chunks on their way; the server takes one more than that before it has to be read


class Subject(Protocol[C_contra, A_co]):
    """What flows: chunks that callers give, and the answers to them.

    Attributes:
        method: of the stream, as ``Service.Method``.
    """

    method: str

    def opening(self) -> Message:
        """The first message of a stream, also of one in the place of another."""

    def chunk(self, given: C_contra) -> Message:
        """A chunk as the wire has it.

        Raises:
            InvalidInput: if it is not acceptable.
        """

    def answer(self, asked: Any, reply: Any, /) -> A_co:
        """What a reply says to the chunk that was asked; later openings may rest on it."""


class Flow(Generic[C, A]):
    """A stream of chunks; a transport performs its steps.

    Args:
        subject: what flows.
    """

    def __init__(self, subject: Subject[C, A]) -> None:
        self.method = method(subject.method)
        self._subject = subject
        self._pending: deque[Message] = deque()
        self._sent = 0  # of those, on the stream there is now
        self._opened = self._broken = False
        self._stuck = False  # whether the server takes no more, for a reason that is yet to come

    @property
    def pending(self) -> int:
        """Chunks that are not answered."""
        return len(self._pending)

    def put(self, chunk: C) -> Steps[None]:
        """Send a chunk."""
        self._pending.append(self._subject.chunk(chunk))
        if not self._broken:
            yield from self._send()

    def take(self) -> Steps[A]:
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
            asked = self._pending.popleft()
            self._sent -= 1
            answer = self._subject.answer(asked, reply)
            yield from self._send()
            return answer
        raise AssertionError("the last attempt raises")

    def _send(self) -> Steps[None]:
        """Send what is not sent yet; ``take`` hears, in its turn, why that cannot be."""
        try:
            if not self._opened:
                self._opened = True
                yield Send(self._subject.opening(), fresh=True)
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
        yield Send(self._subject.opening(), fresh=True)
        yield Pause(MOMENT)
        yield Send(self._pending[0], fresh=False)
        self._sent = 1


class _Blocking:
    """Performs a flow's steps on a channel of ``grpc``."""

    def __init__(
        self, transport: blocking_transport.Transport, called: Method, timeout: float
    ) -> None:
        self._transport = transport
        self._called = called
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
            self._stream = self._transport.stream(self._called)
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
    transport: blocking_transport.Transport,
    subject: Subject[C, A],
    chunks: Iterable[C],
    timeout: float,
) -> Iterator[A]:
    """An answer to each of ``chunks``, which are read as fast as they are answered."""
    flow = Flow(subject)
    ours = _Blocking(transport, flow.method, timeout)
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

    def __init__(self, transport: aio_transport.Transport, called: Method, timeout: float) -> None:
        self._transport = transport
        self._called = called
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
            self._stream = self._transport.stream(self._called)
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
    subject: Subject[C, A],
    chunks: Iterable[C] | AsyncIterable[C],
    timeout: float,
) -> AsyncIterator[A]:
    """See ``flowing``."""
    flow = Flow(subject)
    ours = _Awaited(transport, flow.method, timeout)
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


async def _each(chunks: Iterable[C] | AsyncIterable[C]) -> AsyncIterator[C]:
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            yield chunk
    else:
        for chunk in chunks:
            yield chunk
