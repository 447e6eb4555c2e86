"""A worker's gate, registry and door, without processes around it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import grpc
import pytest

from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.server.admin import Admin
from foretoken.server.doors.gate import QUIET
from foretoken.server.doors.listen import listen
from foretoken.server.doors.registry import registry as door
from foretoken.server.log import Log
from foretoken.server.plane import Plane
from foretoken.server.registry.bundled import register_bundled
from foretoken.server.registry.registry import Registry
from foretoken.server.security.gate import TokenGate
from foretoken.server.security.limiter import Limiter
from foretoken.server.security.tokens import Wanted, create
from foretoken.server.settings import Settings
from tests.wire import RegistryWire

LCPFN = Artefact.read(bundled()["lcpfn"])
LIMIT = 4 << 20  # bytes of an upload


class House:
    """Start it with ``opened``."""

    def __init__(self, data_dir, host="127.0.0.1", **settings):
        self.settings = Settings(data_dir=data_dir, host=host, upload_bytes=LIMIT, **settings)
        self.registry = Registry.open(data_dir)
        register_bundled(self.registry, {"lcpfn": bundled()["lcpfn"]})
        self.followed, self.log = 0, Log()

    async def _follow(self):
        await self.plane.follow()
        self.followed += 1

    async def start(self):
        self.plane = Plane(self.registry, self.settings)
        self.admin = Admin(self.plane, self._follow, self.settings.upload_bytes)
        self.limiter = Limiter(self.settings.data_dir / "run" / "limits")
        gate = TokenGate(self.registry, self.settings, self.limiter)
        service = door(self.admin, self.settings.data_dir)
        self.listener = listen([service], gate, QUIET, self.log, self.settings)
        return await self.listener.start(0)

    async def stop(self):
        await self.listener.stop(5)
        self.admin.close()
        await self.plane.close()
        self.limiter.close()
        self.log.close()

    def as_(self, token=None) -> RegistryWire:
        return RegistryWire(self.channel, token)

    def token(self, name, *scopes, **others) -> RegistryWire:
        """A caller with a new token."""
        secret, _ = create(self.registry.tokens, Wanted(name, scopes, **others))
        return self.as_(secret)

    def incoming(self):
        return list((self.settings.data_dir / "blobs" / "incoming").iterdir())


@contextmanager
def opened(house: House):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(house.start(), loop).result(30)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as house.channel:
            yield house
    finally:
        asyncio.run_coroutine_threadsafe(house.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
        house.registry.close()


def refusal(call, *args, **kwargs) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as refused:
        call(*args, **kwargs)
    return refused.value.code().name, refused.value.details()
