"""A real server, and both clients behind one way of asking."""

from __future__ import annotations

import asyncio
import socket

import pytest

from foretoken import AsyncClient, Client
from tests.client_server import Fake
from tests.serving import serving


@pytest.fixture(scope="session")
def server():
    with serving() as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def ask(request):
    """``ask(address, method, *args, **kwargs)`` by either client."""

    def sync(address, method, /, *args, connection=None, **kwargs):
        with Client(address, **(connection or {})) as client:
            return getattr(client, method)(*args, **kwargs)

    async def once(address, method, /, *args, connection=None, **kwargs):
        async with AsyncClient(address, **(connection or {})) as client:
            return await getattr(client, method)(*args, **kwargs)

    if request.param == "sync":
        return sync
    return lambda *args, **kwargs: asyncio.run(once(*args, **kwargs))


@pytest.fixture
def fake():
    with Fake() as running:
        yield running


@pytest.fixture
def free_port():
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
