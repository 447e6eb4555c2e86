"""A generator at work: its turns run in threads while there is anything to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from foretoken.errors import DeadlineExceeded, ForetokenError, InternalError, Unavailable
from foretoken.models.generation import Continuation
from foretoken.models.tasks import GenerationReply, ScoreReply, Token
from foretoken.server.engine.generation.decoding import Decoding
from foretoken.server.engine.generation.generator import Generator
from foretoken.server.engine.observer import SILENT, Observer
from foretoken.server.terms import Terms

__all__ = ["Running"]

SLICE = 0.02  # seconds of turns after which arrivals and departures are heard of, token or none


@dataclass(eq=False)
class _Asked:
    """A request, as the event loop knows it."""

    work: Continuation
    owner: str
    emit: Callable[[Token], None]
    done: asyncio.Future[GenerationReply | ScoreReply]
    last: float  # when it was asked for, or had its last token, as time.monotonic says it
    one: Decoding | None = None  # as the generator knows it; the threads' own

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


# A request and what happened to it: a token, nothing more than its end, or the error that ended it.
_Event = tuple[_Asked, Token | ForetokenError | None]


class Running:
    """Lets requests arrive at a generator and leave it; it belongs to one event loop.

    The generator is touched by one thread at a time, the one that runs its turns.

    Args:
        generator: that runs.
        host: has work done in a thread of those that compute.
        observer: hears of tokens and blocks.
        model: as the observer knows it.
    """

    def __init__(
        self,
        generator: Generator,
        host: Callable[[Callable[[], Any]], Awaitable[Any]],
        observer: Observer = SILENT,
        model: str = "",
    ) -> None:
        self.generator = generator
        self._observer = observer
        self._model = model
        self._preempted = 0  # of which the observer has heard
        self._host = host
        self._arriving: list[_Asked] = []
        self._leaving: list[_Asked] = []
        self._inside: dict[Decoding, _Asked] = {}  # the threads' own
        self._task: asyncio.Task[None] | None = None

    async def generate(
        self,
        work: Continuation,
        emit: Callable[[Token], None],
        terms: Terms,
        waited: Callable[[float], None] = lambda _seconds: None,
    ) -> GenerationReply | ScoreReply:
        """Continue tokens, or score them; cancelling it takes the request out.

        Args:
            work: what to continue.
            emit: is told every token as it comes.
            terms: of the request; prefixes are shared within a tenant.
            waited: is told, once it is answered, for how many seconds it had no blocks.

        Raises:
            Unsupported, Overloaded: as ``Generator.add``.
            DeadlineExceeded: the deadline passed.
            InternalError: the model failed.
        """
        done: asyncio.Future[GenerationReply | ScoreReply]
        done = asyncio.get_running_loop().create_future()
        asked = _Asked(work, terms.caller.tenant or "", emit, done, time.monotonic())
        self._arriving.append(asked)
        self._wake()
        try:
            async with asyncio.timeout(None if terms.left == float("inf") else terms.left):
                reply = await done
            if asked.one is not None:
                waited(asked.one.idle)
            return reply
        except TimeoutError as e:
            raise DeadlineExceeded("the deadline passed before the answer was there") from e
        finally:
            if asked in self._arriving:
                self._arriving.remove(asked)
            elif not done.done() or done.cancelled():
                self._leaving.append(asked)
                self._wake()

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._go())

    async def _go(self) -> None:
        while self._arriving or self._leaving or self._inside:
            arriving, self._arriving = self._arriving, []
            leaving, self._leaving = self._leaving, []
            try:
                events = await self._host(partial(self._turns, arriving, leaving))
            except (Exception, asyncio.CancelledError) as e:  # no thread is lent any longer
                gone = Unavailable(f"the server is closing: {e}")
                for asked in [*arriving, *self._arriving, *self._inside.values()]:
                    asked.fail(gone)
                self._arriving, self._leaving = [], []
                self._inside.clear()
                return
            self._count(events)
            for asked, what in events:
                self._tell(asked, what)

    def _count(self, events: Sequence[_Event]) -> None:
        observer, now = self._observer, time.monotonic()
        observer.blocks_free(self.generator, self.generator.blocks.free)
        if more := self.generator.admission.preempted - self._preempted:
            observer.preempted(self._model, more)
            self._preempted += more
        for asked, what in events:
            if isinstance(what, Token) and (one := asked.one) is not None:
                if what is one.answer[0]:
                    reused = one.reused or 0
                    observer.first_token(self._model, now - asked.last, len(one.work.ids), reused)
                else:
                    observer.next_token(self._model, now - asked.last)
                asked.last = now

    def _tell(self, asked: _Asked, what: Token | ForetokenError | None) -> None:
        if isinstance(what, ForetokenError):
            asked.fail(what)
            return
        if asked.done.done():
            return
        try:
            if what is not None:
                asked.emit(what)
        except Exception as e:  # of whoever listens: its own request ends, no other
            asked.fail(e)
            self._leaving.append(asked)
            return
        one = asked.one
        if one is not None and one.finish and (what is None or what is one.answer[-1]):
            asked.done.set_result(one.reply)

    def _turns(self, arriving: Sequence[_Asked], leaving: Sequence[_Asked]) -> list[_Event]:
        """In a thread: let requests in and out, then turns until a token comes or time is up."""
        events: list[_Event] = []
        for asked in arriving:
            try:
                asked.one = self.generator.add(asked.work, asked.owner)
                self._inside[asked.one] = asked
            except ForetokenError as e:
                events.append((asked, e))
        for asked in leaving:
            if asked.one is not None:
                self.generator.cancel(asked.one)
                self._inside.pop(asked.one, None)
        until = time.monotonic() + SLICE
        try:
            while self.generator.busy and not events and time.monotonic() < until:
                told = self.generator.turn()
                events += [(self._inside[one], one.error or token) for one, token in told]
        except Exception as e:  # whatever a module may raise; what it left behind is nobody's
            error = e if isinstance(e, ForetokenError) else InternalError(f"generation failed: {e}")
            events += [(asked, error) for asked in self._inside.values()]
            for one in self._inside:
                self.generator.cancel(one)
            self._inside.clear()
        for asked, _ in events:
            if asked.one is not None and asked.one.finish:
                self._inside.pop(asked.one, None)
        return events
