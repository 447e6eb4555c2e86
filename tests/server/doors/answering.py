"""A plane over a registry, one of its services on a free port, and our client of it."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

from foretoken import AsyncClient
from foretoken.server.plane import Plane
from foretoken.server.settings import load_settings
from tests.server.doors.serving import serving


@contextlib.asynccontextmanager
async def answering(make, registry, **given):
    """A client, the plane, the handlers themselves, and where they listen.

    Args:
        make: the service, of a plane and settings.
        registry: the plane's.
        given: settings.
    """
    settings = load_settings(**given)
    plane = Plane(registry, settings)
    service = make(plane, settings)
    try:
        async with serving(service, **given) as listening:
            address = f"127.0.0.1:{listening.port}"
            async with AsyncClient(address) as client:
                yield SimpleNamespace(
                    client=client, plane=plane, methods=service.methods, address=address
                )
    finally:
        assert plane.inflight == 0
        await plane.close()
