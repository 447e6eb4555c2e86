"""What is said of live sessions every so often, so that nothing of theirs is deleted or expires."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING

from foretoken.server.sessions.keeper import Keeper
from foretoken.server.sessions.room import Room
from foretoken.server.sessions.session import Session

if TYPE_CHECKING:
    from foretoken.server.sessions.store import SessionStore

__all__ = ["Upkeep"]

PINNED = 15.0  # seconds for which others believe what is said of live sessions


class Upkeep:
    """What one process says; it belongs to one event loop.

    Args:
        store: which is told.
        keeper: knows under which ids states lie.
        ttl: seconds after which what is not renewed expires; 0: never.
    """

    def __init__(self, store: SessionStore, keeper: Keeper, ttl: float) -> None:
        self._store = store
        self._keeper = keeper
        self._ttl = ttl
        self._process = secrets.token_hex(16)
        self._pinned: Set[tuple[str, int]] = frozenset()
        self._pin_again = self._renew_again = 0.0

    async def say(self, rooms: Iterable[Room], sessions: Sequence[Session]) -> None:
        """Say what is due."""
        await self._pin([room for room in rooms if room.members])
        now = time.monotonic()
        if self._ttl and now >= self._renew_again:
            self._renew_again = now + self._ttl / 4
            await self._keeper.renew(sessions)

    async def _pin(self, rooms: Sequence[Room]) -> None:
        """Say which versions sessions here need, when that changes and every few seconds."""
        counts = {(r.loaded.version.name, r.loaded.version.number): r.members for r in rooms}
        now = time.monotonic()
        if counts.keys() == self._pinned and (not counts or now < self._pin_again):
            return
        self._pinned, self._pin_again = counts.keys(), now + PINNED / 3
        await asyncio.to_thread(self._store.pin, self._process, counts, PINNED)

    async def end(self) -> None:
        """Say that there are no sessions any more."""
        if self._pinned:
            await asyncio.to_thread(self._store.pin, self._process, {}, 0.0)
