"""Sessions of one plane: opened, stepped, kept, forked, moved, and ended.

A session is pinned to the version that it began on. While it is in use its state lies in a slot;
when it has been idle for long, or slots run out, the state goes to the store, and comes back with
the next message without the caller noticing.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from foretoken.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    ForetokenError,
    InvalidInput,
    NotFound,
    Overloaded,
    Unavailable,
)
from foretoken.models.contract import Array
from foretoken.models.tasks import SequenceReply
from foretoken.records import SnapshotRecord
from foretoken.server.engine.batcher import MARGIN, SOON, Batcher
from foretoken.server.engine.observer import Observer
from foretoken.server.registry.loaded import Loaded
from foretoken.server.registry.registry import Registry
from foretoken.server.sessions.keeper import Keeper
from foretoken.server.sessions.room import Room
from foretoken.server.sessions.rooms import EVICTED, Found, Rooms
from foretoken.server.sessions.saved import Saved
from foretoken.server.sessions.session import Continue, Resume, Session, SessionOptions, Want
from foretoken.server.sessions.shelf import Shelf
from foretoken.server.sessions.state import Snapshot, from_bytes
from foretoken.server.sessions.upkeep import Upkeep
from foretoken.server.sessions.work import Visit, Work
from foretoken.server.settings import Settings
from foretoken.server.terms import Scope, Terms

__all__ = ["Sessions"]

PENDING = 64  # messages of one session that may wait
T = TypeVar("T")


class Sessions(Shelf):
    """The sessions of one plane; it belongs to the plane's event loop.

    Args:
        registry: where versions and kept states are.
        settings: budgets, and how long what lasts.
        batcher: lends threads.
        observer: hears of all that is done.
        found: the loaded version that a reference names.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        batcher: Batcher,
        observer: Observer,
        found: Found,
    ) -> None:
        super().__init__(registry)
        self._settings = settings
        self._batcher = batcher
        self._observer = observer
        self._sessions: dict[str, Session] = {}
        self._keeper = Keeper(registry.sessions, settings, self._seated_again, self._lost)
        self._rooms = Rooms(registry, settings, found, self._keeper, self._made)
        self._closing = False
        self._giving_up: set[asyncio.Task[None]] = set()
        self._state: int | None = None  # of the registry, when versions were last looked for
        self._upkeep = Upkeep(registry.sessions, self._keeper, settings.session_ttl)

    @property
    def live(self) -> int:
        """Sessions that have a slot."""
        return self._rooms.live

    @property
    def open_sessions(self) -> int:
        """Sessions that are open, with a slot or without."""
        return len(self._sessions)

    # -- beginning --------------------------------------------------------------------------------

    async def open(
        self,
        model: str,
        terms: Terms,
        options: SessionOptions | None = None,
        resume: Resume | None = None,
        id: str | None = None,  # noqa: A002 - what it is
    ) -> Session:
        """Begin a session, or go on with one.

        Args:
            model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``; may be empty to
                resume, for a state knows its version.
            terms: who asks.
            options: None: the defaults, or those that what is resumed had.
            resume: digest of a snapshot, the bytes of one, or a session to go on with.
            id: of the session, unlike any other's; the default is drawn.

        Raises:
            NotFound: if there is no such model, snapshot or session for the caller.
            InvalidInput: if options are not acceptable, or bytes are no snapshot.
            Unsupported: if the model keeps no state.
            FailedPrecondition: if the state is another model's or version's, or that was deleted.
            DataLoss: if the state is damaged.
            Overloaded: if there is no room.
            Unavailable: if the server is closing.
        """
        terms.caller.expect(Scope.PREDICT)
        self._expect_open()
        if isinstance(resume, Continue):
            return await self._go_on(model, terms, resume)
        if resume is None:
            room = await self._rooms.of(model, terms)
            given = options or SessionOptions()
            snapshot = None
        else:
            snapshot = from_bytes(await self._bytes(resume, terms))
            room = await self._rooms.for_state(model, snapshot, terms)
            given = options or SessionOptions()
            given = replace(given, family={**snapshot.options, **given.family})
        full = replace(
            given,
            family=room.predictor.options(given.family),
            every=given.every or self._settings.session_checkpoint,
        )
        session = Session(
            id or f"ses-{secrets.token_hex(16)}", room.loaded, terms.caller.tenant, full
        )
        await self._rooms.seat(room, session, snapshot)
        try:
            if full.durable:
                await self._keeper.begin(room, session)
        except BaseException:
            room.unseat(session)
            raise
        return self._add(room, session)

    async def fork(self, session: Session, terms: Terms) -> Session:
        """Begin a session at the state where another one is, once its messages are applied.

        Raises:
            As ``open`` does, and what ended the other one.
        """
        self._expect_open()
        room = self._rooms.where(session)
        snapshot = await self._look(session, lambda: room.snapshot(session, session.options.family))
        new = Session(
            f"ses-{secrets.token_hex(16)}", session.loaded, terms.caller.tenant, session.options
        )
        await self._rooms.seat(room, new, snapshot)
        try:
            if new.options.durable:
                await self._keeper.begin(room, new)
        except BaseException:
            room.unseat(new)
            raise
        return self._add(room, new)

    async def _go_on(self, model: str, terms: Terms, resume: Continue) -> Session:
        """Take a session over, from wherever it was last kept.

        Once its state is claimed, it is this process's to keep, also if the caller goes.
        """
        task = asyncio.ensure_future(self._taken_over(model, terms, resume))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            given_up = asyncio.ensure_future(self._give_up(task))
            self._giving_up.add(given_up)
            given_up.add_done_callback(self._giving_up.discard)
            raise

    async def _give_up(self, opening: asyncio.Task[Session]) -> None:
        """Put a session that nobody has any more where others can go on with it."""
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            session = opening.result()
            await self._leave(self._rooms.where(session), session)

    async def _taken_over(self, model: str, terms: Terms, resume: Continue) -> Session:
        tenant = terms.caller.tenant
        if (here := self._sessions.get(resume.id)) is not None and here.tenant == tenant:
            if not here.options.durable and here.lost is None:
                raise FailedPrecondition(
                    f"session {resume.id} is in use, and not durable; it ends with its stream"
                )
            here.lost = Unavailable("another stream has gone on with this session")
            self._end(here, here.lost)
        saved, options = await self._keeper.claim(resume.id, tenant)
        try:
            snapshot = from_bytes(saved.data)
            room = await self._rooms.for_state(model, snapshot, terms)
            session = Session(resume.id, room.loaded, tenant, options, epoch=saved.epoch)
            await self._rooms.seat(room, session, snapshot)
        except BaseException:
            await asyncio.shield(self._keeper.put_back(saved))
            raise
        session.durable_step = session.step
        return self._add(room, session)

    async def _bytes(self, resume: str | bytes, terms: Terms) -> bytes:
        if isinstance(resume, bytes):
            return resume
        return await asyncio.to_thread(self._registry.sessions.read, resume, terms.caller.tenant)

    def _made(self, loaded: Loaded) -> Room:
        return Room(
            loaded,
            self._settings,
            self._batcher,
            self._observer,
            self._keeper.bring_back,
            self._stepped,
            self._lost,
        )

    def _add(self, room: Room, session: Session) -> Session:
        session.opening = False
        self._sessions[session.id] = session
        room.members += 1
        return session

    # -- stepping ---------------------------------------------------------------------------------

    def step(
        self, session: Session, values: Array, terms: Terms, want: Want = "every"
    ) -> asyncio.Future[SequenceReply]:
        """Step a session through observations, behind whatever else it has to do.

        Args:
            session: of this plane.
            values: float64 [T, D].
            terms: until when; a message that is late is not begun, or undone.
            want: which outputs are answered: of every step, of the last, or nothing.

        Returns:
            The reply to come. It fails, and then the session is as if the message had not been,
            with InvalidInput for values that are not acceptable, DeadlineExceeded, or what the
            runtime raises; when it resolves, the session's ``step`` and ``durable_step`` are new.

        Raises:
            InvalidInput: if ``values`` is not [T, D].
            Overloaded: if too many messages wait.
            FailedPrecondition: if the session has ended.
            Unavailable: if it has left this server; it can be gone on with by its id.
        """
        room = self._expect_going(session)
        if values.ndim != 2 or not values.size:
            raise InvalidInput(f"observations must be [T, D], both at least 1, not {values.shape}")
        if len(session.waiting) >= PENDING:
            raise Overloaded(
                f"{PENDING} messages of this session wait already; read the answers first",
                retry_after=SOON,
            )
        if terms.deadline < math.inf:
            self._expect_time(room, terms.deadline, len(values))
        done: asyncio.Future[SequenceReply] = asyncio.get_running_loop().create_future()
        room.stepper.add(session, Work(values, want, terms.deadline, done))
        return done

    def deliver(self, session: Session, step: int) -> None:
        """Note that the caller has received the outputs up to ``step``."""
        if session.candidate is not None and session.candidate.step <= step:
            self._keeper.write(session)

    def _expect_time(self, room: Room, deadline: float, count: int) -> None:
        now, wait = time.monotonic(), room.stepper.expect(count)
        if deadline <= now:
            raise DeadlineExceeded("the deadline had passed when the message arrived")
        if now + MARGIN * wait > deadline:
            self._observer.shed(room.loaded.version.name, "deadline")
            raise Overloaded(
                f"the deadline cannot be met: {wait:.3g} s of work wait before this message",
                retry_after=max(wait, SOON),
            )

    def _stepped(self, session: Session) -> None:
        room = self._rooms.where(session)
        room.used(session)
        options = session.options
        if (
            options.durable
            and session.candidate is None
            and session.step - session.durable_step >= options.every
        ):
            session.candidate = self._keeper.saved(room, session)

    def _expect_going(self, session: Session) -> Room:
        if session.lost is not None:
            raise session.lost
        if session.ended:
            raise FailedPrecondition("the session has ended")
        return self._rooms.where(session)

    # -- slots ------------------------------------------------------------------------------------

    async def _seated_again(self, session: Session, snapshot: Snapshot) -> None:
        room = self._rooms.where(session)
        await self._rooms.seat(room, session, snapshot)
        if session.ended:
            room.unseat(session)
        room.stepper.wake(session)

    def _lost(self, session: Session, error: ForetokenError) -> None:
        """A session cannot go on here."""
        if not session.ended:
            session.lost = error
            self._end(session, error)

    # -- keeping ----------------------------------------------------------------------------------

    async def snapshot(
        self, session: Session, terms: Terms, *, keep: bool = True
    ) -> tuple[SnapshotRecord | None, bytes]:
        """Take a snapshot, once the messages that wait are applied.

        Args:
            session: of this plane.
            terms: who asks.
            keep: in the store, under its digest.

        Returns:
            What is kept, and the snapshot's bytes.

        Raises:
            Overloaded: if the caller's quota is used up.
            FailedPrecondition, Unavailable: as ``step``.
        """
        room = self._expect_going(session)
        snapshot = await self._look(session, lambda: room.snapshot(session, session.options.family))
        return await self._keeper.keep(snapshot, terms.caller.tenant, keep=keep)

    async def restore(self, data: bytes, terms: Terms) -> SnapshotRecord:
        """Keep a snapshot that was taken here or elsewhere.

        Raises:
            As ``open`` does for bytes, and Overloaded if the caller's quota is used up.
        """
        terms.caller.expect(Scope.PREDICT)
        self._expect_open()
        snapshot = from_bytes(data)
        await self._rooms.for_state("", snapshot, terms)
        record, _ = await self._keeper.keep(snapshot, terms.caller.tenant, keep=True)
        assert record is not None
        return record

    async def _look(self, session: Session, look: Callable[[], T]) -> T:
        """What ``look()`` returns once all that waits in the session is applied."""
        room = self._expect_going(session)
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        room.stepper.add(session, Visit(look, done))
        return await done

    # -- ending -----------------------------------------------------------------------------------

    async def close(self, session: Session) -> None:
        """End a session; nothing of it is kept. What waits in it is not answered."""
        away = session.slot < 0 and not session.ended
        self._end(session, Cancelled("the session was closed"))
        await self._keeper.drop(session, away=away)

    async def abandon(self, session: Session) -> None:
        """End a session whose caller is gone; a durable one can be gone on with by its id."""
        away = session.slot < 0 and not session.ended
        self._end(session, Cancelled("the session's caller has gone"))
        if not session.leaving:
            await self._keeper.drop(session, away=away, all_=not session.options.durable)

    def _end(self, session: Session, error: BaseException) -> None:
        if session.ended:
            return
        room = self._rooms.where(session)
        room.end(session, error)
        room.members -= 1
        if self._sessions.get(session.id) is session:
            del self._sessions[session.id]

    def _expect_open(self) -> None:
        if self._closing:
            raise Unavailable("the server is closing; ask another one, or again in a moment")

    # -- housekeeping -----------------------------------------------------------------------------

    async def tidy(self, serves: Callable[[str], bool] = lambda _: True) -> None:
        """Put away what has been idle for long, and end what is to be served no longer.

        Args:
            serves: whether a model is to be served at all.
        """
        since = time.monotonic() - self._settings.session_idle
        state = self._registry.state()
        for room in self._rooms:
            if not serves(room.loaded.version.name):
                await self._hand_over(room)
            elif state != self._state:
                await self._expect_there(room)
            idle: list[Session] = []
            for session in room.idle():
                if session.used > since or len(idle) == EVICTED:
                    break
                idle.append(session)
            if idle:
                await self._rooms.evict(room, idle)
            if not room.members and not room.seated:
                self._rooms.forget(room)
        self._state = state
        await self._upkeep.say(self._rooms, list(self._sessions.values()))

    async def _expect_there(self, room: Room) -> None:
        """End the sessions of a version that has been deleted."""
        ref = room.loaded.version.ref
        try:
            await asyncio.to_thread(self._registry.resolve, ref)
        except NotFound:
            lost = FailedPrecondition(
                f"{ref}, the version that this session was pinned to, has been deleted, and its "
                "state with it; begin a new session"
            )
            for session in self._members(room):
                self._lost(session, lost)

    def _members(self, room: Room) -> list[Session]:
        return [each for each in self._sessions.values() if self._rooms.where(each) is room]

    async def drain(self) -> None:
        """Take no new sessions, and put all there are where others can go on with them."""
        self._closing = True
        if self._giving_up:
            await asyncio.wait(list(self._giving_up))
        for room in self._rooms:
            await self._hand_over(room)

    async def _hand_over(self, room: Room) -> None:
        """Save every session of a version, and end it here with word of how to go on."""
        await asyncio.gather(*(self._leave(room, each) for each in self._members(room)))

    async def _leave(self, room: Room, session: Session) -> None:
        lost = Unavailable(f"session {session.id} has left this worker; go on with it by its id")
        try:
            if not session.options.durable:
                await self._keeper.settled(session)
                if session.slot >= 0:
                    state = await self._look(session, lambda: self._depart(room, session))
                    await self._keeper.put_away([(session, state)])
            else:
                if session.waiting:
                    await self._look(session, lambda: None)
                await self._keeper.drop(session, away=session.slot < 0, all_=False)
        except ForetokenError as e:
            if session.ended:
                return
            lost = Unavailable(f"session {session.id} could not be handed over: {e}")
        session.lost = lost
        self._end(session, lost)

    def _depart(self, room: Room, session: Session) -> Saved:
        state = self._keeper.saved(room, session)
        room.unseat(session)
        session.leaving = True
        return state

    async def close_all(self) -> None:
        """End every session, and write what is to be written."""
        self._closing = True
        for session in list(self._sessions.values()):
            await self.abandon(session)
        await self._keeper.close()
        await self._upkeep.end()
