"""Calls of many messages: uploads and bidirectional streams."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from time import monotonic
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from foretoken.errors import Cancelled, DeadlineExceeded, Overloaded, Unavailable
from foretoken.server.doors.calls import Call, Metadata, Route, malformed
from foretoken.server.doors.parts import LARGE, expect_few
from foretoken.server.terms import Scope, Terms

__all__ = ["BidirectionalCall", "OpenStreams", "UploadCall"]


MOMENT = 0.01  # seconds
FREE = 16  # streams that need no token are open at least, where most are few


class OpenStreams:
    """The streams of a listener that are open now.

    Those that need no token are bounded apart, so that nobody without one can use up the others.

    Args:
        most: bound on the number of those that need a token; of the others, a quarter of it, but
            at least 16.
    """

    def __init__(self, most: int) -> None:
        self.counts: Counter[str] = Counter()
        self.draining = False
        self._most = {True: most, False: max(most // 4, FREE)}  # by whether they need a token
        self._number = {True: 0, False: 0}
        self._open: set[_StreamCall] = set()

    def add(self, call: _StreamCall, route: Route) -> None:
        """Count a stream.

        Raises:
            Overloaded: if there are too many.
        """
        known = route.scope is not None
        most = self._most[known]
        if self._number[known] >= most:
            kind = "streams" if known else "streams that need no token"
            raise Overloaded(f"{most} {kind} are open in this worker, which is the bound")
        self._number[known] += 1
        self._open.add(call)
        self.counts[route.method] += 1

    def remove(self, call: _StreamCall, route: Route) -> None:
        """Count it no more."""
        self._number[route.scope is not None] -= 1
        self._open.discard(call)
        self.counts[route.method] -= 1
        if not self.counts[route.method]:
            del self.counts[route.method]

    def drain(self) -> None:
        """End the streams that wait for their callers, and the others as soon as they do."""
        self.draining = True
        for call in tuple(self._open):
            call.drain()

    async def ended(self) -> None:
        """Wait until none is open."""
        while self._open:
            await asyncio.sleep(MOMENT)


class _StreamCall(Call):
    """What uploads and bidirectional streams have in common."""

    __slots__ = ("_context", "_kept", "_last", "_reader", "_streams", "_waited", "cut")

    request_streaming = True

    def __init__(self, route: Route, metadata: Metadata, streams: OpenStreams) -> None:
        super().__init__(route, metadata)
        self._streams = streams
        self._waited = 0.0  # seconds spent on reading and writing
        self._context: Any = None
        self._reader: asyncio.Task[Any] | None = None
        self._last = self._kept = 0  # bytes in flight: of the last message, and of earlier ones
        self.cut = False  # whether the caller's messages were ended by us

    def drain(self) -> None:
        """The server stops soon; an upload is in flight, and goes on."""

    async def read(self) -> Any | None:
        """The next message, or None when there will be none.

        Raises:
            InvalidInput: if it is malformed, or has too many parts.
            Unauthenticated: if the caller's token is no longer valid.
            Overloaded: if it is too much beside what else is in flight.
            Cancelled: if the caller has gone.
        """
        self.let_go(self.keep())
        began = monotonic()
        try:
            data = await self._context.read()
        except grpc.aio.BaseError as e:
            raise Cancelled("the caller has gone") from e
        finally:
            self._waited += monotonic() - began
        if data is grpc.aio.EOF:
            await self._over()
            return None
        self._expect_known()
        size = len(data)
        self._route.inflight.take(size)
        self._last = size
        if size > LARGE:
            expect_few(data, self._route.request, self._route.advice)
        try:
            return self._route.parse(data)
        except DecodeError as e:
            raise malformed(e) from e

    def keep(self) -> int:
        """Let the last message count until ``let_go`` or the end of the call; returns its bytes."""
        size, self._last = self._last, 0
        self._kept += size
        return size

    def let_go(self, size: int) -> None:
        """Count so many bytes that were kept no more."""
        size = min(size, self._kept)  # nothing is kept when the call has ended
        self._kept -= size
        self._route.inflight.held -= size

    def expect(self, scope: Scope | None) -> Terms:
        """The terms of the stream, if its caller has this scope, too; see ``Stream``."""
        caller = self._route.gate.caller(self.metadata, self._context.peer(), scope)
        self.terms = replace(self.terms, caller=caller)
        return self.terms

    def _expect_known(self) -> None:
        """Refuse to go on for a token that was revoked or has expired since the stream began."""
        self._route.gate.caller(self.metadata, self._context.peer(), None)

    async def _over(self) -> None:
        """Raise if the caller's messages have ended because the call has.

        To ``grpc.aio``, a caller who has sent everything and one who has gone look the same here.
        """

    async def _run(self, context: Any) -> Any:
        """Admit the call, then run the service's handler, counted as an open stream."""
        route = self._route
        method, observer = route.method, route.observer
        self._context = context
        self._admit(context, float("inf"))
        self._streams.add(self, route)
        observer.stream(method, 1)
        try:
            return await route.handler(self, self)
        finally:
            self._context = None
            self.keep()
            self.let_go(self._kept)
            self._streams.remove(self, route)
            observer.stream(method, -1)


