"""What happens at the same time as something else: nothing is lost, doubled or held up by it."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from foretoken.errors import DataLoss, Unavailable
from foretoken.server.sessions.session import Continue
from foretoken.server.sessions.together import Together
from tests.server.sessions.pushing import ANYONE, DURABLE, FIXED, outputs

PATIENCE = 10


async def eventually(true):
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


def undisturbed(plane, values):
    async def work():
        session = await plane.plane.sessions.open("toy", ANYONE, FIXED)
        made = await outputs(plane.plane.sessions, session, values)
        await plane.plane.sessions.close(session)
        return made

    return plane.run(work())


def slow(monkeypatch, together, seconds=0.05):
    def work(requests, before=together._work):
        time.sleep(seconds)
        return before(requests)

    monkeypatch.setattr(together, "_work", work)


def failing(monkeypatch, together):
    def work(_requests):
        raise Unavailable("the disk is full")

    monkeypatch.setattr(together, "_work", work)


@pytest.mark.parametrize("sizes", [(1, 5), (5, 1)])
@pytest.mark.parametrize("options", [None, FIXED])
def test_what_stands_behind_a_message_that_fails_may_be_of_another_kind(
    plane, series, reference, sizes, options
):
    first, then = sizes

    async def work():
        sessions = plane.plane.sessions
        mine = [await sessions.open("toy", ANYONE, options) for _ in range(5)]
        coming = []
        for i, each in enumerate(mine):
            failing = sessions.step(each, series[:first], ANYONE)
            if i % 2:
                failing.cancel()
                coming.append(sessions.step(each, series[:then], ANYONE))
            else:
                coming.append(failing)
        async with asyncio.timeout(PATIENCE):
            return [(await each).outputs["y"] for each in coming]

    for i, made in enumerate(plane.run(work())):
        wanted = reference(series[: then if i % 2 else first])
        np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-5)


def test_a_batch_that_cannot_be_formed_fails_and_holds_up_nobody(plane, series, monkeypatch):
    from foretoken.server.sessions import stepping

    merged = stepping._merged

    async def work():
        sessions = plane.plane.sessions
        mine = [await sessions.open("toy", ANYONE) for _ in range(3)]

        def broken(*_):
            raise ValueError("not alike")

        monkeypatch.setattr(stepping, "_merged", broken)
        coming = [sessions.step(each, series[:1], ANYONE) for each in mine]
        async with asyncio.timeout(PATIENCE):
            failed = await asyncio.gather(*coming, return_exceptions=True)
        assert {type(each) for each in failed} == {ValueError}
        monkeypatch.setattr(stepping, "_merged", merged)
        return [await outputs(sessions, each, series[:3]) for each in mine]

    made = plane.run(work())
    np.testing.assert_allclose(made[0], made[1], rtol=1e-5, atol=1e-5)


def test_a_durable_state_that_is_put_aside_is_not_ahead_of_its_caller(planes, series):
    one, two = planes(sessions=1), planes()
    wanted = undisturbed(two, series[:12])

    async def evicted():
        sessions = one.plane.sessions
        session = await sessions.open("toy", ANYONE, DURABLE)
        await outputs(sessions, session, series[:4])
        await eventually(lambda: session.durable_step == 4)
        made = await outputs(sessions, session, series[4:6], deliver=False)
        other = await sessions.open("toy", ANYONE)
        assert session.slot < 0
        await sessions.close(other)
        return session, made

    session, made = one.run(evicted())
    np.testing.assert_array_equal(made, wanted[4:6])

    async def back():
        return await outputs(one.plane.sessions, session, series[6:9], deliver=False)

    np.testing.assert_array_equal(one.run(back()), wanted[6:9])

    async def elsewhere():
        sessions = two.plane.sessions
        mine = await sessions.open("", ANYONE, resume=Continue(session.id))
        assert mine.step == 4
        return await outputs(sessions, mine, series[4:12])

    one.run(evict(one))
    np.testing.assert_array_equal(two.run(elsewhere()), wanted[4:])


async def evict(plane):
    sessions = plane.plane.sessions
    await sessions.close(await sessions.open("toy", ANYONE))


def test_a_candidate_outlives_the_way_to_the_store_and_back(planes, series):
    plane = planes(sessions=1)

    async def work():
        sessions = plane.plane.sessions
        session = await sessions.open("toy", ANYONE, DURABLE)
        await outputs(sessions, session, series[:5], deliver=False)
        assert session.candidate.step == 4
        await evict(plane)
        assert session.slot < 0
        await sessions.step(session, series[5:6], ANYONE)
        sessions.deliver(session, 5)
        await eventually(lambda: session.durable_step == 4)
        assert session.lost is None
        await sessions.step(session, series[6:7], ANYONE)

    plane.run(work())


def test_durable_sessions_that_are_being_opened_make_no_room_for_others(
    planes, series, monkeypatch
):
    plane, other = planes(sessions=2), planes()
    slow(monkeypatch, plane.plane.sessions._keeper._begins)

    async def work():
        sessions = plane.plane.sessions
        first = [await sessions.open("toy", ANYONE, DURABLE) for _ in range(2)]
        opening = [asyncio.ensure_future(sessions.open("toy", ANYONE, DURABLE)) for _ in range(2)]
        mine = [*first, *(await asyncio.gather(*opening))]
        assert not any(each.ended for each in mine)
        made = [await outputs(sessions, each, series[:5]) for each in mine]
        async with asyncio.timeout(PATIENCE):
            await sessions.drain()
        assert sessions.open_sessions == 0
        return made

    wanted = undisturbed(other, series[:5])
    for made in plane.run(work()):
        np.testing.assert_array_equal(made, wanted)


def test_a_session_whose_opening_is_given_up_can_be_opened_again(planes, series, monkeypatch):
    one, two = planes(), planes()
    wanted = undisturbed(two, series[:9])

    async def leave():
        sessions = one.plane.sessions
        session = await sessions.open("toy", ANYONE, FIXED)
        made = await outputs(sessions, session, series[:5])
        await sessions.drain()
        return session.id, made

    id_, made = one.run(leave())
    slow(monkeypatch, two.plane.sessions._keeper._claims)

    async def go_on():
        sessions = two.plane.sessions
        opening = asyncio.ensure_future(sessions.open("", ANYONE, resume=Continue(id_)))
        await asyncio.sleep(0.02)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await eventually(lambda: not sessions._giving_up)
        mine = await sessions.open("", ANYONE, resume=Continue(id_))
        assert mine.step == 5
        return await outputs(sessions, mine, series[5:9])

    np.testing.assert_array_equal(np.concatenate([made, two.run(go_on())]), wanted)


def test_a_session_comes_back_once_the_disk_takes_what_makes_room(planes, series, monkeypatch):
    plane, other = planes(sessions=1), planes()
    keeper = plane.plane.sessions._keeper

    async def work():
        sessions = plane.plane.sessions
        away = await sessions.open("toy", ANYONE, FIXED)
        made = await outputs(sessions, away, series[:3])
        there = await sessions.open("toy", ANYONE, FIXED)
        with monkeypatch.context() as broken:
            failing(broken, keeper._saves)
            coming = asyncio.ensure_future(outputs(sessions, away, series[3:6]))
            await asyncio.sleep(0.2)
            assert not coming.done()
        made = np.concatenate([made, await coming])
        await outputs(sessions, there, series[:1])
        return made

    np.testing.assert_array_equal(plane.run(work()), undisturbed(other, series[:6]))


def test_what_cannot_be_erased_holds_up_nobody(planes, monkeypatch):
    plane = planes(sessions=2)
    keeper = plane.plane.sessions._keeper
    slow(monkeypatch, keeper._saves)
    failing(monkeypatch, keeper._claims)

    async def work():
        sessions = plane.plane.sessions
        mine = [await sessions.open("toy", ANYONE, FIXED) for _ in range(2)]
        opening = asyncio.ensure_future(sessions.open("toy", ANYONE))
        await asyncio.sleep(0.01)
        for each in mine:
            await sessions.close(each)
        async with asyncio.timeout(PATIENCE):
            await opening
            for each in mine:
                await keeper.settled(each)

    plane.run(work())


def test_rows_of_sessions_in_use_do_not_expire(planes, series):
    one, two = planes(sessions=1, session_ttl=1.0), planes()

    async def work():
        sessions = one.plane.sessions
        durable = await sessions.open("toy", ANYONE, DURABLE)
        await outputs(sessions, durable, series[:4])
        await eventually(lambda: durable.durable_step == 4)
        await evict(one)
        for _ in range(15):
            await asyncio.sleep(0.1)
            await sessions.tidy()
        assert one.plane.sessions._registry.sessions.expire() == 0
        made = await outputs(sessions, durable, series[4:6], deliver=False)
        return durable.id, made

    id_, made = one.run(work())
    np.testing.assert_array_equal(made, undisturbed(two, series[:6])[4:])

    async def there():
        assert (await two.plane.sessions.open("", ANYONE, resume=Continue(id_))).step == 4

    two.run(there())


def test_a_state_that_is_half_changed_ends_its_session(plane, series):
    async def work():
        sessions = plane.plane.sessions
        durable = await sessions.open("toy", ANYONE, DURABLE)
        await outputs(sessions, durable, series[:5])
        await eventually(lambda: durable.durable_step == 4)
        stepper = sessions._rooms.where(durable).stepper

        def broken(*_):
            raise DataLoss("half changed")

        run, stepper.slots.run = stepper.slots.run, broken
        with pytest.raises(DataLoss, match="spoilt"):
            await sessions.step(durable, series[5:6], ANYONE)
        stepper.slots.run = run
        with pytest.raises(DataLoss, match="spoilt"):
            sessions.step(durable, series[5:6], ANYONE)
        again = await sessions.open("", ANYONE, resume=Continue(durable.id))
        assert again.step == 4

    plane.run(work())


def test_what_goes_together_fails_alone():
    def work(requests):
        if 13 in requests:
            raise OverflowError("an unlucky number")
        return [each * 2 for each in requests]

    async def ask():
        together = Together(work, 100)
        return await asyncio.gather(*(together.ask(i) for i in range(20)), return_exceptions=True)

    made = asyncio.run(ask())
    assert isinstance(made[13], OverflowError)
    assert [each for i, each in enumerate(made) if i != 13] == [2 * i for i in range(20) if i != 13]
