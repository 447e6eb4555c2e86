"""Sequences: sessions under ids that callers choose, in requests that stand each for itself.

A sequence belongs to a tenant and to a model as its requests name it, and lives in the worker that
has claimed it (``owners``): whatever reaches another worker is sent on to that one. It is pinned to
the version that it began on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from foretoken.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Unavailable,
)
from foretoken.models.contract import Array, Call
from foretoken.models.tasks import SequenceReply, SequenceRequest
from foretoken.server.registry.loaded import Loaded
from foretoken.server.sessions.asked import Asked, Stepped
from foretoken.server.sessions.others import NOBODY, Gone, Moved, Others
from foretoken.server.sessions.owners import LOST, Claim, Owners
from foretoken.server.sessions.room import recurrent
from foretoken.server.sessions.session import Continue, Session, SessionOptions
from foretoken.server.sessions.stepping import expect_fitting
from foretoken.server.sessions.turns import Turns
from foretoken.server.terms import Terms

__all__ = ["Engine", "Sequences"]

_log = logging.getLogger("foretoken.sequences")
MOMENT = 0.02  # seconds between tries at a sequence that is on its way to another worker
TIDY = 5.0  # seconds between looks for sequences that nobody uses
T = TypeVar("T")


class Engine(Protocol):
    """The part of ``sessions.Sessions`` that sequences need."""

    async def open(
        self,
        model: str,
        terms: Terms,
        options: SessionOptions | None = None,
        resume: Any = None,
        id: str | None = None,  # noqa: A002
    ) -> Session: ...
    def step(
        self, session: Session, values: Array, terms: Terms
    ) -> asyncio.Future[SequenceReply]: ...
    def deliver(self, session: Session, step: int) -> None: ...
    async def close(self, session: Session) -> None: ...
    async def drain(self) -> None: ...


@dataclass(eq=False, slots=True)
class _Held:
    """A sequence that is here."""

    session: Session
    used: float = 0.0
    last: asyncio.Future[Any] | None = None  # of the message that came last
    behind: bool = False  # what came after its checkpoint is missing, until its caller has said so

    async def settled(self) -> None:
        """Wait until all that came before is answered."""
        if self.last is not None and not self.last.done():
            await asyncio.wait([self.last])


class Sequences:
    """The sequences of one worker; it belongs to one event loop.

    Args:
        engine: steps their sessions.
        describe: the version that answers under a reference now.
        ttl: seconds after which a sequence that nobody uses is forgotten; 0: never.
        owners: of all workers' sequences.
        others: the other workers.
    """

    def __init__(
        self,
        engine: Engine,
        describe: Callable[[str, Terms], Awaitable[Loaded]],
        ttl: float,
        owners: Owners,
        others: Others = NOBODY,
    ) -> None:
        self._engine = engine
        self._describe = describe
        self._ttl = ttl
        self._owners = owners
        self._others = others
        self._turns = Turns()
        self._held: OrderedDict[str, _Held] = OrderedDict()  # the last used last
        self._asking = 0
        self._closing = False
        self._tidying: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many are here."""
        return len(self._held)

    # -- answering --------------------------------------------------------------------------------

    async def ask(self, asked: Asked, terms: Terms) -> Stepped | bytes:
        """Answer a request, or have the worker that has the sequence answer it.

        Requests of a sequence are taken in the order in which they come. What is refused changes
        nothing. A start that is not answered, whatever the reason, has begun nothing.

        Returns:
            The answer; of another worker, as its door has packed it.

        Raises:
            InvalidInput: if there is no such sequence, or values or options are not acceptable.
            NotFound: if the sequence was lost with its worker; or if there is no such model.
            Unsupported: if the model keeps no state.
            FailedPrecondition: if the sequence is not at the step that was said.
            Moved: if another worker asks, and the sequence is not here.
            And what the engine raises.
        """
        if self._closing:
            raise self._leaving(asked)
        self._asking += 1
        try:
            held = self._held.get(asked.key)
            if held is not None and self._goes_on(held, asked):
                began = time.monotonic()
                reply = await self._step(held, asked.key, asked.values(), terms)
                return _stepped(held, reply, began)
            return await self._ask(asked, terms)
        except Unavailable as e:
            held = self._held.get(asked.key)
            if asked.packed is None and held is not None and held.session.lost is e:
                raise Moved("the sequence has left this worker") from e
            raise
        finally:
            self._asking -= 1

    def _goes_on(self, held: _Held, asked: Asked) -> bool:
        """Whether a request only has to be put behind what the session has to do."""
        idle = asked.key not in self._turns
        return asked.plain and idle and not (held.session.ended or held.behind)

    async def _ask(self, asked: Asked, terms: Terms) -> Stepped | bytes:
        async with self._turns.turn(asked.key, terms):
            began = time.monotonic()
            if asked.start:
                return await self._start(asked, terms)
            found = await self._find(asked, terms)
            if isinstance(found, bytes):
                return found
            values = asked.values()
            if asked.step is not None or found.behind:
                await found.settled()
                self._expect_step(found, asked)
            coming = self._step(found, asked.key, values, terms)
            if asked.end:
                return _stepped(found, await self._last(found, asked.key, coming), began)
        return _stepped(found, await coming, began)

    def _step(
        self, held: _Held, key: str, values: Array, terms: Terms
    ) -> asyncio.Future[SequenceReply]:
        session = held.session
        if session.options.durable:
            # Its caller speaks again, so it has, or could have, all answers so far.
            self._engine.deliver(session, session.step)
        held.last = coming = self._engine.step(session, values, terms)
        held.used = time.monotonic()
        self._held.move_to_end(key)
        return coming

    async def _last(
        self, held: _Held, key: str, coming: asyncio.Future[SequenceReply]
    ) -> SequenceReply:
        """The answer to the last request of a sequence, which ends with it.

        If its caller goes before it is answered, the sequence ends too: there is nobody who could
        send the end again.
        """
        try:
            reply = await coming
        except asyncio.CancelledError:
            await _whole(self._end(key, held))
            raise
        await _whole(self._end(key, held))
        return reply

    # -- beginning --------------------------------------------------------------------------------

    async def _start(self, asked: Asked, terms: Terms) -> Stepped:
        began = time.monotonic()
        loaded = await self._describe(asked.model, terms)
        recurrent(loaded)
        values = asked.values()
        _expect_acceptable(loaded, values, asked.options)
        if asked.step:
            raise InvalidInput(f"a sequence that starts is at step 0, not {asked.step}")
        id_ = f"seq-{secrets.token_hex(16)}"
        await self._claim_anew(asked, id_, terms)
        try:
            held = await _whole(self._open(asked, id_, terms))
            reply = await self._step(held, asked.key, values, terms)
        except BaseException:
            if (begun := self._held.get(asked.key)) is not None:
                await _whole(self._end(asked.key, begun))
            raise
        stepped = _stepped(held, reply, began)
        if asked.end:
            await _whole(self._end(asked.key, held))
        return stepped

    async def _claim_anew(self, asked: Asked, session: str, terms: Terms) -> None:
        """Claim a key for a new session; what there was under it ends."""
        key = asked.key
        if (held := self._held.get(key)) is not None:
            await held.settled()
            await _whole(self._end(key, held))
        while not self._owners.add(key, session):
            claim = self._owners.find(key)
            if claim is None:
                continue
            if claim.worker > 0 and claim.worker != self._owners.worker:
                try:
                    await self._others.drop(claim.worker, key, terms)
                    continue
                except Moved:
                    await _moment(terms)
                    continue
                except Gone:
                    pass
            if self._owners.take(key, claim, session):
                return
            await _moment(terms)

    async def _open(self, asked: Asked, session: str, terms: Terms) -> _Held:
        try:
            opened = await self._engine.open(asked.model, terms, asked.options, id=session)
        except BaseException:
            self._owners.release(asked.key)
            raise
        return self._hold(asked.key, _Held(opened))

    def _hold(self, key: str, held: _Held) -> _Held:
        held.used = time.monotonic()
        self._held[key] = held
        return held

    # -- finding ----------------------------------------------------------------------------------

    async def _find(self, asked: Asked, terms: Terms) -> _Held | bytes:
        """The sequence, brought here if nobody has it; or the answer of the worker that has it."""
        while True:
            held = self._here(asked.key)
            if held is not None:
                return held
            if asked.packed is None:
                raise Moved("the sequence is not here")
            claim = self._owners.find(asked.key)
            if claim is None:
                recurrent(await self._describe(asked.model, terms))
                raise InvalidInput(
                    f"there is no {asked}; the first request of a sequence must say "
                    "sequence_start = true"
                )
            if claim.worker == LOST:
                raise _lost(asked)
            try:
                if claim.worker > 0 and claim.worker != self._owners.worker:
                    return await self._others.ask(claim.worker, terms, asked.packed())
            except Moved:
                await _moment(terms)
                continue
            except Gone:
                pass  # what it had may be in the store
            if self._owners.take(asked.key, claim):
                return await _whole(self._go_on(asked, claim, terms))
            await _moment(terms)

    def _here(self, key: str) -> _Held | None:
        held = self._held.get(key)
        if held is None or not held.session.ended:
            return held
        del self._held[key]
        lost = held.session.lost
        if lost is not None and not isinstance(lost, Unavailable):  # its version was deleted
            self._owners.release(key)
            raise lost
        # It has left, for want of room or because its model is unloaded, or it was taken over.
        self._owners.park(key)
        return None

    async def _go_on(self, asked: Asked, claim: Claim, terms: Terms) -> _Held:
        """Go on from what is in the store."""
        try:
            session = await self._engine.open("", terms, resume=Continue(claim.session))
        except NotFound as e:
            self._owners.lose(asked.key)
            raise _lost(asked) from e
        except BaseException:
            self._owners.park(asked.key)
            raise
        return self._hold(asked.key, _Held(session, behind=session.options.durable))

    @staticmethod
    def _expect_step(held: _Held, asked: Asked) -> None:
        step = held.session.step
        if asked.step is None:
            raise FailedPrecondition(
                f"{asked} has been brought back as it was after {step} observations; send those "
                f"that came later again, from the parameter sequence_step = {step} on"
            )
        if asked.step != step:
            raise FailedPrecondition(
                f"{asked} has had {step} observations, not {asked.step}; send what comes after "
                f"those, with the parameter sequence_step = {step}"
            )
        held.behind = False

    # -- ending -----------------------------------------------------------------------------------

    async def _end(self, key: str, held: _Held) -> None:
        """End a sequence, at once."""
        if self._held.get(key) is held:
            del self._held[key]
        try:
            await self._engine.close(held.session)
        finally:
            self._owners.release(key)

    async def drop(self, key: str, terms: Terms) -> None:
        """End the sequence of a key, if it is here, once what waits in it is done.

        Raises:
            DeadlineExceeded: if that takes too long.
        """
        async with self._turns.turn(key, terms):
            held = self._held.get(key)
            if held is None:
                self._owners.release(key)
            else:
                await held.settled()
                await _whole(self._end(key, held))

    def _leaving(self, asked: Asked) -> Moved | Unavailable:
        if asked.packed is None:
            return Moved("this worker ends")
        return Unavailable("the server is closing; ask another one, or again in a moment")

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Forget from now on what nobody uses."""
        self._tidying = asyncio.ensure_future(self._keep_tidy())

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(min(TIDY, self._ttl / 4 or TIDY))
            try:
                await self.tidy()
            except Exception as e:  # to tidy ends with the worker, and with nothing else
                _log.error("cannot tidy sequences: %s", e)

    async def tidy(self) -> None:
        """End sequences that were not used for long, and park those of dead workers."""
        for worker in self._owners.workers():
            if not self._others.alive(worker):
                self._owners.park_all(worker)
        if not self._ttl:
            return
        self._owners.forget(self._ttl)
        since = time.monotonic() - self._ttl
        while self._held:
            key, held = next(iter(self._held.items()))
            if held.used > since:
                return
            held.used = time.monotonic()  # the next one is looked at, whatever comes of this one
            self._held.move_to_end(key)
            if key not in self._turns and (held.last is None or held.last.done()):
                async with self._turns.turn(key, Terms()):
                    await self._end(key, held)

    async def drain(self, seconds: float) -> None:
        """Take nothing new, let what is asked be answered, and leave all to other workers.

        Args:
            seconds: that answers may take.
        """
        self._closing = True
        if self._tidying is not None:
            self._tidying.cancel()
        end = time.monotonic() + seconds
        while self._asking and time.monotonic() < end:
            await asyncio.sleep(MOMENT)
        await self._engine.drain()
        self._held.clear()
        self._owners.park_all()


def _expect_acceptable(loaded: Loaded, values: Array, options: SessionOptions) -> None:
    """Refuse what a model would refuse at its first step, before a sequence ends for it.

    Raises:
        Unsupported: if the model keeps no state.
        InvalidInput: naming what is not acceptable.
    """
    predictor = recurrent(loaded)
    request = SequenceRequest(values, predictor.options(options.family))
    steps = loaded.predictor.predict(request, predictor.start())
    (call,) = cast("Sequence[Call]", next(steps))
    steps.close()
    expect_fitting(loaded.lanes[call.graph].graph, call)


def _stepped(held: _Held, reply: SequenceReply, began: float) -> Stepped:
    session = held.session
    durable = session.durable_step if session.options.durable else None
    return Stepped(reply, session.version, time.monotonic() - began, session.step, durable)


def _lost(asked: Asked) -> NotFound:
    return NotFound(
        f"{asked} was lost with the worker that had it; begin again with sequence_start = true"
    )


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Do work that must not be left half done: if the caller goes, to the end before it is told."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # heard
        raise


async def _moment(terms: Terms) -> None:
    """Wait a little.

    Raises:
        DeadlineExceeded: if there is no time for it.
    """
    if terms.left < MOMENT:
        raise DeadlineExceeded("the deadline passed while the sequence moved to another worker")
    await asyncio.sleep(MOMENT)
