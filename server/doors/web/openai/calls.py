"""Calls of OpenAI's API: what is the same for all, from who calls to what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from time import monotonic
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from foretoken.errors import Cancelled, ForetokenError, InternalError
from foretoken.server.doors.gate import Gate
from foretoken.server.doors.inflight import Inflight
from foretoken.server.doors.metadata import KEY, PRIORITY, RequestIds, priority_of
from foretoken.server.doors.status import status_of
from foretoken.server.doors.telling import telling
from foretoken.server.doors.web.openai.errors import failure, refusal, said_of
from foretoken.server.doors.web.openai.events import Events
from foretoken.server.log import Level, Log, describe_bug
from foretoken.server.registry.records import Version
from foretoken.server.security.gate import HEADER, SCHEME
from foretoken.server.security.tokens import PREFIX
from foretoken.server.settings import Settings
from foretoken.server.terms import Caller, Scope, Terms

__all__ = ["Call", "Calls"]

R = TypeVar("R")

EARLIER = 0.05  # seconds by which deadlines come before the port's own, to be told in this shape
NOBODY = Terms(Caller("", frozenset()))
_FAULTS = ("INTERNAL", "DATA_LOSS")


class Call:
    """One call.

    Args:
        path: that was called.
        request: as it came.
        inflight: counts the bytes of its body, until it has ended.
    """

    def __init__(self, path: str, request: Request, inflight: Inflight) -> None:
        self.path = path
        self.request = request
        self.terms = NOBODY
        self.id = ""
        self.model = ""
        self.version = 0
        self._inflight = inflight
        self._taken = 0
        self._began = monotonic()

    @property
    def seconds(self) -> float:
        """Since it came."""
        return monotonic() - self._began

    async def body(self) -> bytes:
        """All of its body."""
        chunks = []
        async for chunk in self.request.stream():
            self._inflight.take(len(chunk))
            self._taken += len(chunk)
            chunks.append(chunk)
        return b"".join(chunks)

    def answered(self, version: Version) -> None:
        """Note which version answers."""
        self.model, self.version = version.name, version.number

    async def unless_gone(self, work: Coroutine[Any, Any, R]) -> R:
        """What ``work`` returns; it is cancelled when the caller goes.

        Raises:
            Cancelled: then.
        """
        answer = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self.request.receive())  # there is no more of the body
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Cancelled("the caller has gone")
            return answer.result()
        finally:
            for task in (answer, gone):
                task.cancel()

    def ended(self) -> None:
        """Let go of its body."""
        self._inflight.held -= self._taken
        self._taken = 0


Handler = Callable[[Call], Awaitable[Response]]


class Calls:
    """Turns handlers of calls into endpoints.

    Args:
        settings: for the limits.
        gate: says who calls, by the same tokens as for gRPC.
        log: has a record of each call, if there is one.
    """

    def __init__(self, settings: Settings, gate: Gate, log: Log | None) -> None:
        self._gate = gate
        self._log = log
        self._deadline = max(settings.deadline - EARLIER, settings.deadline / 2)
        self._inflight = Inflight(settings.inflight_bytes)
        self._ids = RequestIds()
        self._tell = telling(settings.data_dir)

    def endpoint(self, path: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """A route's endpoint: who calls, errors in OpenAI's shape, a record in the log.

        Args:
            path: of the route.
            handler: answers calls, at once or by events; ForetokenErrors are its refusals.
        """

        async def endpoint(request: Request) -> Response:
            call, error = Call(path, request, self._inflight), ""
            response: Response | None = None
            try:
                self._admit(call)
                response, code = await handler(call), "OK"
            except HTTPException as e:  # the port's own: the body is too large
                response = refusal(e.status_code, e.detail, e.headers)
                code, error = "INVALID_ARGUMENT", "HTTPException"
            except Exception as e:
                known = self._known(e, call)
                response = failure(known, self._tell)
                code, error = status_of(type(known)).name, type(known).__name__
            finally:
                if not isinstance(response, Events):
                    call.ended()
            if call.id:
                response.headers["x-request-id"] = call.id
            if isinstance(response, Events):
                self._follow(response, call)
            else:
                self._record(code, error, call)
            return response

        return endpoint

    def _follow(self, events: Events, call: Call) -> None:
        """The call goes on until its events have ended."""

        def failed(error: Exception) -> Mapping[str, Any]:
            return said_of(self._known(error, call), self._tell)

        def ended(error: BaseException | None) -> None:
            call.ended()
            if error is None:
                self._record("OK", "", call)
                return
            kind = type(error) if isinstance(error, ForetokenError) else InternalError
            if not isinstance(error, Exception):  # the port gives the answer up
                kind = Cancelled
            self._record(status_of(kind).name, kind.__name__, call)

        events.failed, events.ended = failed, ended

    def _admit(self, call: Call) -> None:
        headers = call.request.headers
        call.id = self._ids.of(headers)
        caller = self._gate.caller(_shown(headers), _peer(call.request), Scope.PREDICT)
        priority = priority_of(headers) if PRIORITY in headers else 0
        deadline = monotonic() + self._deadline
        call.terms = Terms(caller, deadline, priority, headers.get(KEY), call.id)

    def _known(self, error: Exception, call: Call) -> ForetokenError:
        """The error itself if it is of our tree, or one that stands for it; bugs go to the log."""
        if isinstance(error, ClientDisconnect):
            return Cancelled("the caller has gone")
        known = error if isinstance(error, ForetokenError) else InternalError(f"{call.path} failed")
        if self._log is not None and status_of(type(known)).http == 500:
            about = {**describe_bug(error), "id": getattr(known, "id", None)}
            self._log.event("failure", "error", request_id=call.id, method=call.path, **about)
        return known

    def _record(self, code: str, error: str, call: Call) -> None:
        if self._log is None or (code == "OK" and not self._log.every):
            return
        level: Level = "info" if code == "OK" else "error" if code in _FAULTS else "warning"
        name, seconds = call.terms.caller.name, call.seconds
        self._log.rpc(
            call.path, code, level, call.id, name, seconds, call.model, call.version, error
        )


def _shown(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers without a key that is no token of ours.

    OpenAI's clients send a key whether one is needed or not. Without one a caller is anonymous, or
    refused where tokens are required.
    """
    scheme, _, secret = headers.get(HEADER, "").partition(" ")
    if scheme.lower() != SCHEME or secret.strip().startswith(PREFIX):
        return headers
    return {name: value for name, value in headers.items() if name != HEADER}


def _peer(request: Request) -> str:
    """The caller's address, as gRPC writes it."""
    if request.client is None:
        return "unix:"
    host, port = request.client
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
