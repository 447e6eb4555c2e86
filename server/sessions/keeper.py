"""Keeping states: what goes to the store and comes back, many sessions in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from foretoken.errors import (
    DataLoss,
    FailedPrecondition,
    ForetokenError,
    InternalError,
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
        self._due: dict[Session, asyncio.Task[None]] = {}  # checkpoints on their way
        self._coming: dict[Session, asyncio.Task[None]] = {}  # sessions on their way back
        self._going: dict[
            Session, asyncio.Task[BaseException | None]
        ] = {}  # on their way to the store

    def saved(self, room: Room, session: Session) -> Saved:
        """A session's state as others may go on from it; nothing of it may run."""
        return self._saved(room, session, session.id, session.epoch)

    def aside(self, room: Room, session: Session) -> Saved:
        """A session's state as it waits for the session's next message; nothing of it may run.

        That of a durable session lies beside its checkpoint, which others may go on from: the state
        may be ahead of what its caller has received.
        """
        return self._saved(room, session, _away(session), 0)

    def _saved(self, room: Room, session: Session, id_: str, epoch: int) -> Saved:
        snapshot = room.snapshot(session, session.options.family)
        return Saved(
            session=id_,
            tenant=session.tenant,
            epoch=epoch,
            model=snapshot.model,
            version=snapshot.version,
            manifest=snapshot.manifest,
            step=snapshot.step,
            data=to_bytes(snapshot),
            kind="durable" if epoch else "idle",
            expires=self._expiry(),
            about=_said(session.options),
        )

    def _expiry(self) -> datetime | None:
        return expiry(datetime.now(UTC), self._ttl)

    # -- checkpoints ------------------------------------------------------------------------------

    async def begin(self, room: Room, session: Session) -> None:
        """Make a session durable, at the state where it is.

        Raises:
            Unavailable: if the data dir cannot be written.
        """
        state = replace(self.saved(room, session), kind="durable")
        session.epoch = await self._begins.ask(state)
        session.durable_step = session.step

    def _begun(self, new: Sequence[Saved]) -> list[int | ForetokenError]:
        return self._store.begin_all(new, self._budgets)

    def write(self, session: Session) -> None:
        """Have the session's candidate written; its ``durable_step`` tells when it is."""
        if (state := session.candidate) is not None and session not in self._due:
            self._due[session] = asyncio.ensure_future(self._write(session, state))

    async def _write(self, session: Session, state: Saved) -> None:
        try:
            while not session.ended:
                try:
                    done = await self._saves.ask(state)
                except Unavailable as e:  # the state is kept, and tried again
                    _log.error("checkpoints cannot be written: %s", e)
                    await asyncio.sleep(AGAIN)
                    continue
                session.candidate = None
                if done:
                    session.durable_step = max(session.durable_step, state.step)
                else:
                    self._lost(session, Unavailable(TAKEN.format(session.id)))
                return
        except Exception as e:  # of this session alone: others are written without it
            _log.error("the checkpoint of session %s cannot be written: %s", session.id, e)
            self._lost(session, InternalError(f"session {session.id} cannot be kept"))
        finally:
            self._due.pop(session, None)

    async def renew(self, sessions: Iterable[Session]) -> None:
        """Set back when the rows of sessions expire that are in use."""
        owned = {each.id: each.epoch for each in sessions if each.epoch}
        aside = [_away(each) for each in sessions if each.slot < 0]
        if owned or aside:
            await asyncio.to_thread(self._store.renew, owned, self._expiry(), aside)

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
        closed: list[Session] = []  # meanwhile
        for (session, state), outcome in zip(states, outcomes, strict=True):
            del self._going[session]
            if isinstance(outcome, BaseException):
                failed = outcome
                if stay is not None and not session.ended and not stay(session, state):
                    self._lost(session, Unavailable(f"there is no room for session {session.id}"))
            elif not outcome:
                self._lost(session, Unavailable(TAKEN.format(session.id)))
            elif session.ended and (session.epoch or not (session.leaving or session.lost)):
                closed.append(session)
        for session in closed:
            await self._erase(session)
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
            saved = await self._claims.ask((_away(session), session.tenant))
            snapshot = from_bytes(saved.data)
            while True:
                try:
                    await self._again(session, snapshot)
                    return
                except (Overloaded, Unavailable):
                    if time.monotonic() > until:
                        await self.put_back(saved)
                        raise
                    await asyncio.sleep(MOMENT)
        except Overloaded as e:
            self._lost(session, Unavailable(f"session {session.id} has to wait elsewhere: {e}"))
        except ForetokenError as e:
            self._lost(session, e)
        except Exception as e:  # whoever waits must hear of it
            _log.error("session %s cannot come back: %s", session.id, e)
            self._lost(session, InternalError(f"session {session.id} cannot come back"))

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

    async def drop(self, session: Session, *, away: bool = False, all_: bool = True) -> None:
        """Erase what is kept of a session that has ended.

        Args:
            session: that has ended.
            away: whether its state had been put aside.
            all_: its checkpoint, too.
        """
        if (due := self._due.get(session)) is not None:
            await asyncio.wait([due])
        if (coming := self._coming.get(session)) is not None:
            await asyncio.wait([coming])
        if session.epoch and all_:
            await asyncio.to_thread(self._store.drop, {session.id: session.epoch})
        if away:
            await self._erase(session)

    async def _erase(self, session: Session) -> None:
        """Erase the state that was put aside, if it is there; if that fails, it expires."""
        with contextlib.suppress(NotFound, FailedPrecondition, DataLoss, Unavailable):
            await self._claims.ask((_away(session), session.tenant))

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
        if self._due:
            await asyncio.wait(list(self._due.values()))


def _away(session: Session) -> str:
    """Under which id a session's state waits for its next message."""
    return f"aside-{session.id}" if session.epoch else session.id


def _said(options: SessionOptions) -> str:
    """How a session is stepped and kept, as its row says it."""
    said = {each: getattr(options, each) for each in ("deterministic", "durable", "every")}
    return json.dumps(said)


def _options(saved: Saved) -> SessionOptions:
    family = from_bytes(saved.data).options
    return SessionOptions(family, **json.loads(saved.about))
