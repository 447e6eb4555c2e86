"""Shared work: done once, for as long as anybody waits."""

from __future__ import annotations

import asyncio
import time

import pytest

from foretoken.errors import DeadlineExceeded, NotFound
from foretoken.server.contexts.flights import Flights
from tests.asynchronous import awaited


class Work:
    """Counts how often it has begun and ended, and goes on when it is told to."""

    def __init__(self) -> None:
        self.begun = self.ended = self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.ended += 1
        return self.begun


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@awaited
async def test_all_who_want_the_same_share_it():
    work, flights = Work(), Flights()
    callers = [asyncio.ensure_future(flights.share("a", work)) for _ in range(5)]
    await turns()
    work.go.set()
    assert await asyncio.gather(*callers) == [1] * 5
    assert await flights.share("a", work) == 2, "what has ended is done anew"


@awaited
async def test_a_cancelled_leader_does_not_fail_the_others():
    work, flights = Work(), Flights()
    leader, follower = (asyncio.ensure_future(flights.share("a", work)) for _ in range(2))
    await turns()
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    work.go.set()
    assert await follower == 1
    assert (work.begun, work.cancelled) == (1, 0)


@awaited
async def test_the_last_to_leave_ends_the_work():
    work, flights = Work(), Flights()
    callers = [asyncio.ensure_future(flights.share("a", work)) for _ in range(2)]
    await turns()
    for each in callers:
        each.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await turns()
    assert (work.begun, work.cancelled) == (1, 1)
    work.go.set()
    assert await flights.share("a", work) == 2


@awaited
async def test_a_deadline_is_that_of_one_caller():
    work, flights = Work(), Flights()
    patient = asyncio.ensure_future(flights.share("a", work))
    with pytest.raises(DeadlineExceeded):
        await flights.share("a", work, time.monotonic() + 0.01)
    work.go.set()
    assert await patient == 1


@awaited
async def test_errors_go_to_all_and_are_not_remembered():
    flights, raised = Flights(), 0

    async def fail():
        nonlocal raised
        raised += 1
        await asyncio.sleep(0)
        raise NotFound("gone")

    found = await asyncio.gather(
        *(flights.share("a", fail) for _ in range(3)), return_exceptions=True
    )
    assert [type(e) for e in found] == [NotFound] * 3
    with pytest.raises(NotFound):
        await flights.share("a", fail)
    assert raised == 2


@awaited
async def test_closing_gives_up_what_is_under_way():
    work, flights = Work(), Flights()
    caller = asyncio.ensure_future(flights.share("a", work))
    await turns()
    await flights.close()
    with pytest.raises(Exception, match="given up"):
        await caller
    assert work.cancelled == 1
