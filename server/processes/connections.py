"""Connections of this process to its gRPC port, as the kernel knows them.

gRPC can stop a server only whole: it closes the listening socket, asks callers to go, and cancels
every call that arrives before they have heard of it. A worker that is replaced need not: it closes
the listening socket alone, so that new connections go to others, serves those it has, and stops
when the last one has reached its age, been asked to go, and gone. That loses no call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from foretoken.server.settings import Settings

__all__ = ["Connections", "longest_hand_over", "waiting"]

DESCRIPTORS = Path("/proc/self/fd")
JITTER = 1.1
ROUND_TRIP = 1.0  # seconds
LOOK = 0.2  # seconds between looks at who is still there
QUEUE = struct.Struct("24xI")  # of struct tcp_info: connections of a listening socket to accept
ACCEPTING = 1.0  # seconds that the queue may take to be empty


def longest_hand_over(settings: Settings) -> float:
    """Seconds until every connection has reached its age, which differs by a tenth, and gone."""
    return settings.age * JITTER + ROUND_TRIP


def waiting(listening: socket.socket) -> int:
    """Connections that the kernel has made for a listening socket and nobody has accepted yet."""
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, QUEUE.size)
    return int(QUEUE.unpack(info)[0])


class Connections:
    """Those of one port. Where there is no /proc, it knows of none.

    Args:
        port: that this process listens on, by sockets that some library owns.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    async def refuse_new(self) -> int:
        """Stop listening; returns how many sockets did.

        Each does when nobody waits to be accepted, since the kernel resets those who do.
        """
        stopped = 0
        for own in self._sockets():
            if own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                end = time.monotonic() + ACCEPTING
                while waiting(own) and time.monotonic() < end:
                    await asyncio.sleep(0)
                own.shutdown(socket.SHUT_RDWR)
                stopped += 1
        return stopped

    def count(self) -> int:
        """How many are open."""
        count = 0
        for own in self._sockets():
            with contextlib.suppress(OSError):  # it listens, or the other side has just gone
                own.getpeername()
                count += 1
        return count

    async def gone(self, seconds: float) -> bool:
        """Wait until none is open, at most so long; whether none is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.count():
                    await asyncio.sleep(LOOK)
        return not self.count()

    def _sockets(self) -> Iterator[socket.socket]:
        try:
            names = os.listdir(DESCRIPTORS)
        except OSError:
            return
        for name in names:
            with contextlib.suppress(OSError), self._copy(int(name)) as own:
                if own.family in (socket.AF_INET, socket.AF_INET6):
                    port: int = own.getsockname()[1]
                    if port == self._port:
                        yield own

    @staticmethod
    def _copy(descriptor: int) -> socket.socket:
        """The socket under another number, so that closing it changes nothing.

        Raises:
            OSError: if it is no socket, or has just been closed.
        """
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError("no socket")
        copy = os.dup(descriptor)
        try:
            return socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            raise
