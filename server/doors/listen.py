"""The gRPC server of one worker: ports, limits, TLS, an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc

from foretoken.errors import Unavailable
from foretoken.server.doors.rpc import Gate, Handlers, RpcObserver
from foretoken.server.doors.service import Service
from foretoken.server.doors.tls import credentials
from foretoken.server.log import Log
from foretoken.server.settings import Settings

__all__ = ["Listener", "listen"]

_MS = 1000
CLEANUP = 2.0  # seconds that handlers have to clean up once they are cut off
HANDSHAKE = 20 * _MS  # ms until a connection that says nothing is closed
KEEPALIVE = 60 * _MS  # ms without traffic until a peer is asked whether it is still there
ANSWER = 20 * _MS  # ms that it has to answer
PINGS = 10 * _MS  # ms that must lie between the pings of a client


class Listener:
    """Accepts calls on one port, and on a Unix socket if asked.

    Args:
        handlers: of every call.
        settings: host, limits and TLS.
    """

    def __init__(self, handlers: Handlers, settings: Settings) -> None:
        self._handlers = handlers
        self._settings = settings
        self._server: grpc.aio.Server | None = None
        self._unix: Path | None = None

    @property
    def streams(self) -> Mapping[str, int]:
        """How many streams are open now, by method; methods without any are left out."""
        return self._handlers.streams

    @property
    def inflight(self) -> int:
        """Bytes of the messages that are being worked on now."""
        return self._handlers.inflight

    async def start(self, port: int, unix: Path | None = None) -> int:
        """Listen; returns the port, which matters where ``port`` is 0.

        Args:
            port: on the settings' host; other workers may share it.
            unix: a socket for processes of the same user, which needs no TLS.

        Raises:
            InvalidInput: if the TLS files are not acceptable.
            Unavailable: if the port or the socket cannot be had.
        """
        server = grpc.aio.server(options=_options(self._settings))
        server.add_generic_rpc_handlers((self._handlers,))
        host = self._settings.host
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        secret = credentials(self._settings)
        bound = _bind(server, address, secret)
        if unix is not None:
            unix.unlink(missing_ok=True)  # of a worker that was killed
            _bind(server, f"unix:{unix}", None)
            unix.chmod(0o600)
            self._unix = unix
        await server.start()
        self._server = server
        return bound

    async def stop(self, grace: float) -> None:
        """Refuse new calls, let those in flight end within ``grace`` seconds, then cut them off.

        Streams that wait for their caller are ended at once: nothing of theirs is in flight.
        """
        server, self._server = self._server, None
        if server is None:
            return
        self._handlers.drain()
        await server.stop(grace)
        # gRPC does not wait for the handlers of what it has cut off.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLEANUP):
                await self._handlers.ended()
        if self._unix is not None:
            self._unix.unlink(missing_ok=True)


def listen(
    services: Sequence[Service], gate: Gate, observer: RpcObserver, log: Log, settings: Settings
) -> Listener:
    """A listener for ``services``; nothing is bound before it is started."""
    return Listener(Handlers(services, gate, observer, log, settings), settings)


def _bind(server: grpc.aio.Server, address: str, secret: grpc.ServerCredentials | None) -> int:
    try:
        if secret is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, secret)
    except RuntimeError as e:
        raise Unavailable(f"cannot listen on {address}: {e}") from e
    if not bound:
        raise Unavailable(f"cannot listen on {address}: it is taken or not an address of this host")
    return int(bound)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", settings.streams),
        ("grpc.max_connection_idle_ms", int(settings.idle * _MS)),
        ("grpc.max_connection_age_ms", int(settings.age * _MS)),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE),
        ("grpc.keepalive_time_ms", KEEPALIVE),
        ("grpc.keepalive_timeout_ms", ANSWER),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", PINGS),
        ("grpc.http2.max_ping_strikes", 4),
    ]
