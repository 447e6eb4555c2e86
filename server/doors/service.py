"""What a gRPC service is here: methods by name, each a function of messages and a call.

``rpc`` turns a ``Service`` into gRPC handlers and does for all of them what is the same for all:
who calls, deadlines, errors to status codes, metrics, log. A service only translates.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from foretoken.server.doors.parts import ADVICE
from foretoken.server.terms import Scope, Terms

if TYPE_CHECKING:
    from foretoken.server.plane import Answers

__all__ = ["Bidirectional", "Call", "Method", "Reader", "Service", "Stream", "Unary", "Upload"]


class Call(Protocol):
    """One call, as far as a service needs to know it."""

    terms: Terms
    metadata: Mapping[str, str]  # what the caller sent beside the message, keys in lower case

    def answered(self, answers: Answers) -> None:
        """Note who answered and how long the plane took, for metrics and the log."""


class Reader(Protocol):
    """Messages of the caller, in order."""

    async def read(self) -> Any | None:
        """The next message, or None when the caller will send no more."""


class Stream(Reader, Protocol):
    """A bidirectional stream.

    The bytes of a message count as in flight until the next is read, or it is kept.

    Attributes:
        cut: whether there are no more messages because the server stops.
    """

    @property
    def cut(self) -> bool: ...

    def expect(self, scope: Scope | None) -> Terms:
        """The terms of the stream, if its caller has this scope, too.

        None: if its token is still valid, which no limit counts.

        Raises:
            Unauthenticated, PermissionDenied: it has not.
        """

    def keep(self) -> int:
        """Let the last message count until ``let_go`` or the end of the stream; returns its bytes.

        For those who read on while they work on it.
        """

    def let_go(self, size: int) -> None:
        """Count so many bytes that were kept no more."""

    async def write(self, message: Message) -> None:
        """Send a message; waits while the caller reads too slowly."""


@dataclass(frozen=True)
class Unary:
    """One message in, one out; ``scope`` None needs no token.

    ``advice`` is for those who send more parts in a message than any has: see ``parts``.
    """

    handler: Callable[[Any, Call], Awaitable[Message]]
    scope: Scope | None = Scope.PREDICT
    advice: str = ADVICE


@dataclass(frozen=True)
class Upload:
    """Many messages in, one out."""

    handler: Callable[[Reader, Call], Awaitable[Message]]
    scope: Scope | None = Scope.ADMIN
    advice: str = ADVICE


@dataclass(frozen=True)
class Bidirectional:
    """Many messages in, many out; the stream ends when the handler returns."""

    handler: Callable[[Stream, Call], Awaitable[None]]
    scope: Scope | None = Scope.PREDICT
    advice: str = ADVICE


Method = Unary | Upload | Bidirectional


@dataclass(frozen=True)
class Service:
    """A service of a definition, with a method for each that it declares."""

    descriptor: ServiceDescriptor
    methods: Mapping[str, Method]
