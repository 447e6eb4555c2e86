"""An HTTP port over a shelf of models, for the tests of it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from foretoken.server.doors.gate import OPEN, Gate
from foretoken.server.doors.http import HttpDoor
from foretoken.server.log import Log
from foretoken.server.metrics import Metrics
from foretoken.server.registry.records import Model, Origin, Status, Version
from foretoken.server.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def version(name: str, number: int, *aliases: str, family: str = "lcpfn") -> Version:
    return Version(
        name, number, "sha256:0", Status.READY, "", family, "fp32", 1, NOW, Origin.USER,
        aliases=aliases,
    )  # fmt: skip


class Shelf:
    """A registry as far as the index page reads it."""

    def __init__(self, *versions: Version, owners: dict[str, str] | None = None) -> None:
        self._versions, self._owners = versions, owners or {}

    def models(self, after=None, limit=100, *, tenants=None) -> list[Model]:
        found = []
        for name in sorted({v.name for v in self._versions}):
            own = [v for v in self._versions if v.name == name]
            aliases = {alias: v.number for v in own for alias in v.aliases}
            owner = self._owners.get(name)
            if tenants is None or owner is None or owner in tenants:
                found.append(Model(name, len(own), own[-1].number, aliases, NOW, owner))
        return found[:limit]

    def versions(self, name, after=None, limit=100) -> list[Version]:
        return [v for v in reversed(self._versions) if v.name == name][:limit]

    def show(self, ref) -> Version:
        return next(v for v in self._versions if v.ref == ref)


class Running:
    """A door in this event loop, asked by threads; over a shelf unless there is a plane."""

    def __init__(
        self,
        settings: Settings | None = None,
        shelf: Shelf | None = None,
        plane: Any = None,
        gate: Gate = OPEN,
        log: Log | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.metrics = Metrics()
        self.ready = True
        self.plane = plane or SimpleNamespace(registry=shelf or Shelf(), loaded=[])
        self.door = HttpDoor(self.plane, self.metrics, self.settings, lambda: self.ready, gate, log)
        self.port = 0

    async def __aenter__(self) -> Running:
        self.port = await self.door.start(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.door.stop()

    async def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> Any:
        return await asyncio.to_thread(self._ask, path, method, body, headers)

    def _ask(self, path: str, method: str, body: bytes | None, headers: dict[str, str]) -> Any:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port)) as connection:
            connection.request(method, path, body, headers=headers)
            answer = connection.getresponse()
            return SimpleNamespace(
                status=answer.status, headers=answer.headers, text=answer.read().decode()
            )


def run(check, *args, **kwargs) -> None:
    async def whole() -> None:
        async with Running(*args, **kwargs) as running:
            await check(running)

    asyncio.run(whole())


def told(port: int, sent: bytes, then: bytes = b"", pause: float = 0.0) -> tuple[bytes, float]:
    """What the server answers to raw bytes until it closes, and after how many seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        began, answer = time.monotonic(), b""
        connection.sendall(sent)
        with contextlib.suppress(ConnectionError):
            if then:
                time.sleep(pause)
                connection.sendall(then)
            while data := connection.recv(4096):
                answer += data
        return answer, time.monotonic() - began


ONE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
