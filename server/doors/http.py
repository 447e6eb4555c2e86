"""The HTTP port of one worker: metrics, health, the index page, and OpenAI's API."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from foretoken.errors import InvalidInput, Unavailable
from foretoken.server.doors.gate import OPEN, Gate
from foretoken.server.log import Log
from foretoken.server.metrics import Metrics
from foretoken.server.settings import Settings

if TYPE_CHECKING:
    import uvicorn
    from starlette.routing import BaseRoute

    from foretoken.server.plane import Plane

__all__ = ["HttpDoor"]

KEEP_ALIVE = 5  # seconds that a connection stays open between requests
GRACE = 2  # seconds that answers have to end when the port is closed
BACKLOG = 256
RENEWAL = 1  # seconds between looks at whether the certificate was renewed


class HttpDoor:
    """Serves HTTP in the running event loop; other workers may share the port.

    Args:
        plane: whose models the index page lists, and that answers.
        metrics: of this worker, which show those of all.
        settings: host, TLS, largest body, longest request.
        ready: whether this worker answers requests now.
        gate: says who calls, where that matters.
        log: has a record of calls that models answer.
    """

    def __init__(
        self,
        plane: Plane,
        metrics: Metrics,
        settings: Settings,
        ready: Callable[[], bool],
        gate: Gate = OPEN,
        log: Log | None = None,
    ) -> None:
        self._plane = plane
        self._metrics = metrics
        self._settings = settings
        self._ready = ready
        self._gate = gate
        self._log = log
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._certificate: tuple[int, ...] = ()

    async def start(self, port: int, grpc_port: int | None = None) -> int:
        """Listen; returns the port, which matters where ``port`` is 0.

        Args:
            port: on the settings' host.
            grpc_port: that the index page names; the settings' by default.

        Raises:
            InvalidInput: if the TLS files are not acceptable.
            Unavailable: if the port cannot be had.
        """
        config = await asyncio.to_thread(self._config, grpc_port or self._settings.grpc_port)
        listening = await asyncio.to_thread(_listening, self._settings.host, port)
        self._server = _server(config)
        self._serving = asyncio.create_task(self._server.serve(listening))
        while not self._server.started:
            if self._serving.done():
                await self._serving
                raise Unavailable(f"cannot serve HTTP on {self._settings.host}:{port}")
            await asyncio.sleep(0)
        return int(listening[0].getsockname()[1])

    async def stop(self, grace: float = GRACE) -> None:
        """Close the port; answers under way have ``grace`` seconds to end.

        To ask again, for less, shortens it.
        """
        server, serving = self._server, self._serving
        if server is None or serving is None:
            return
        server.config.timeout_graceful_shutdown = math.ceil(grace)  # is read once
        server.should_exit = True
        await asyncio.wait({serving}, timeout=grace + 1)
        server.force_exit = True
        await serving
        self._server = self._serving = None

    def _routes(self, grpc_port: int) -> list[BaseRoute]:
        from foretoken.server.doors.web import (  # noqa: PLC0415 late: 150 ms
            index,
            openai,
            operations,
        )

        return [
            *operations.routes(self._metrics, self._ready),
            *index.routes(self._plane, self._settings, grpc_port, self._metrics),
            *openai.routes(self._plane, self._settings, self._gate, self._log),
        ]

    def _config(self, grpc_port: int) -> uvicorn.Config:
        """Everything that takes a while: imports, certificates."""
        import uvicorn  # noqa: PLC0415 late: 100 ms

        from foretoken.server.doors.web.app import application  # noqa: PLC0415
        from foretoken.server.doors.web.bounds import HEADER_BYTES, Connection  # noqa: PLC0415

        settings = self._settings
        config = uvicorn.Config(
            application(self._routes(grpc_port), settings),
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # what callers get wrong is no news
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            h11_max_incomplete_event_size=HEADER_BYTES,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            ssl_ca_certs=settings.tls_client_ca,
            ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
            callback_notify=self._renew if settings.tls_cert else None,
            timeout_notify=RENEWAL,
        )
        try:
            config.load()
            self._certificate = self._stamp()
        except (OSError, ssl.SSLError) as e:
            raise InvalidInput(
                f"tls_cert, tls_key or tls_client_ca is not acceptable as PEM: {e}"
            ) from e
        return config

    async def _renew(self) -> None:
        """Show the renewed certificate to new connections; one that is broken is left alone."""
        with contextlib.suppress(OSError, ssl.SSLError):
            if self._server is not None and (stamp := self._stamp()) != self._certificate:
                context = self._server.config.ssl
                if context is not None and self._settings.tls_cert is not None:
                    context.load_cert_chain(self._settings.tls_cert, self._settings.tls_key)
                    self._certificate = stamp

    def _stamp(self) -> tuple[int, ...]:
        files = (self._settings.tls_cert, self._settings.tls_key)
        return tuple(path.stat().st_mtime_ns for path in files if path is not None)


def _server(config: uvicorn.Config) -> uvicorn.Server:
    """A server that leaves signals to the process it runs in."""
    import uvicorn  # noqa: PLC0415

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(config)


def _listening(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address of the host, on a port that other workers may listen on as well."""
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in sorted({(family, address[0]) for family, *_, address in found}):
            number = bound[0].getsockname()[1] if bound else port
            try:
                bound.append(_bound(family, str(address), number))
            except OSError as e:  # "localhost" may have a name for an IPv6 that is switched off
                if e.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
        if not bound:
            raise OSError(errno.EADDRNOTAVAIL, "it is no address of this machine")
    except (OSError, UnicodeError) as e:
        for listening in bound:
            listening.close()
        reason = getattr(e, "strerror", None) or e
        raise Unavailable(f"cannot listen on {host}:{port}: {reason}") from e
    return bound


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6 and address != "::":  # that stands for IPv4 too
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((address, port))
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening
