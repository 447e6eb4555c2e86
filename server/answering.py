"""From requests that have been placed to their replies: what a plane has done by its engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from foretoken.models.contract import Steps
from foretoken.models.generation import Continuation
from foretoken.models.tasks import GenerationReply, ScoreReply, Task, Token
from foretoken.server.answers import Answers
from foretoken.server.contexts.contexts import Seat
from foretoken.server.engine.batcher import Batcher
from foretoken.server.engine.drive import Generate, Times, drive
from foretoken.server.engine.observer import Observer, Served
from foretoken.server.registry.loaded import Loaded
from foretoken.server.terms import Terms
from foretoken.server.texts import Texts

if TYPE_CHECKING:
    from foretoken.server.engine.generation.running import Running

__all__ = ["Answering"]


class Answering:
    """Drives predictors; it belongs to one event loop.

    Args:
        batcher: runs their calls.
        bulk: runs those of large requests, in threads that give way to the others.
        slots: calls that may run at once in either.
        observer: hears of every request.
    """

    def __init__(self, batcher: Batcher, bulk: Batcher, slots: int, observer: Observer) -> None:
        self._batcher = batcher
        self._bulk = bulk
        self._observer = observer
        self._texts = Texts(batcher, bulk, slots)
        self._running: WeakKeyDictionary[Loaded, Running] = WeakKeyDictionary()

    async def answer(
        self,
        loaded: Loaded,
        seats: Sequence[Seat],
        terms: Terms,
        emit: Callable[[int, Any], None],
        began: float,
    ) -> Answers:
        """Replies to requests of one version, in order.

        Args:
            loaded: the version.
            seats: the requests, and the context of each.
            terms: of all of them.
            emit: receives partial replies, with the index of their request.
            began: when they arrived, as time.monotonic says it.

        Raises:
            ForetokenError: see ``Plane.predict``.
        """
        times, error, version = Times(), "", loaded.version
        try:
            if loaded.family.task is Task.TEXT:
                asked = [seat.request for seat in seats]
                replies: list[Any] = [*await self._texts.answer(loaded, asked, terms, times)]
            else:
                predict = loaded.predictor.predict
                steps = [predict(seat.request, seat.context) for seat in seats]
                spent: list[tuple[float, float]] = []
                generate = self._generate(loaded, spent)
                fits = generate is None and any(seat.context is None for seat in seats)
                batcher = self._hands(loaded, fits=fits)
                replies = await drive(steps, loaded.lanes, batcher, terms, emit, times, generate)
                queued, ran = max(spent, key=sum, default=(0.0, 0.0))
                times.queue += queued
                times.compute += ran
        except BaseException as e:
            error = type(e).__name__
            raise
        finally:
            seconds = time.monotonic() - began
            self._observer.served(
                Served(version.name, version.number, times.queue, times.compute, seconds, error)
            )
        return Answers(replies, version, seconds, tuple(seat.hit for seat in seats))

    def _generate(self, loaded: Loaded, spent: list[tuple[float, float]]) -> Generate | None:
        """What continues tokens by a version's layers, if it has a generator.

        Args:
            loaded: the version.
            spent: gets the seconds of each answer, without room and with it.
        """
        if loaded.generator is None:
            return None
        # Imported late: it imports torch, which such a version has brought already.
        from foretoken.server.engine.generation.running import Running  # noqa: PLC0415

        if loaded not in self._running:
            name = loaded.version.name
            self._running[loaded] = Running(
                loaded.generator, self._batcher.host, self._observer, name
            )
        running = self._running[loaded]

        async def generate(
            work: Continuation, tell: Callable[[Token], None], terms: Terms
        ) -> GenerationReply | ScoreReply:
            began, waits = time.monotonic(), [0.0]
            reply = await running.generate(work, tell, terms, waits.append)
            spent.append((waits[-1], time.monotonic() - began - waits[-1]))
            return reply

        return generate

    async def driven(self, loaded: Loaded, steps: Steps, terms: Terms) -> Any:
        """What ``steps``, which fit a training set, return."""
        (reply,) = await drive([steps], loaded.lanes, self._hands(loaded, fits=True), terms)
        return reply

    def _hands(self, loaded: Loaded, *, fits: bool) -> Batcher:
        """Who runs what predictors yield.

        What fits without graphs, as FastRP does, works on the host, seconds at a time.
        """
        return self._bulk if fits and not loaded.lanes else self._batcher
