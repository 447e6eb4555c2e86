"""OpenAI's API, as far as it is about embeddings: ``/v1/embeddings`` and ``/v1/models``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from foretoken.errors import Cancelled, ForetokenError, InternalError
from foretoken.server.doors.gate import Gate
from foretoken.server.doors.inflight import Inflight
from foretoken.server.doors.metadata import KEY, PRIORITY, RequestIds, priority_of
from foretoken.server.doors.status import status_of
from foretoken.server.doors.telling import telling
from foretoken.server.doors.texts import TextLimits
from foretoken.server.doors.web.openai_messages import failure, parsed, refusal, reply
from foretoken.server.log import Level, Log, describe_bug
from foretoken.server.registry.records import Model
from foretoken.server.security.gate import HEADER, SCHEME
from foretoken.server.security.tokens import PREFIX
from foretoken.server.settings import Settings
from foretoken.server.terms import Caller, Scope, Terms

if TYPE_CHECKING:
    from foretoken.server.plane import Plane
    from foretoken.server.registry.registry import Registry

__all__ = ["routes"]

R = TypeVar("R")

EMBEDDINGS, MODELS = "/v1/embeddings", "/v1/models"
EARLIER = 0.05  # seconds by which deadlines come before the port's own, to be told in this shape
NOBODY = Terms(Caller("", frozenset()))
OWNER = "foretoken"  # of models that are everybody's
_FAULTS = ("INTERNAL", "DATA_LOSS")


def routes(plane: Plane, settings: Settings, gate: Gate, log: Log | None) -> list[Route]:
    """Both paths.

    Args:
        plane: that answers.
        settings: for the limits.
        gate: says who calls, by the same tokens as for gRPC.
        log: has a record of each call, if there is one.
    """
    door = _Door(plane, settings, gate, log)
    return [
        Route(EMBEDDINGS, door.answering(EMBEDDINGS, door.embeddings), methods=["POST"]),
        Route(MODELS, door.answering(MODELS, door.models)),
    ]


@dataclass
class _Call:
    """One call, from who makes it to what is told of it."""

    request: Request
    terms: Terms = NOBODY
    id: str = ""
    model: str = ""
    version: int = 0


Handler = Callable[[_Call], Awaitable[Response]]


class _Door:
    def __init__(self, plane: Plane, settings: Settings, gate: Gate, log: Log | None) -> None:
        self._plane = plane
        self._gate = gate
        self._log = log
        self._limits = TextLimits.of(settings)
        self._deadline = max(settings.deadline - EARLIER, settings.deadline / 2)
        self._inflight = Inflight(settings.inflight_bytes)
        self._ids = RequestIds()
        self._tell = telling(settings.data_dir)

    # -- what is answered -------------------------------------------------------------------------

    async def embeddings(self, call: _Call) -> Response:
        taken: list[int] = []
        try:
            asked = parsed(await self._body(call.request, taken), self._limits)
            work = self._plane.predict(asked.model, [asked.request], call.terms)
            answers = await _unless_gone(call.request, work)
        finally:
            self._inflight.held -= sum(taken)
        call.model, call.version = answers.version.name, answers.version.number
        return await reply(asked, answers.replies[0], answers.version.ref)

    async def models(self, call: _Call) -> Response:
        caller = call.terms.caller
        found = await asyncio.to_thread(_listed, self._plane.registry, caller)
        data = [
            {
                "id": model.name,
                "object": "model",
                "created": int(model.created.timestamp()),
                "owned_by": model.owner or OWNER,
            }
            for model in found
        ]
        return JSONResponse({"object": "list", "data": data})

    # -- what is the same for all -----------------------------------------------------------------

    def answering(self, path: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """A route's endpoint: who calls, errors in OpenAI's shape, a record in the log."""

        async def endpoint(request: Request) -> Response:
            began, call, error = monotonic(), _Call(request), ""
            try:
                self._admit(call)
                response, code = await handler(call), "OK"
            except HTTPException as e:  # the port's own: the body is too large
                response = refusal(e.status_code, e.detail, headers=e.headers)
                code, error = "INVALID_ARGUMENT", "HTTPException"
            except Exception as e:
                known = self._known(e, path, call)
                response = failure(known, self._tell)
                code, error = status_of(type(known)).name, type(known).__name__
            if call.id:
                response.headers["x-request-id"] = call.id
            self._record(path, code, error, call, monotonic() - began)
            return response

        return endpoint

    def _admit(self, call: _Call) -> None:
        headers = call.request.headers
        call.id = self._ids.of(headers)
        caller = self._gate.caller(_shown(headers), _peer(call.request), Scope.PREDICT)
        priority = priority_of(headers) if PRIORITY in headers else 0
        deadline = monotonic() + self._deadline
        call.terms = Terms(caller, deadline, priority, headers.get(KEY), call.id)

    async def _body(self, request: Request, taken: list[int]) -> bytes:
        """The body; its bytes are in flight, as many as are in ``taken``."""
        chunks = []
        async for chunk in request.stream():
            self._inflight.take(len(chunk))
            taken.append(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks)

    def _known(self, error: Exception, path: str, call: _Call) -> ForetokenError:
        """The error itself if it is of our tree, or one that stands for it; bugs go to the log."""
        if isinstance(error, ClientDisconnect):
            return Cancelled("the caller has gone")
        known = error if isinstance(error, ForetokenError) else InternalError(f"{path} failed")
        if self._log is not None and status_of(type(known)).http == 500:
            about = {**describe_bug(error), "id": getattr(known, "id", None)}
            self._log.event("failure", "error", request_id=call.id, method=path, **about)
        return known

    def _record(self, path: str, code: str, error: str, call: _Call, seconds: float) -> None:
        if self._log is None or (code == "OK" and not self._log.every):
            return
        level: Level = "info" if code == "OK" else "error" if code in _FAULTS else "warning"
        name = call.terms.caller.name
        self._log.rpc(path, code, level, call.id, name, seconds, call.model, call.version, error)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, R]) -> R:
    """What ``work`` returns; it is cancelled when the caller goes.

    Raises:
        Cancelled: then.
    """
    answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())  # there is no more of the body
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise Cancelled("the caller has gone")
        return answer.result()
    finally:
        for task in (answer, gone):
            task.cancel()


def _listed(registry: Registry, caller: Caller) -> list[Model]:
    """All models that the caller sees and that are served, by name."""
    found: list[Model] = []
    after = None
    while page := registry.models(after):
        found += [model for model in page if model.served and caller.sees(model.owner)]
        after = page[-1].name
    return found


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
