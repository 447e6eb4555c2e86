"""Keeping house: what is used is noted, what has expired goes, what nobody refers to goes too.

Every process notes its own uses. The rest is done by one process of a data dir at a time: whoever
holds a lock that ends with it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from pathlib import Path

from foretoken.errors import Unavailable
from foretoken.server.contexts.contexts import Contexts
from foretoken.server.engine.observer import Observer
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import Settings

__all__ = ["Housekeeping", "period"]

LOCK = "housekeeping.lock"
LONGEST = 60.0  # seconds between two rounds
SHORTEST = 0.2
PER_TTL = 10  # rounds within the time after which something expires
ORPHANS = 3600.0  # seconds between two searches for blobs that nobody refers to, and their grace


def period(*ttls: float) -> float:
    """Seconds between two rounds; uses are noted often enough for nothing in use to expire."""
    return min([LONGEST, *(max(SHORTEST, ttl / PER_TTL) for ttl in ttls if ttl)])


class Housekeeping:
    """One plane's share in keeping house; it belongs to the plane's event loop.

    Args:
        registry: whose contexts and states of sessions they are.
        contexts: the plane's own.
        settings: how long they last.
        observer: is told what is kept, by the one that holds the lock.
    """

    def __init__(
        self, registry: Registry, contexts: Contexts, settings: Settings, observer: Observer
    ) -> None:
        self._registry = registry
        self._contexts = contexts
        self._observer = observer
        self._lease = _Lease(registry.data_dir / LOCK)
        self._budget = settings.context_bytes
        ttls = settings.context_ttl, settings.session_ttl, settings.snapshot_ttl
        self._period = period(*ttls)
        self._next = time.monotonic() + self._period
        self._search = time.monotonic() + ORPHANS
        self._told: int | None = None  # state of the registry that the observer was told of
        self._turn = asyncio.Lock()
        self._resident = False

    def settle(self) -> None:
        """Keep the lock once it is there: ``tidy`` is called again and again from now on.

        Whoever does not promise that lets others have it after each round.
        """
        self._resident = True

    async def tidy(self) -> None:
        """Do what is due; cheap when nothing is.

        Raises:
            ForetokenError: if the data dir cannot be used.
        """
        if self._turn.locked():
            return
        async with self._turn:
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + self._period
                await self._contexts.note_uses()
                if self._lease.take():
                    await self._sweep()
            if self._registry.state() != self._told and self._lease.take():
                self._told = self._registry.state()
                self._observer.contexts_kept(
                    *await asyncio.to_thread(self._registry.contexts.totals)
                )
            if not self._resident:
                self._lease.give()

    async def _sweep(self) -> None:
        store = self._registry.contexts
        await asyncio.to_thread(store.expire)
        await asyncio.to_thread(self._registry.sessions.expire)
        self._observer.contexts_evicted(await asyncio.to_thread(store.shrink, self._budget))
        if time.monotonic() >= self._search:
            self._search = time.monotonic() + ORPHANS
            await asyncio.to_thread(self._registry.collect_contexts, ORPHANS)
            await asyncio.to_thread(self._registry.collect_sessions)

    def close(self) -> None:
        """Leave it to others."""
        self._lease.give()


class _Lease:
    """A lock of one process of a data dir; it ends with the process at the latest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def take(self) -> bool:
        """Whether this process has the lock, now or since before."""
        if self._handle is not None:
            return True
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise Unavailable(f"cannot open {self._path}: {e.strerror}") from e
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def give(self) -> None:
        """Let others have it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
