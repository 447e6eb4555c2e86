"""What one worker serves with, put together: registry, plane, gate, services, both ports."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from foretoken.server.admin import Admin
from foretoken.server.doors.curves import curves
from foretoken.server.doors.embeddings import embeddings
from foretoken.server.doors.generation import generation
from foretoken.server.doors.health import Health
from foretoken.server.doors.http import HttpDoor
from foretoken.server.doors.listen import listen
from foretoken.server.doors.oip import oip
from foretoken.server.doors.oip.forwarded import Forwarded
from foretoken.server.doors.reflection import reflection
from foretoken.server.doors.registry import registry
from foretoken.server.doors.sequences import sequences
from foretoken.server.doors.service import Service
from foretoken.server.doors.tabular import tabular
from foretoken.server.log import Log
from foretoken.server.metrics import Metrics
from foretoken.server.plane import Plane
from foretoken.server.processes.claims import METRICS
from foretoken.server.processes.connections import Connections, longest_hand_over
from foretoken.server.processes.forwarding import Forwarding
from foretoken.server.processes.lifeline import Message
from foretoken.server.processes.peers import Peers
from foretoken.server.registry.registry import Registry
from foretoken.server.security.gate import TokenGate
from foretoken.server.security.limiter import Limiter
from foretoken.server.sessions.owners import FILE, Owners
from foretoken.server.sessions.sequences import Sequences
from foretoken.server.settings import Settings
from foretoken.server.statistics import Statistics

__all__ = ["Serving"]

LIMITS = "limits"
CLOSING = 1.0  # seconds of the drain that are kept for closing what is empty


class Serving:
    """One worker's server, from the registry to the ports.

    Args:
        settings: with ports as numbers.
        run: the run folder.
        number: of the worker.
        log: of the worker.

    Raises:
        ForetokenError: if the data dir cannot be used.
    """

    def __init__(self, settings: Settings, run: Path, number: int, log: Log) -> None:
        self._settings = settings
        self._ready = False
        self._registry = Registry.open(settings.data_dir)
        self._metrics = Metrics(run / METRICS)
        self._plane = Plane(self._registry, settings, self._metrics)
        self._limiter = Limiter(run / LIMITS)
        self._log = log
        self._peers = Peers(run, number, self._plane.follow, log)
        self._owners = Owners(settings.data_dir / FILE, number)
        self._forwarding = Forwarding(run, number, settings.message_bytes, settings.queue, log)
        self._sequences = Sequences(
            self._plane.sessions,
            self._plane.describe,
            settings.session_ttl,
            self._owners,
            self._forwarding,
        )
        self._admin = Admin(self._plane, self._peers.follow, settings.upload_bytes)
        self._health = Health(self._plane)
        self._connections = Connections(settings.grpc_port)
        gate = TokenGate(self._registry, settings, self._limiter, self._refused)
        self._http = HttpDoor(self._plane, self._metrics, settings, lambda: self._ready, gate, log)
        self._listener = listen(self._services(), gate, self._metrics, log, settings)

    def _services(self) -> list[Service]:
        services = [
            oip(
                self._plane,
                Statistics(self._metrics),
                self._settings,
                self._peers.follow,
                self._sequences,
            ),
            self._health.service(),
            curves(self._plane, self._settings),
            tabular(self._plane, self._settings),
            sequences(self._plane, self._settings),
            embeddings(self._plane, self._settings),
            generation(self._plane, self._admin, self._settings),
            registry(self._admin, self._settings.data_dir),
        ]
        return [*services, *reflection(services)]

    async def start(self) -> list[Message]:
        """Load the champions, warm them up, and listen; returns what is served.

        Raises:
            ForetokenError: if a port cannot be had or a setting is not acceptable.
        """
        await self._metrics.start()
        await self._http.start(self._settings.http_port)  # tells of loading meanwhile
        await self._plane.start()
        await self._peers.start()
        answer = Forwarded(self._plane, self._settings, self._sequences).answer
        await self._forwarding.start(answer, self._sequences.drop)
        self._sequences.start()
        await self._listener.start(self._settings.grpc_port)
        self._ready = True
        return [
            {"name": held.version.name, "version": held.version.number, "task": str(held.task)}
            for held in sorted(self._plane.loaded, key=lambda held: held.version.ref)
        ]

    async def hand_over(self) -> None:
        """Serve those who are connected, and nobody else, until they have gone to other workers.

        Streams may outlast it.
        """
        leaving = asyncio.ensure_future(self._http.stop(self._settings.deadline))
        if await self._connections.refuse_new():
            await self._connections.gone(longest_hand_over(self._settings))
        await leaving

    async def stop(self) -> None:
        """Say that it ends, take nothing new, let what is in flight end, and close everything.

        The HTTP port tells until the end that this worker is not ready.
        """
        end = time.monotonic() + self._settings.drain
        self._ready = False
        self._health.draining()
        await self._sequences.drain((end - time.monotonic()) / 2)  # and all other sessions
        await self._listener.stop(max(0.0, end - time.monotonic() - CLOSING))
        await self._plane.drain(max(0.0, end - time.monotonic() - CLOSING))
        self._admin.close()
        await self._plane.close()
        await self._forwarding.stop()
        self._owners.close()
        await self._peers.stop()
        await self._http.stop()
        await self._metrics.stop()
        await asyncio.to_thread(self._registry.close)
        self._limiter.close()

    def _refused(self, why: str, peer: str) -> None:
        self._metrics.refused(why, peer)
        self._log.event("refused", "warning", why=why, peer=peer)
