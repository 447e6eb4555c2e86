"""Actions performed on a channel of ``grpc``, by threads that wait."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from operator import methodcaller
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from foretoken.client.blocking_responses import Responses
from foretoken.client.connection import Connection
from foretoken.client.failures import failure
from foretoken.client.methods import Method
from foretoken.client.operations import Action, Budget, Pause, Unary, Upload
from foretoken.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    ForetokenError,
    Unavailable,
)

__all__ = ["FAREWELL", "SERIALIZE", "Stream", "Transport", "awaited"]

FAREWELL = 1.0  # seconds that a stream has to end
SERIALIZE = methodcaller("SerializeToString")

S = TypeVar("S", bound="Stream")


class Transport:
    """Performs actions on a channel."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._metadata = connection.metadata
        self._pid = os.getpid()
        self._lock = Lock()
        self._closed = False
        self._calls: dict[Method, Any] = {}
        target, options = connection.target, connection.options()
        secret = connection.credentials()
        if secret is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, secret, options)

    def perform(self, action: Action, budget: Budget) -> Any:
        """One action, within what is left of the time."""
        left = budget.left()
        match action:
            case Pause(seconds):
                if left is not None and seconds >= left:
                    raise DeadlineExceeded(f"no answer within {budget.seconds:g} s")
                time.sleep(seconds)
                return None
            case Unary(called, request):
                made = self._made(called, self._channel.unary_unary)
                return called.read(self._guarded(made, request, left))
            case Upload(called, messages):
                made = self._made(called, self._channel.stream_unary)
                outgoing = _Outgoing(messages)
                try:
                    return called.read(self._guarded(made, outgoing, left))
                finally:
                    outgoing.expect_whole()
        raise AssertionError(f"{action} belongs to a stream")

    def stream(self, called: Method) -> Stream:
        """A new stream."""
        return self.stream_of(Stream, called)

    def stream_of(self, kind: type[S], called: Method) -> S:
        """A new stream of that kind."""
        made = self._made(called, self._channel.stream_stream)
        return kind(called, made, self._metadata, self._connection.address)

    def responses(self, called: Method, request: Message, budget: Budget) -> Responses:
        """Replies to one message, as they come."""
        made = self._made(called, self._channel.unary_stream)
        begun = self._guarded(made, request, budget.left())
        return Responses(called, begun, self._connection.address)

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def _guarded(self, made: Any, request: Any, left: float | None) -> Any:
        try:
            return made(request, timeout=left, metadata=self._metadata)
        except grpc.RpcError as e:
            raise failure(e, self._connection.address) from e
        except ValueError as e:  # what gRPC says of a channel that was closed meanwhile
            raise FailedPrecondition(f"the client was closed: {e}") from e

    def _made(self, called: Method, make: Callable[..., Any]) -> Any:
        """What calls a method."""
        if self._closed:
            raise FailedPrecondition("the client is closed; make a new one")
        if os.getpid() != self._pid:
            raise FailedPrecondition("a client does not survive a fork; make one in each process")
        with self._lock:
            if called not in self._calls:
                self._calls[called] = make(called.path, request_serializer=SERIALIZE)
            return self._calls[called]


class _Outgoing:
    """Passes messages on; gRPC swallows what they raise, so it is kept and the upload cut short."""

    def __init__(self, messages: Iterator[Message]) -> None:
        self._messages = messages
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        try:
            return next(self._messages)
        except StopIteration:
            raise
        except Exception as e:
            self._error = e
            raise StopIteration from e

    def expect_whole(self) -> None:
        """Raise what the messages have raised."""
        if self._error is not None:
            raise self._error


class Stream:
    """One message out, one back; a thread of its own waits for what comes back."""

    def __init__(self, called: Method, made: Any, metadata: Any, address: str) -> None:
        self._called = called
        self._out: SimpleQueue[Message | None] = SimpleQueue()
        self._in: SimpleQueue[Any] = SimpleQueue()
        self._address = address
        self._call = made(iter(self._out.get, None), metadata=metadata)
        self._reader = Thread(target=self._read, name="foretoken-stream", daemon=True)
        self._reader.start()

    def exchange(self, request: Message, budget: Budget) -> Any:
        """Send and await."""
        self.send(request, budget)
        return self.receive(budget)

    def send(self, request: Message, budget: Budget) -> None:
        """Send."""
        budget.left()
        self._out.put(request)

    def receive(self, budget: Budget) -> Any:
        """Await a message; whoever asks has sent for it."""
        found = awaited(self._in, budget)
        if isinstance(found, BaseException):
            raise found
        return self._called.read(found)

    def close(self) -> None:
        """End it in order if the server answers at once, else cancel it."""
        self._out.put(None)
        self._reader.join(FAREWELL)
        self.cancel()

    def cancel(self) -> None:
        """End it now."""
        self._call.cancel()
        self._out.put(None)  # for gRPC's thread that waits there

    def _read(self) -> None:
        try:
            for reply in self._call:
                self._arrived(reply)
        except grpc.RpcError as e:
            self._over(failure(e, self._address))
        else:
            self._over(Unavailable(f"{self._address} has ended the stream"))

    def _arrived(self, reply: bytes) -> None:
        self._in.put(reply)

    def _over(self, error: ForetokenError) -> None:
        self._in.put(error)


def awaited(queue: SimpleQueue[Any], budget: Budget) -> Any:
    """The next of a queue.

    Raises:
        DeadlineExceeded: if there is none in time.
    """
    try:
        return queue.get(timeout=budget.left())
    except Empty:
        raise DeadlineExceeded(f"no answer within {budget.seconds:g} s") from None
