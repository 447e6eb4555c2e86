"""Actions performed on a channel of ``grpc.aio``."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from foretoken.client.blocking_transport import FAREWELL, SERIALIZE
from foretoken.client.connection import Connection
from foretoken.client.failures import failure
from foretoken.client.methods import Method
from foretoken.client.operations import Action, Budget, Pause, Unary, Upload
from foretoken.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    ForetokenError,
    Unavailable,
)

__all__ = ["Stream", "Transport"]

S = TypeVar("S", bound="Stream")

MOMENT = 0.1  # seconds that a server has to refuse an upload before it is sent


class Transport:
    """Performs actions on a channel, which belongs to the event loop of the first one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._metadata = connection.metadata
        self._pid = os.getpid()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[Method, Any] = {}

    async def perform(self, action: Action, budget: Budget) -> Any:
        """One action, within what is left of the time."""
        left = budget.left()
        match action:
            case Pause(seconds):
                if left is not None and seconds >= left:
                    raise DeadlineExceeded(f"no answer within {budget.seconds:g} s")
                await asyncio.sleep(seconds)
                return None
            case Unary(called, request):
                made = self._made(called, "unary_unary")
                return called.read(await self._guarded(made, request, left))
            case Upload(called, messages):
                # Not grpc.aio's own call for this, which loses the status of one that ends early.
                stream, outgoing = self.stream(called), _Outgoing(messages)
                try:
                    return await stream.upload(aiter(outgoing), budget)
                finally:
                    stream.cancel()
                    outgoing.expect_whole()
        raise AssertionError(f"{action} belongs to a stream")

    def stream(self, called: Method) -> Stream:
        """A new stream."""
        return self.stream_of(Stream, called)

    def stream_of(self, kind: type[S], called: Method) -> S:
        """A new stream of that kind."""
        made = self._made(called, "stream_stream")
        return kind(called, made(metadata=self._metadata), self._connection.address)

    def answered(self, called: Method, request: Message, budget: Budget) -> Any:
        """A call of one message whose replies are many, begun."""
        made = self._made(called, "unary_stream")
        return made(request, timeout=budget.left(), metadata=self._metadata)

    @property
    def address(self) -> str:
        """Of the server."""
        return self._connection.address

    async def close(self) -> None:
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _guarded(self, made: Any, request: Any, left: float | None) -> Any:
        try:
            return await made(request, timeout=left, metadata=self._metadata)
        except grpc.RpcError as e:
            raise failure(e, self._connection.address) from e
        except grpc.aio.BaseError as e:
            raise FailedPrecondition(f"the client was closed: {e}") from e
        except asyncio.CancelledError as e:
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # by closing the channel, not by the caller
                raise Cancelled("the client was closed") from e
            raise

    def _made(self, called: Method, kind: str) -> Any:
        """What calls a method."""
        if self._closed:
            raise FailedPrecondition("the client is closed; make a new one")
        if os.getpid() != self._pid:
            raise FailedPrecondition("a client does not survive a fork; make one in each process")
        if self._channel is None:
            self._connect()
        if asyncio.get_running_loop() is not self._loop:
            raise FailedPrecondition("the client belongs to another event loop; make a new one")
        if called not in self._calls:
            make = getattr(self._channel, kind)
            self._calls[called] = make(called.path, SERIALIZE)
        return self._calls[called]

    def _connect(self) -> None:
        target, options = self._connection.target, self._connection.options()
        secret = self._connection.credentials()
        self._loop = asyncio.get_running_loop()
        if secret is None:
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            self._channel = grpc.aio.secure_channel(target, secret, options)


class _Outgoing:
    """Takes messages from a thread; gRPC swallows what they raise, so it is kept."""

    def __init__(self, messages: Iterator[Message]) -> None:
        self._messages = messages
        self._error: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            try:
                message = await asyncio.to_thread(next, self._messages, None)
            except Exception as e:
                self._error = e
                return
            if message is None:
                return
            yield message

    def expect_whole(self) -> None:
        """Raise what the messages have raised."""
        if self._error is not None:
            raise self._error


class Stream:
    """One message out, one back."""

    def __init__(self, called: Method, call: Any, address: str) -> None:
        self._called = called
        self._call = call
        self._address = address

    async def exchange(self, request: Message, budget: Budget) -> Any:
        """Send and await."""
        await self.send(request, budget)
        return await self.receive(budget)

    async def send(self, request: Message, budget: Budget) -> None:
        """Send."""
        async with self._ours(budget):
            await self._call.write(request)

    async def receive(self, budget: Budget) -> Any:
        """Await a message; whoever asks has sent for it."""
        async with self._ours(budget):
            return await self._reply()

    async def upload(self, messages: AsyncIterator[Message], budget: Budget) -> Any:
        """Send all, end, and await."""
        async with self._ours(budget):
            begun = False
            async for message in messages:
                await self._call.write(message)
                if not begun:
                    begun = True
                    await self._moment_to_refuse()
            await self._call.done_writing()
            return await self._reply()

    async def _moment_to_refuse(self) -> None:
        """Let the server refuse what was announced: gRPC forgets why if it is written to then."""
        end = time.monotonic() + MOMENT
        while not self._call.done():
            if time.monotonic() > end:
                return
            await asyncio.sleep(MOMENT / 20)
        raise await self._fault()

    @asynccontextmanager
    async def _ours(self, budget: Budget) -> AsyncIterator[None]:
        """Make what fails an error of ours."""
        try:
            async with asyncio.timeout(budget.left()):
                yield
        except ForetokenError:
            raise  # one of them is a TimeoutError too
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {budget.seconds:g} s") from None
        except grpc.RpcError as e:
            raise failure(e, self._address) from e
        except asyncio.InvalidStateError:  # written to after its end
            raise await self._fault() from None
        except grpc.aio.BaseError as e:
            raise Unavailable(f"{self._address}: the stream has ended: {e}") from e
        except asyncio.CancelledError as e:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                raise Cancelled("the client was closed") from e
            raise

    async def _reply(self) -> Any:
        data = await self._call.read()
        if data is grpc.aio.EOF:
            raise await self._fault()
        return self._called.read(data)

    async def _fault(self) -> ForetokenError:
        """Why the stream has ended before an answer."""
        code = await self._call.code()
        if code is grpc.StatusCode.OK:
            return Unavailable(f"{self._address} has ended the stream")
        details, trailers = await self._call.details(), await self._call.trailing_metadata()
        return failure(grpc.aio.AioRpcError(code, None, trailers, details), self._address)

    async def close(self) -> None:
        """End it in order if the server answers at once, else cancel it."""
        try:
            async with asyncio.timeout(FAREWELL):
                await self._call.done_writing()
                await self._call.read()
        except (TimeoutError, grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
            pass
        finally:
            self.cancel()

    def cancel(self) -> None:
        """End it now."""
        self._call.cancel()