class UploadCall(_StreamCall):
    """Many messages in, one out."""

    __slots__ = ()

    async def stream_unary(self, _messages: object, context: Any) -> bytes:
        """Answer; this is what gRPC calls."""
        try:
            reply = await self._run(context)
            sent: bytes = reply.SerializeToString()
        except BaseException as e:
            await self._fail(e, context)
        self._ended(waited=self._waited)
        return sent

    async def read(self) -> Any | None:
        """The next message, or None when there will be none.

        Raises:
            DeadlineExceeded: if it does not come within the route's deadline.
        """
        seconds = self._route.deadline
        try:
            async with asyncio.timeout(seconds):
                return await super().read()
        except TimeoutError as e:
            raise DeadlineExceeded(
                f"nothing more of this upload came in {seconds:g} seconds; send it without pauses"
            ) from e

    async def _over(self) -> None:
        self._expect_known()
        # Half an upload must never be taken for the whole: no headers go out on a dead call.
        try:
            await self._context.send_initial_metadata(())
        except grpc.aio.BaseError as e:
            raise Cancelled("the caller has gone") from e


class BidirectionalCall(_StreamCall):
    """Many messages in, many out."""

    __slots__ = ()

    response_streaming = True

    async def stream_stream(self, _messages: object, context: Any) -> None:
        """Answer; this is what gRPC calls."""
        try:
            await self._run(context)
            if self.cut:
                raise Unavailable("this server stops; open the stream again")
        except BaseException as e:
            await self._fail(e, context)
        self._ended(waited=self._waited)

    def drain(self) -> None:
        """End the caller's messages if nothing of theirs is in flight."""
        if self._reader is not None:
            self.cut = True
            self._reader.cancel()

    async def read(self) -> Any | None:
        """The next message, or None when there will be none, or the server stops."""
        if self.cut or self._streams.draining:
            self.cut = True
            return None
        self._reader = task = asyncio.current_task()
        try:
            return await super().read()
        except asyncio.CancelledError:
            if self.cut and task is not None and not task.uncancel():
                return None
            raise
        finally:
            self._reader = None

    async def _over(self) -> None:
        # Headers may have gone out already. The news that the call is cancelled comes as an event
        # of its own, right behind; it matters for how the end is counted, so a moment must do.
        await asyncio.sleep(MOMENT)

    async def write(self, message: Message) -> None:
        """Send a message; waits while the caller reads too slowly.

        Raises:
            Cancelled: if the caller has gone.
        """
        data = message.SerializeToString()
        began = monotonic()
        try:
            await self._context.write(data)
        except grpc.aio.BaseError as e:
            raise Cancelled("the caller has gone") from e
        finally:
            self._waited += monotonic() - began
