"""Workers of one server among themselves: each has a Unix socket in the run folder.

The language is small on purpose: a line names what is asked, a line answers "done" or "failed". The
folder belongs to the server's user alone, and nothing of this can be reached by a port.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from foretoken.errors import ForetokenError
from foretoken.server.log import Log

__all__ = ["FOLLOW", "Peers", "short", "socket_of"]

FOLLOW = "follow"
SUFFIX = ".sock"
PATIENCE = 2.0  # seconds that the others have
LONGEST = 100  # bytes of a socket's path that every system takes
LINE = 64

Asked = Callable[[], Awaitable[None]]


def socket_of(run: Path, number: int) -> Path:
    """The socket of the worker with that number."""
    return run / f"worker-{number}{SUFFIX}"


class Peers:
    """One worker's way to all others of its server.

    Args:
        run: the run folder.
        number: of this worker.
        follow: makes this worker catch up with the registry.
        log: is told of peers that do not answer.
    """

    def __init__(self, run: Path, number: int, follow: Asked, log: Log) -> None:
        self._run = run
        self._own = socket_of(run, number)
        self._asked: Mapping[str, Asked] = {FOLLOW: follow}
        self._log = log
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Answer peers from now on."""
        with short(self._own) as path:
            self._server = await asyncio.start_unix_server(self._answer, path, limit=LINE)

    async def stop(self) -> None:
        """Answer no longer."""
        if self._server is not None:
            self._server.close()
            self._own.unlink(missing_ok=True)
            self._server = None

    async def follow(self) -> None:
        """Make this worker and all others catch up with the registry; returns when they have.

        A worker that is gone, or is too slow, is left out: it looks by itself before long.

        Raises:
            ForetokenError: if this worker cannot.
        """
        others = [path for path in self._run.glob(f"*{SUFFIX}") if path != self._own]
        await asyncio.gather(self._asked[FOLLOW](), *(self._ask(path, FOLLOW) for path in others))

    async def _ask(self, path: Path, what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                with short(path) as name:
                    reader, writer = await asyncio.open_unix_connection(name, limit=LINE)
                try:
                    writer.write(f"{what}\n".encode())
                    said = (await reader.readline()).decode().strip()
                finally:
                    writer.close()
        except (ConnectionRefusedError, FileNotFoundError):
            return  # it has died or left; whoever comes in its place reads the registry first
        except (OSError, ValueError) as e:  # TimeoutError is an OSError
            said = type(e).__name__
        if said != "done":
            self._log.event("peer_failed", "warning", peer=path.name, asked=what, said=said)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            what = (await reader.readline()).decode().strip()
            await self._asked[what]()
            writer.write(b"done\n")
        except (ForetokenError, KeyError, ValueError, OSError) as e:
            self._log.event("peer_refused", "warning", error=type(e).__name__, text=str(e))
            writer.write(b"failed\n")
        finally:
            writer.close()


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """A name for a socket that is not too long for the system, whatever the folder is called."""
    if len(os.fsencode(path)) <= LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
