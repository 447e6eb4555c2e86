"""One call, from its metadata to its status: the part that is the same for every method.

A call is at once what gRPC takes for the handler of a method and what a service gets as its
``Call``; gRPC asks for a handler at every call, so this costs one object. Messages are parsed and
serialised here rather than by gRPC, so that malformed ones become errors of our tree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from foretoken.errors import (
    Cancelled,
    DeadlineExceeded,
    ForetokenError,
    InternalError,
    InvalidInput,
    Unavailable,
)
from foretoken.server.doors.gate import Gate, RpcObserver
from foretoken.server.doors.inflight import Inflight
from foretoken.server.doors.metadata import KEY, PRIORITY, RequestIds, priority_of
from foretoken.server.doors.parts import LARGE, expect_few
from foretoken.server.doors.status import describe, pushback, status_of
from foretoken.server.doors.telling import Tell
from foretoken.server.log import Level, Log, describe_bug
from foretoken.server.terms import Caller, Scope, Terms

if TYPE_CHECKING:
    from foretoken.server.plane import Answers

__all__ = ["Call", "Metadata", "Route", "UnaryCall", "malformed"]

LONGEST = 86400.0  # seconds; a later deadline counts as this one
LATE = 0.05  # seconds before its deadline at which a cancelled call counts as one that missed it
_NOBODY = Terms(Caller("", frozenset()))
_FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS)

Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method of a service, and what its calls need.

    Args:
        method: "/package.Service/Method".
        request: type of the messages that it takes.
        parse: bytes to one of them.
        handler: of the service, taking what its kind of method takes.
        scope: that callers need.
        advice: to those who send too many parts in a message.
        gate: says who calls.
        observer: hears how calls ended.
        log: has a record of each.
        ids: for calls without one.
        deadline: seconds for unary calls that bring none, and for each message of an upload.
        inflight: counts the bytes of messages.
        tell: makes texts of errors fit for callers.
    """

    method: str
    request: Descriptor
    parse: Callable[[bytes], Any]
    handler: Callable[..., Any]
    scope: Scope | None
    advice: str
    gate: Gate
    observer: RpcObserver
    log: Log
    ids: RequestIds
    deadline: float
    inflight: Inflight
    tell: Tell


class Call:
    """What calls of all kinds have."""

    # Every attribute and every call of a Python function counts here: between two calls, gRPC's
    # own work pushes ours out of the processor's caches, and all of it is read from memory again.
    __slots__ = ("_began", "_id", "_model", "_plane", "_route", "_version", "metadata", "terms")

    # What gRPC asks of a method's handler; without serialisers it hands over bytes.
    request_streaming = False
    response_streaming = False
    request_deserializer = None
    response_serializer = None

    def __init__(self, route: Route, metadata: Metadata) -> None:
        self._route = route
        self.metadata: Mapping[str, str] = dict(metadata)
        self.terms = _NOBODY
        self._id = self._model = ""
        self._plane = 0.0

    def answered(self, answers: Answers) -> None:
        """Note who answered and how long the plane took."""
        version = answers.version
        self._plane += answers.seconds
        self._model, self._version = version.name, version.number

    def _admit(self, context: Any, otherwise: float) -> None:
        """Find out who calls and on which terms; without a deadline, in ``otherwise`` seconds."""
        self._began = began = monotonic()
        route, metadata = self._route, self.metadata
        self._id = request_id = route.ids.of(metadata)
        caller = route.gate.caller(metadata, context.peer(), route.scope)
        left = context.time_remaining()
        if left is None:
            left = otherwise
        elif left <= 0:
            raise DeadlineExceeded("the deadline had passed when the call arrived")
        elif left > LONGEST:
            left = LONGEST
        priority = priority_of(metadata) if PRIORITY in metadata else 0
        self.terms = Terms(caller, began + left, priority, metadata.get(KEY), request_id)

    def _ended(
        self, code: str = "OK", level: Level = "info", error: str = "", waited: float = 0.0
    ) -> None:
        route, model = self._route, self._model
        seconds = monotonic() - self._began
        encode = seconds - self._plane - waited
        route.observer.rpc(route.method, model, code, seconds, encode if encode > 0 else 0.0)
        log = route.log
        if log.every or code != "OK":
            version = self._version if model else 0
            name = self.terms.caller.name
            log.rpc(route.method, code, level, self._id, name, seconds, model, version, error)

    async def _fail(self, error: BaseException, context: Any) -> NoReturn:
        """End the call with the status of ``error``."""
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            # By gRPC: the caller has gone, the deadline has passed, or the server stops.
            late = self.terms.left <= LATE
            self._missed("DEADLINE_EXCEEDED" if late else "CANCELLED")
            raise error
        if not isinstance(error, Exception | asyncio.CancelledError):
            raise error  # the process ends
        known = self._known(error)
        status = status_of(type(known))
        name = type(known).__name__
        if status.code in _FAULTS:
            self._ended(status.name, "error", name)
        elif status.name in ("CANCELLED", "DEADLINE_EXCEEDED"):
            self._missed(status.name, name)
        else:
            self._ended(status.name, "warning", name)
        trailers = (("foretoken-error", name), *pushback(known))
        if self._id:
            trailers += (("x-request-id", self._id),)
        await context.abort(status.code, describe(known, self._route.tell), trailers)
        raise AssertionError("abort always raises")

    def _missed(self, code: str, error: str = "") -> None:
        observer = self._route.observer
        told = observer.cancelled if code == "CANCELLED" else observer.deadline_missed
        told(self._route.method, self._model)
        self._ended(code, "warning", error)

    def _known(self, error: BaseException) -> ForetokenError:
        """The error itself if it is of our tree, or one that stands for it; bugs go to the log."""
        if isinstance(error, asyncio.CancelledError):
            return Unavailable("the work for this call was given up; try again")
        if isinstance(error, grpc.aio.BaseError):
            return Cancelled("the caller has gone")
        known = error if isinstance(error, ForetokenError) else None
        if known is None:
            known = InternalError(f"{self._route.method} failed")
        if status_of(type(known)).code in _FAULTS:
            about = describe_bug(error)
            if known is error:
                about["text"] = describe(known)  # our own words
            self._route.log.event(
                "failure",
                "error",
                request_id=self._id,
                method=self._route.method,
                id=getattr(known, "id", None),
                **about,
            )
        return known


class UnaryCall(Call):
    """One message in, one out."""

    __slots__ = ()

    async def unary_unary(self, data: bytes, context: Any) -> bytes:
        """Answer; this is what gRPC calls."""
        route = self._route
        try:
            self._admit(context, route.deadline)
            size, inflight = len(data), route.inflight
            inflight.take(size)
            try:
                if size > LARGE:
                    expect_few(data, route.request, route.advice)
                try:
                    message = route.parse(data)
                except DecodeError as e:
                    raise malformed(e) from e
                reply = await route.handler(message, self)
                sent: bytes = reply.SerializeToString()
            finally:
                inflight.held -= size
        except BaseException as e:
            await self._fail(e, context)
        self._ended()
        return sent


def malformed(error: DecodeError) -> InvalidInput:
    """The error of our tree for a message that cannot be parsed."""
    return InvalidInput(f"the message is malformed: {error}")
