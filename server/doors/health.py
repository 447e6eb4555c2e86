"""``grpc.health.v1``: of the server, and of each model.

The empty service name asks for the server; others are models, as ``NAME``, ``NAME:VERSION`` or
``ALIAS@NAME``. Nobody needs a token, but a tenant's models are found with its token only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from foretoken.errors import ForetokenError, InvalidInput, NotFound, Unavailable
from foretoken.proto import health as wire
from foretoken.proto.loading import service
from foretoken.server.doors.service import Bidirectional, Call, Service, Stream, Unary
from foretoken.server.terms import Terms

if TYPE_CHECKING:
    from foretoken.server.plane import Plane

__all__ = ["LOOK", "Health"]

LOOK = 0.5  # seconds between looks at a model that is watched
LONGEST = 1000  # characters of a name that is watched
_Status = wire.HealthCheckResponse.ServingStatus


class Health:
    """Answers health checks.

    Args:
        plane: knows the models.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._draining = asyncio.Event()

    def service(self) -> Service:
        """The door."""
        return Service(
            service("grpc/health.proto", "Health"),
            {
                "Check": Unary(self._check, scope=None),
                "List": Unary(self._list, scope=None),
                "Watch": Bidirectional(self._watch, scope=None),
            },
        )

    def draining(self) -> None:
        """From now on nothing is serving; those who watch are told, and their streams end."""
        self._draining.set()

    async def _check(
        self, request: wire.HealthCheckRequest, call: Call
    ) -> wire.HealthCheckResponse:
        status = await self._status(request.service, call.terms)
        if status == _Status.SERVICE_UNKNOWN:
            raise NotFound(f"no model {request.service!r}")
        return wire.HealthCheckResponse(status=status)

    async def _list(self, _request: wire.HealthListRequest, call: Call) -> wire.HealthListResponse:
        held = [loaded.version for loaded in self._plane.loaded]
        names = {version.name for version in held if call.terms.caller.sees(version.owner)}
        reply = wire.HealthListResponse()
        for name in ("", *sorted(names)):
            status = await self._status(name, call.terms)
            if status != _Status.SERVICE_UNKNOWN:
                reply.statuses[name].status = status
        return reply

    async def _watch(self, stream: Stream, call: Call) -> None:
        request = await stream.read()
        if request is None:
            raise InvalidInput("Watch needs a request: the name of a service")
        name = request.service
        if len(name) > LONGEST:  # it is held for as long as the stream is open
            raise InvalidInput(f"no model has a name of more than {LONGEST} characters")
        del request
        stream.let_go(stream.keep())
        told: Any = None
        while True:
            last = self._draining.is_set()  # before the status is asked, which then knows of it
            status = await self._status(name, call.terms)
            if status != told:
                await stream.write(wire.HealthCheckResponse(status=status))
                told = status
            if last:
                raise Unavailable("this server stops; watch another one")
            await self._pause(LOOK if name else None)

    async def _status(self, model: str, terms: Terms) -> _Status:
        if self._draining.is_set():
            return _Status.NOT_SERVING
        if not model:
            return _Status.SERVING
        try:
            ready = await self._plane.ready(model, terms, load=False)
        except (NotFound, InvalidInput):  # the latter for what cannot be a name
            return _Status.SERVICE_UNKNOWN
        except ForetokenError:
            return _Status.NOT_SERVING
        return _Status.SERVING if ready else _Status.NOT_SERVING

    async def _pause(self, seconds: float | None) -> None:
        """Wait so long, or until the server drains."""
        try:
            async with asyncio.timeout(seconds):
                await self._draining.wait()
        except TimeoutError:
            pass
