"""The batcher: calls of many requests wait here for company, and run together.

It belongs to one event loop, which alone touches it; only runtimes work in other threads. A lane
is one graph of one loaded version. Whenever there is a core to run on, the most urgent call of all
lanes goes, and takes along what of its lane is most like it: so while cores are free nobody waits,
and the more there is to do, the larger batches become.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from foretoken.errors import DeadlineExceeded, InternalError, Overloaded
from foretoken.models.contract import Arrays
from foretoken.server.engine import batches
from foretoken.server.engine.lane import Item, Lane
from foretoken.server.engine.observer import SILENT, Batch, Observer
from foretoken.server.terms import Terms

__all__ = ["Batcher"]

MARGIN = 2.0
SOON = 0.01  # seconds: the least time after which to try again
_AT_ONCE = (0.0,)  # seconds that a call waits which runs at once
INLINE = 2e-4  # seconds: what takes less is not worth the way to another thread and back


@dataclass(frozen=True, slots=True)
class _Outcome:
    parts: list[Arrays | BaseException]
    tokens: int  # after padding
    seconds: float


class Batcher:
    """Runs the calls of all lanes.

    Args:
        slots: calls of runtimes that may run at once.
        pool: where they run.
        observer: hears of every batch.
    """

    def __init__(self, slots: int, pool: Executor, observer: Observer = SILENT) -> None:
        self._free = slots
        self._slots = slots
        self._pool = pool
        self._observer = observer
        self._busy: dict[Lane, None] = {}  # lanes with waiting calls
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._ends: dict[asyncio.Future[_Outcome], float] = {}  # when what runs is expected to end

    @property
    def waiting(self) -> int:
        """Calls that wait, on all lanes."""
        return sum(lane.count for lane in self._busy)

    @property
    def running(self) -> int:
        """Batches that run in other threads now."""
        return self._slots - self._free

    def backlog(self) -> float:
        """Seconds until a call that came now would begin to run, as far as costs are known."""
        now = time.monotonic()
        running = sum(max(0.0, end - now) for end in self._ends.values())
        queued = sum(lane.cost.expect(lane.tokens) for lane in self._busy)
        return (running + queued) / self._slots if self._free == 0 else queued / self._slots

    def admit(self, lane: Lane, calls: Sequence[Item], deadline: float) -> None:
        """Refuse calls that there is no room or no time for, before any of them waits.

        Raises:
            Overloaded: then, with the time after which to try again.
        """
        if lane.count and lane.count + len(calls) > lane.limits.queue:
            self._observer.shed(lane.model, "queue")
            raise Overloaded(
                f"{lane.count} calls wait for {lane.model}; the queue takes {lane.limits.queue}",
                retry_after=max(self.backlog(), SOON),
            )
        if deadline < math.inf:
            work = lane.cost.sure(sum(item.tokens for item in calls))
            self.expect_time(lane.model, deadline, work)

    def expect_time(self, model: str, deadline: float, work: float = 0.0) -> None:
        """Refuse a call that would not be answered before its deadline.

        What waits is given ``MARGIN`` times the time that it is expected to take: a queue that is
        as long as the deadline allows serves everybody too late as soon as anything goes slower.

        Args:
            model: that is asked.
            deadline: of the call.
            work: seconds that the call itself takes.

        Raises:
            Overloaded: then, with the time after which to try again.
            DeadlineExceeded: if it has passed already.
        """
        now, wait = time.monotonic(), self.backlog()
        if deadline <= now:
            raise DeadlineExceeded("the deadline had passed when the request arrived")
        if now + MARGIN * wait + work > deadline:
            self._observer.shed(model, "deadline")
            raise Overloaded(
                f"the deadline cannot be met: {wait:.3g} s of work wait before this call, which "
                f"takes {work:.3g} s",
                retry_after=max(wait, SOON),
            )

    async def run(
        self, lane: Lane, calls: Sequence[Arrays], terms: Terms, *, first: bool = True
    ) -> tuple[list[Arrays], float, float]:
        """Run ``calls`` on ``lane``, each batched with whatever company there is.

        Args:
            lane: of their graph.
            calls: inputs and reads of each.
            terms: deadline and priority.
            first: whether they may still be refused for lack of room or time.

        Returns:
            Outputs and writes of each call, in order; then the seconds that the longest waited,
            and those that its batch took.

        Raises:
            InvalidInput: if arrays do not fit the graph.
            Overloaded: see ``admit``.
            DeadlineExceeded: if the deadline passes first.
            ForetokenError: whatever the runtime raises.
        """
        loop = asyncio.get_running_loop()
        items = [lane.item(arrays, terms.deadline, loop.create_future()) for arrays in calls]
        if first:
            self.admit(lane, items, terms.deadline)
        self._enqueue(lane, items, terms.priority)
        timer = self._expiring(items, terms.deadline)
        try:
            made = [await item.done for item in items]
        except BaseException:
            for item in items:
                lane.remove(item, terms.priority)
                if not item.done.done():
                    item.done.cancel()
                elif not item.done.cancelled():
                    item.done.exception()  # has been asked for: the first is the one that counts
            self._settle(lane)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        slowest = max(items, key=lambda item: item.queued + item.compute)
        return made, slowest.queued, slowest.compute

    def at_once(self, lane: Lane, inputs: Arrays) -> tuple[Arrays, float] | None:
        """Run a call right here, if it is short and nobody waits: outputs and writes, and seconds.

        Raises:
            As ``run`` does.
        """
        if lane.count or lane.limits.wait or lane.cost.expect(1) >= INLINE:
            return None  # before anything is measured
        sizes = lane.measure(inputs)
        tokens = lane.weigh(sizes)
        if not 0 < lane.cost.expect(tokens) < INLINE:
            return None
        began = time.perf_counter()
        made = lane.run(lane.graph.name, inputs)
        seconds = time.perf_counter() - began
        lane.cost.learn(tokens, seconds)
        self._observer.batch(
            Batch(
                lane.model,
                lane.version,
                lane.graph.name,
                sizes[batches.BATCH],
                tokens,
                tokens,
                _AT_ONCE,
                seconds,
            )
        )
        return made, seconds

    async def host(self, work: Callable[[], Any]) -> Any:
        """What ``work()`` returns, done in a thread of those that compute, in its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    @staticmethod
    def _expiring(items: Sequence[Item], deadline: float) -> asyncio.TimerHandle | None:
        """Fails the calls at the deadline, wherever they are then."""
        if deadline == math.inf or not items:
            return None
        late = DeadlineExceeded("the deadline passed before the answer was there")
        loop = asyncio.get_running_loop()

        def expire() -> None:
            for item in items:
                item.fail(late)

        return loop.call_later(max(0.0, deadline - time.monotonic()), expire)

    def _enqueue(self, lane: Lane, items: Sequence[Item], priority: int) -> None:
        for item in items:
            lane.add(item, priority)
        self._settle(lane)
        if self._free and not self._scheduled:
            # Not at once: whoever arrives in this turn of the loop comes along.
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _settle(self, lane: Lane) -> None:
        """Keep account of which lanes have calls waiting."""
        if lane.count:
            self._busy[lane] = None
        else:
            self._busy.pop(lane, None)
        if change := lane.count - lane.told:
            lane.told = lane.count
            self._observer.waiting(lane.model, change)

    def _dispatch(self) -> None:
        """Start batches while there are calls and free slots."""
        self._scheduled = False
        now = time.monotonic()
        due = math.inf
        ready = []
        for lane in self._busy:
            when = self._due(lane)
            if when <= now:
                ready.append(lane)
            due = min(due, when)
        while self._free and ready:
            lane = min(ready, key=lambda lane: lane.first() or (0, math.inf))
            items = lane.take(now)
            if items:
                self._start(lane, items, now)
            self._settle(lane)
            if not lane.count:
                ready.remove(lane)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._free and now < due < math.inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(due - now, self._dispatch)

    def _due(self, lane: Lane) -> float:
        """When the next batch of a lane is to start at the latest, if there is a slot."""
        rank = lane.first()
        if rank is None:
            return math.inf
        if not lane.limits.wait or lane.tokens >= lane.limits.batch_tokens:
            return 0.0
        items = [item for queue in lane.waiting.values() for item in queue]
        halfway = min((item.arrived + item.deadline) / 2 for item in items)
        needed = 2 * lane.cost.expect(lane.tokens)
        hurry = min(item.deadline for item in items) - needed
        return min(rank[1] + lane.limits.wait, halfway, hurry)

    def _start(self, lane: Lane, items: list[Item], now: float) -> None:
        for item in items:
            item.queued = now - item.arrived
        expected = lane.cost.expect(sum(item.tokens for item in items))
        if 0 < expected < INLINE:
            self._finish(lane, items, _work(lane, items))
            return
        loop = asyncio.get_running_loop()
        self._free -= 1
        running = loop.run_in_executor(self._pool, _work, lane, items)
        self._ends[running] = now + expected
        running.add_done_callback(lambda done: self._ended(lane, items, done))

    def _ended(self, lane: Lane, items: list[Item], done: asyncio.Future[_Outcome]) -> None:
        """Give the slot to the next batch first, then the outputs to those who wait for them."""
        self._free += 1
        del self._ends[done]
        if self._busy:
            self._dispatch()
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is not None:  # the pool itself: it has been shut down
            for item in items:
                item.fail(InternalError(f"the batcher's threads are gone: {error!r}"))
            return
        self._finish(lane, items, done.result())

    def _finish(self, lane: Lane, items: list[Item], outcome: _Outcome) -> None:
        real = sum(item.tokens for item in items)
        lane.cost.learn(outcome.tokens, outcome.seconds)
        for item, part in zip(items, outcome.parts, strict=True):
            item.compute = outcome.seconds
            if isinstance(part, BaseException):
                item.fail(part)
            else:
                item.succeed(part)
        self._observer.batch(
            Batch(
                model=lane.model,
                version=lane.version,
                graph=lane.graph.name,
                rows=sum(item.extent.rows for item in items),
                tokens=real,
                padded=outcome.tokens,
                queued=[item.queued for item in items],
                seconds=outcome.seconds,
            )
        )


def _work(lane: Lane, items: Sequence[Item]) -> _Outcome:
    """Merge, run, split; if that fails, each alone, so that nobody pays for another's call."""
    began = time.perf_counter()
    tokens = lane.weigh(batches.joint([item.sizes for item in items], lane.along(items)))
    try:
        parts: list[Arrays | BaseException] = list(_together(lane, items))
    except Exception as e:
        parts = [e] if len(items) == 1 else [p for i in items for p in _work(lane, [i]).parts]
    return _Outcome(parts, tokens, time.perf_counter() - began)


def _together(lane: Lane, items: Sequence[Item]) -> list[Arrays]:
    graph = lane.graph
    if len(items) == 1:
        return [lane.run(graph.name, items[0].inputs)]
    along = lane.along(items)
    shapes, calls = [item.sizes for item in items], [item.inputs for item in items]
    taken = graph.inputs if along == graph.rows else (*graph.inputs, *graph.reads)
    merged = {**calls[0], **batches.merge(taken, calls, shapes, along)}
    made = lane.run(graph.name, merged)
    return batches.split((*graph.outputs, *graph.writes), made, shapes, along)
