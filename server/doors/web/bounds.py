"""What an HTTP caller may take of the server: connections, time, header and body sizes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from foretoken.errors import DeadlineExceeded, ForetokenError, InternalError
from foretoken.server.doors.web.answers import failure, refusal, refused
from foretoken.server.log import describe_bug

__all__ = ["HEADER_BYTES", "Bounded", "Connection"]

_log = logging.getLogger("foretoken.http")
CONNECTIONS = 1000  # of one worker
HEADER_BYTES = 16 << 10
HEADER_SECONDS = 10.0


class Connection(H11Protocol):
    """One connection; it is closed when a request's header takes too long, or there are too many.

    uvicorn itself waits for a header as long as the caller likes.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        elif self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Bounded:
    """Bounds a request's header, body and time, and turns what nobody foresaw into an answer.

    Args:
        app: that answers.
        body: most bytes of a request's body.
        seconds: from a request's header to the end of its answer.
    """

    def __init__(self, app: ASGIApp, body: int, seconds: float) -> None:
        self._app, self._body, self._seconds = app, body, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _header(scope) > HEADER_BYTES:  # h11 counts only those that arrive in pieces
            large = refusal(431, f"a header has at most {HEADER_BYTES} bytes")
            await (await refused(Request(scope), large))(scope, receive, send)
            return
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, self._counted(scope, receive), sending)
        except TimeoutError:
            if began:
                raise  # uvicorn closes the connection, so that half an answer does not look whole
            error: ForetokenError = DeadlineExceeded(f"not answered in {self._seconds:g} seconds")
            await failure(error)(scope, receive, send)
        except Exception as e:
            error = InternalError("the server failed to answer")
            _log.error("%s: %s", error, describe_bug(e))
            if began:
                raise
            await failure(error)(scope, receive, send)

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        left = self._body

        async def counted() -> Any:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0 or int(declared) > self._body:
                raise refusal(413, f"a body has at most {self._body} bytes")
            return message

        return counted


def _header(scope: Scope) -> int:
    """Bytes of a request's target and fields, about as they came."""
    fields = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    return len(scope["raw_path"]) + len(scope["query_string"]) + fields
