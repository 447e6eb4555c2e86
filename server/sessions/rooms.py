"""The rooms of one plane: which version a session is of, and how a place is found for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from foretoken.errors import FailedPrecondition, Overloaded
from foretoken.server.registry.loaded import Loaded
from foretoken.server.registry.names import Ref
from foretoken.server.registry.registry import Registry
from foretoken.server.sessions.keeper import Keeper
from foretoken.server.sessions.room import Room
from foretoken.server.sessions.saved import Saved
from foretoken.server.sessions.session import Session
from foretoken.server.sessions.state import Snapshot, from_bytes
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

__all__ = ["Found", "Rooms"]

EVICTED = 64  # sessions whose states go to the store at once when slots run out
Found = Callable[[str, Terms], Awaitable[Loaded]]


class Rooms:
    """The rooms of one plane; it belongs to the plane's event loop.

    Args:
        registry: where versions are.
        settings: budgets.
        found: the loaded version that a reference names.
        keeper: takes the states of those that make room.
        made: makes the room of a version.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        found: Found,
        keeper: Keeper,
        made: Callable[[Loaded], Room],
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._found = found
        self._keeper = keeper
        self._made = made
        self._rooms: dict[str, Room] = {}

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self._rooms.values()))

    @property
    def live(self) -> int:
        """Sessions that have a slot."""
        return sum(room.seated for room in self._rooms.values())

    def where(self, session: Session) -> Room:
        """The room that a session is in."""
        return self._rooms[session.loaded.key]

    def forget(self, room: Room) -> None:
        """Give up a room that nobody is in."""
        self._rooms.pop(room.loaded.key, None)

    async def of(self, model: str, terms: Terms) -> Room:
        """The room of the version that a reference names.

        Raises:
            As ``Plane.describe`` does, and Unsupported if the version keeps no state.
        """
        loaded = await self._found(model, terms)
        room = self._rooms.get(loaded.key)
        if room is None:
            room = self._rooms[loaded.key] = self._made(loaded)
        return room

    async def for_state(self, model: str, snapshot: Snapshot, terms: Terms) -> Room:
        """Where a session goes on from a state: on the version that it was taken of.

        Args:
            model: as the caller names it; may be empty.
            snapshot: the state.
            terms: who asks.

        Raises:
            FailedPrecondition: if that version is not there, or is not the one that is named.
            NotFound: if there is no such model for the caller.
        """
        asked = Ref.parse(model) if model else Ref(snapshot.model)
        if asked.version is None:
            model = await asyncio.to_thread(self._pinned, asked.name, snapshot)
        room = await self.of(model, terms)
        room.expect_fits(snapshot)
        return room

    def _pinned(self, name: str, snapshot: Snapshot) -> str:
        """The version of a model that a state was taken of, whatever its number is here.

        Raises:
            NotFound: if there is no such model.
            FailedPrecondition: if it has no such version.
        """
        numbers = [
            v for v in self._registry.versions(name) if v.manifest_digest == snapshot.manifest
        ]
        if not numbers:
            raise FailedPrecondition(
                f"the state was taken of {snapshot.model}:{snapshot.version} (manifest "
                f"{snapshot.manifest}), and {name} has no version with that manifest"
            )
        return max(numbers, key=lambda v: v.number == snapshot.version).ref

    async def seat(self, room: Room, session: Session, snapshot: Snapshot | None) -> None:
        """Give a session a slot; others, idle for longest, make room for it if need be.

        Args:
            room: of its version.
            session: without a slot.
            snapshot: the state that it goes on from; None: the one before any observation.

        Raises:
            Overloaded: if there is no room to be made.
        """
        while room.full or self.live >= self._settings.sessions or self._crowded(room):
            idle = [each for each, _ in zip(room.idle(), range(EVICTED), strict=False)]
            if not idle:
                raise Overloaded(
                    f"{self.live} sessions are busy in this worker, and none of this model is "
                    "idle; that is what sessions and session_bytes allow",
                    retry_after=1.0,
                )
            await self.evict(room, idle)
        room.seat(session, None if snapshot is None else snapshot.arrays)
        session.step = 0 if snapshot is None else snapshot.step
        session.used = time.monotonic()

    def _crowded(self, room: Room) -> bool:
        used = sum(each.seated * each.nbytes for each in self._rooms.values())
        return used + room.nbytes > self._settings.session_bytes

    async def evict(self, room: Room, sessions: Sequence[Session]) -> None:
        """Move the states of sessions that do nothing to the store.

        Raises:
            Unavailable: if the data dir cannot be written; they stay where they are, then.
        """
        states = [(each, self._keeper.aside(room, each)) for each in sessions]
        for each in sessions:
            room.unseat(each)  # input that comes now waits until it is seated again
        await self._keeper.put_away(states, self._stay)

    def _stay(self, session: Session, state: Saved) -> bool:
        """Give a session its slot back, unless others have taken them all meanwhile."""
        room = self.where(session)
        if room.full:
            return False
        room.seat(session, from_bytes(state.data).arrays)
        room.stepper.wake(session)
        return True
