"""Keeping states: what goes to the store and comes back, many sessions in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from foretoken.errors import (
    DataLoss,
    FailedPrecondition,
    ForetokenError,
    NotFound,
    Overloaded,
    Unavailable,
)
from foretoken.records import SnapshotRecord
from foretoken.server.sessions.keeping import Budgets
from foretoken.server.sessions.room import Room
from foretoken.server.sessions.saved import Saved
from foretoken.server.sessions.session import Session, SessionOptions
from foretoken.server.sessions.snapshots import expiry
from foretoken.server.sessions.state import Snapshot, from_bytes, to_bytes
from foretoken.server.sessions.together import Together

if TYPE_CHECKING:
    from foretoken.server.sessions.store import SessionStore
    from foretoken.server.settings import Settings

__all__ = ["Keeper"]

_log = logging.getLogger("foretoken.sessions")
BATCH = 256  # states of one transaction
PATIENCE = 2.0  # seconds that a session waits for a slot
MOMENT = 0.05
AGAIN = 1.0  # seconds until what could not be written is tried again
TAKEN = "session {} has been gone on with elsewhere"

Again = Callable[[Session, Snapshot], Awaitable[None]]
Lost = Callable[[Session, ForetokenError], None]
Stay = Callable[[Session, Saved], bool]


class Keeper:
    """The way between slots and the store; it belongs to one event loop.

    Args:
        store: of the data dir, which other processes use as well.
        settings: budgets, and how long what lasts.
        again: gives a session a slot with the state that came back.
        lost: is told of a session whose state is another one's now, or gone.
    """

    def __init__(self, store: SessionStore, settings: Settings, again: Again, lost: Lost) -> None:
        self._store = store
        self._again = again
        self._lost = lost
        self._ttl = settings.session_ttl
        self._budgets = Budgets(quota=settings.snapshot_quota, ttl=settings.snapshot_ttl)
        self._begins: Together[Saved, int] = Together(self._begun, BATCH)
        self._claims = Together(self._claimed, BATCH)
        self._saves = Together(store.save, BATCH)
        self._due: dict[Session, Saved] = {}  # checkpoints that are to be written
        self._writer: asyncio.Task[None] | None = None
        self._coming: dict[Session, asyncio.Task[None]] = {}  # sessions on their way back
        self._going: dict[
            Session, asyncio.Task[BaseException | None]
        ] = {}  # on their way to the store

    def saved(self, room: Room, session: Session) -> Saved:
        """A session's state as the store takes it; nothing of it may run."""
        snapshot = room.snapshot(session, session.options.family)
        return Saved(
            session=session.id,
            tenant=session.tenant,
            epoch=session.epoch,
            model=snapshot.model,
            version=snapshot.version,
            manifest=snapshot.manifest,
            step=snapshot.step,
            data=to_bytes(snapshot),
            kind="durable" if session.options.durable else "idle",
            expires=expiry(datetime.now(UTC), self._ttl),
            about=_said(session.options),
        )

    # -- checkpoints ------------------------------------------------------------------------------

    async def begin(self, room: Room, session: Session) -> None:
        """Make a session durable, at the state where it is.

        Raises:
            Unavailable: if the data dir cannot be written.
        """
        state = self.saved(room, session)
        session.epoch = await self._begins.ask(state)
        session.durable_step = session.step

    def _begun(self, new: Sequence[Saved]) -> list[int | ForetokenError]:
        return self._store.begin_all(new, self._budgets)

    def write(self, session: Session) -> None:
        """Have the session's candidate written; its ``durable_step`` tells when it is."""
        if session.candidate is None or session in self._due:
            return
        self._due[session] = session.candidate
        if self._writer is None:
            self._writer = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        """Write what is due, all that has become so meanwhile in one transaction."""
        try:
            while self._due:
                due = dict(list(self._due.items())[:BATCH])
                try:
                    written = await asyncio.to_thread(self._store.save, list(due.values()))
                except Exception as e:  # the states are kept, and tried again
                    _log.error("checkpoints cannot be written: %s", e)
                    await asyncio.sleep(AGAIN)
                    continue
                for (session, state), done in zip(due.items(), written, strict=True):
                    self._due.pop(session, None)  # it may have been closed meanwhile
                    session.candidate = None
                    if done:
                        session.durable_step = max(session.durable_step, state.step)
                    else:
                        self._lost(session, Unavailable(TAKEN.format(session.id)))
        finally:
            self._writer = None

    # -- away and back ----------------------------------------------------------------------------

    async def put_away(
        self, states: Sequence[tuple[Session, Saved]], stay: Stay | None = None
    ) -> None:
        """Write states of sessions that have no slot any more, also if the caller goes meanwhile.

        Args:
            states: of the sessions.
            stay: gives a session whose state cannot be written its slot back; False: there is none.

        Raises:
            Unavailable: if the data dir cannot be written.
        """
        task = asyncio.ensure_future(self._put_away(states, stay))
        self._going.update({session: task for session, _ in states})
        if (error := await asyncio.shield(task)) is not None:
            raise error

    async def _put_away(
        self, states: Sequence[tuple[Session, Saved]], stay: Stay | None
    ) -> BaseException | None:
        asked = (self._saves.ask(state) for _, state in states)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        failed: BaseException | None = None
        for (session, state), outcome in zip(states, outcomes, strict=True):
            del self._going[session]
            if isinstance(outcome, BaseException):
                failed = outcome
                if stay is not None and not session.ended and not stay(session, state):
                    self._lost(session, Unavailable(f"there is no room for session {session.id}"))
            elif not outcome:
                self._lost(session, Unavailable(TAKEN.format(session.id)))
            elif session.ended and not (session.leaving or session.lost or session.epoch):
                await self._erase(session)  # it was closed meanwhile
        return failed

    def bring_back(self, session: Session) -> None:
        """Have the state of a session come back, unless it is on its way."""
        if session not in self._coming and not session.leaving:
            task = self._coming[session] = asyncio.ensure_future(self._come(session))
            task.add_done_callback(lambda _: self._coming.pop(session, None))

    async def _come(self, session: Session) -> None:
        if (going := self._going.get(session)) is not None:
            await asyncio.wait([going])  # a claim may be faster than what it is to find
            if session.slot >= 0 or session.ended:
                return
        until = time.monotonic() + PATIENCE
        try:
            saved = await self._claims.ask((session.id, session.tenant))
            session.epoch = saved.epoch
            snapshot = from_bytes(saved.data)
            while True:
                try:
                    await self._again(session, snapshot)
                    return
                except Overloaded:
                    if time.monotonic() > until:
                        await self.put_back(saved)
                        raise
                    await asyncio.sleep(MOMENT)
        except Overloaded as e:
            self._lost(session, Unavailable(f"session {session.id} has to wait elsewhere: {e}"))
        except ForetokenError as e:
            self._lost(session, e)

    async def settled(self, session: Session) -> None:
        """Wait until a session is on no way, neither to the store nor back."""
        while (way := self._going.get(session) or self._coming.get(session)) is not None:
            await asyncio.wait([way])
            await asyncio.sleep(0)  # what is done then is noted by callbacks

    async def claim(self, session: str, tenant: str | None) -> tuple[Saved, SessionOptions]:
        """Take a kept session over: nobody else can write its state from now on.

        What is not durable lives in memory from then on, and is kept no more.

        Raises:
            NotFound: if nothing is kept of it.
            FailedPrecondition: if its version was deleted.
            DataLoss: if what is kept is damaged.
        """
        saved = await self._claims.ask((session, tenant))
        return saved, _options(saved)

    def _claimed(self, wanted: Sequence[tuple[str, str | None]]) -> list[Saved | ForetokenError]:
        if len(set(wanted)) == len(wanted):
            return self._store.claim_all(wanted, erase=("idle", "drained"))
        return [each for one in wanted for each in self._claimed([one])]

    async def put_back(self, saved: Saved) -> None:
        """Keep again what was claimed and cannot be gone on with for now."""
        await self._saves.ask(saved)

    async def drop(self, session: Session, *, away: bool = False) -> None:
        """Erase what is kept of a session that has ended.

        Args:
            session: that has ended.
            away: whether its state had been put away, under an epoch that nobody here knows.
        """
        self._due.pop(session, None)
        if (coming := self._coming.get(session)) is not None:
            await asyncio.wait([coming])
        if session.epoch:
            await asyncio.to_thread(self._store.drop, {session.id: session.epoch})
        elif away:
            await self._erase(session)

    async def _erase(self, session: Session) -> None:
        """Erase a session's row, if there is one, whose epoch is not known."""
        with contextlib.suppress(NotFound, FailedPrecondition, DataLoss):
            await self._claims.ask((session.id, session.tenant))

    # -- snapshots --------------------------------------------------------------------------------

    async def keep(
        self, snapshot: Snapshot, tenant: str | None, *, keep: bool
    ) -> tuple[SnapshotRecord | None, bytes]:
        """A snapshot's bytes, and with ``keep`` what the store says of it.

        Raises:
            Overloaded: if the tenant's quota is used up.
        """
        data = to_bytes(snapshot)
        if not keep:
            return None, data
        return await asyncio.to_thread(self._store.keep, snapshot, tenant, self._budgets), data

    async def close(self) -> None:
        """Write what is due, and let nothing come back any more."""
        for task in list(self._coming.values()):
            task.cancel()
        if self._writer is not None:
            await self._writer


def _said(options: SessionOptions) -> str:
    """How a session is stepped and kept, as its row says it."""
    said = {each: getattr(options, each) for each in ("deterministic", "durable", "every")}
    return json.dumps(said)


def _options(saved: Saved) -> SessionOptions:
    family = from_bytes(saved.data).options
    return SessionOptions(family, **json.loads(saved.about))
