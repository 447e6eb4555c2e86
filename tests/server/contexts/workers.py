"""Clients of each worker of a server: whose connection is whose, the kernel knows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from foretoken import Client
from foretoken.errors import Unavailable
from tests.serving import Server

__all__ = ["each_worker"]

ESTABLISHED = "01"
PATIENCE = 60.0  # seconds


@contextmanager
def each_worker(server: Server, **connection) -> Iterator[list[Client]]:
    """One client for each worker that there is now, connected to it alone.

    Args:
        server: with all its workers.
        connection: options of the clients.
    """
    with ExitStack() as opened:
        found: dict[int, Client] = {}
        end = time.monotonic() + PATIENCE
        while set(found) != (workers := set(server.workers)) or not workers:
            assert time.monotonic() < end, "some worker takes no connection"
            before = _connections(server)
            client = opened.enter_context(Client(server.address, **connection))
            try:
                client.models()
            except Unavailable:  # a new worker does not listen yet
                time.sleep(0.1)
                continue
            for worker, sockets in _connections(server).items():
                if sockets - before.get(worker, set()):
                    found.setdefault(worker, client)
        yield list(found.values())


def _connections(server: Server) -> dict[int, set[str]]:
    """Inodes of each worker's connections to the gRPC port."""
    port = f":{int(server.address.rpartition(':')[2]):04X}"
    there = set()
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            rows = Path("/proc/net", table).read_text().splitlines()[1:]
            fields = [row.split() for row in rows]
            there |= {f[9] for f in fields if f[1].endswith(port) and f[3] == ESTABLISHED}
    return {worker: there & _sockets(worker) for worker in server.workers}


def _sockets(pid: int) -> set[str]:
    """Inodes of a process's sockets."""
    links = []
    with suppress(OSError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                links.append(os.readlink(handle))
    return {link[8:-1] for link in links if link.startswith("socket:[")}
