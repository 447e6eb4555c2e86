"""States that leave their slots: snapshots, forks, idle and durable sessions, other workers."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import numpy as np
import pytest

from foretoken.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Overloaded,
    Unavailable,
)
from foretoken.server.sessions.session import Continue
from foretoken.server.terms import Caller, Scope, Terms
from tests.server.sessions.pushing import ANYONE, DURABLE, FIXED, outputs

OTHER = Terms(caller=Caller("other", frozenset({Scope.PREDICT}), tenant="other"))


async def written(session, step):
    """Wait until the session is safe on the disk up to ``step``."""
    async with asyncio.timeout(5):
        while session.durable_step < step:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("how", ["digest", "bytes"])
@pytest.mark.parametrize("at", [0, 1, 37])
def test_a_snapshot_goes_on_bit_for_bit(planes, series, how, at):
    one, two = planes(), planes()

    async def take():
        sessions = one.plane.sessions
        session = await sessions.open("toy", ANYONE, FIXED)
        await outputs(sessions, session, series[:at])
        record, data = await sessions.snapshot(session, ANYONE)
        assert (record.step, record.nbytes) == (at, len(data))
        return record.id, data, await outputs(sessions, session, series[at : at + 20])

    digest, data, undisturbed = one.run(take())

    async def resume():
        sessions = two.plane.sessions
        kept = digest if how == "digest" else data
        session = await sessions.open("", ANYONE, FIXED, kept)
        assert session.step == at
        return await outputs(sessions, session, series[at : at + 20])

    np.testing.assert_array_equal(two.run(resume()), undisturbed)


def test_both_branches_of_a_fork_go_on_bit_for_bit(plane, series):
    async def work():
        sessions = plane.plane.sessions
        trunk = await sessions.open("toy", ANYONE, FIXED)
        await outputs(sessions, trunk, series[:30])
        branch = await sessions.fork(trunk, ANYONE)
        assert branch.id != trunk.id
        left, right = await asyncio.gather(
            outputs(sessions, trunk, series[30:60]), outputs(sessions, branch, series[100:130])
        )
        for wanted, rows in ((left, series[30:60]), (right, series[100:130])):
            apart = await sessions.open("toy", ANYONE, FIXED)
            whole = await outputs(sessions, apart, np.concatenate([series[:30], rows]))
            np.testing.assert_array_equal(whole[30:], wanted)

    plane.run(work())


def test_a_state_of_another_model_or_version_is_refused(plane, registry, published, series):
    registry.register("other", published("recurrent"))
    registry.register("pool", published("stateless"))

    async def work():
        sessions = plane.plane.sessions
        session = await sessions.open("toy", ANYONE)
        await outputs(sessions, session, series[:3])
        record, data = await sessions.snapshot(session, ANYONE)
        with pytest.raises(NotFound, match="no version 7"):
            await sessions.open("toy:7", ANYONE, resume=data)
        with pytest.raises(FailedPrecondition, match="toy:1"):
            await sessions.open("pool", ANYONE, resume=record.id)
        same = await sessions.open("other", ANYONE, resume=data)  # the same weights by another name
        assert same.version.ref == "other:1"
        await sessions.close(same)
        for damaged, error in (
            (data[:-1], DataLoss),
            (data[:20], DataLoss),
            (data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], DataLoss),
            (b"no snapshot at all", InvalidInput),
            (b"", InvalidInput),
        ):
            with pytest.raises(error):
                await sessions.open("toy", ANYONE, resume=damaged)
        with pytest.raises(NotFound):
            await sessions.open("toy", OTHER, resume=record.id)
        with pytest.raises(NotFound):
            await sessions.open("toy", ANYONE, resume="snap-" + "0" * 64)
        assert sessions.live == 1

    plane.run(work())


def test_snapshots_are_listed_read_restored_and_deleted_by_their_owner(plane, series):
    async def work():
        sessions = plane.plane.sessions
        session = await sessions.open("toy", ANYONE)
        await outputs(sessions, session, series[:3])
        record, data = await sessions.snapshot(session, ANYONE)
        again, same = await sessions.snapshot(session, ANYONE)
        assert (again.id, same) == (record.id, data)
        assert [each.id for each in await sessions.snapshots(ANYONE)] == [record.id]
        assert await sessions.snapshots(OTHER) == []
        assert (await sessions.describe(record.id, ANYONE)).step == 3
        assert await sessions.read(record.id, ANYONE) == data
        with pytest.raises(NotFound):
            await sessions.delete(record.id, OTHER)
        await sessions.delete(record.id, ANYONE)
        with pytest.raises(NotFound):
            await sessions.describe(record.id, ANYONE)
        theirs = await sessions.restore(data, OTHER)
        assert theirs.id != record.id  # ids tell other tenants nothing
        assert [each.step for each in await sessions.snapshots(OTHER)] == [3]

    plane.run(work())


def test_idle_sessions_leave_their_slots_and_come_back_unnoticed(planes, series):
    plane = planes(session_idle=0.05)

    async def work():
        sessions = plane.plane.sessions
        mine = [await sessions.open("toy", ANYONE, FIXED) for _ in range(100)]
        before = [await outputs(sessions, each, series[:5]) for each in mine]
        async with asyncio.timeout(10):
            while sessions.live:
                await asyncio.sleep(0.05)
                await sessions.tidy()
        assert sessions.open_sessions == 100
        after = await asyncio.gather(*(outputs(sessions, each, series[5:9]) for each in mine))
        whole = np.concatenate([before[0], after[0]])
        twin = await sessions.open("toy", ANYONE, FIXED)
        np.testing.assert_array_equal(whole, await outputs(sessions, twin, series[:9]))
        assert all(np.array_equal(each, after[0]) for each in after)
        for each in [*mine, twin]:
            await sessions.close(each)
        assert sessions.live == sessions.open_sessions == 0

    plane.run(work())


def test_more_sessions_than_slots_take_turns(planes, series):
    plane = planes(sessions=8)

    async def work():
        sessions = plane.plane.sessions
        mine = [await sessions.open("toy", ANYONE, FIXED) for _ in range(50)]
        assert sessions.live <= 8
        made = await asyncio.gather(*(outputs(sessions, each, series[:3]) for each in mine))
        assert all(np.array_equal(each, made[0]) for each in made)
        assert sessions.live <= 8

    plane.run(work())


def test_what_comes_back_waits_for_its_own_way_to_the_store(planes, series, monkeypatch):
    plane = planes(sessions=2)
    store = plane.plane.sessions._keeper._store

    def slowly(states, save=store.save):
        time.sleep(0.05)
        return save(states)

    monkeypatch.setattr(plane.plane.sessions._keeper._saves, "_work", slowly)

    async def work():
        sessions = plane.plane.sessions
        mine = [await sessions.open("toy", ANYONE, FIXED) for _ in range(2)]
        opening = asyncio.ensure_future(sessions.open("toy", ANYONE, FIXED))  # moves both
        await asyncio.sleep(0.01)
        assert all(each.slot < 0 for each in mine)
        made = await asyncio.gather(*(outputs(sessions, each, series[:1]) for each in mine))
        np.testing.assert_array_equal(made[0], made[1])
        await opening

    plane.run(work())


def test_a_session_whose_opening_is_given_up_moves_others_all_the_same(planes, series, monkeypatch):
    plane = planes(sessions=2)
    keeper = plane.plane.sessions._keeper
    store = keeper._store

    def slowly(states, save=store.save):
        time.sleep(0.05)
        return save(states)

    monkeypatch.setattr(keeper._saves, "_work", slowly)

    async def work():
        sessions = plane.plane.sessions
        mine = [await sessions.open("toy", ANYONE, FIXED) for _ in range(2)]
        opening = asyncio.ensure_future(sessions.open("toy", ANYONE, FIXED))
        await asyncio.sleep(0.01)
        opening.cancel()
        made = await asyncio.gather(*(outputs(sessions, each, series[:4]) for each in mine))
        np.testing.assert_array_equal(made[0], made[1])

    plane.run(work())


def test_a_disk_that_takes_nothing_ends_no_session(planes, series, monkeypatch):
    plane, other = planes(sessions=2), planes()
    keeper = plane.plane.sessions._keeper
    works = keeper._saves._work

    def full(_states):
        raise Unavailable("the disk is full")

    async def work():
        sessions = plane.plane.sessions
        mine = [await sessions.open("toy", ANYONE, FIXED) for _ in range(2)]
        first = [await outputs(sessions, each, series[:5]) for each in mine]
        monkeypatch.setattr(keeper._saves, "_work", full)
        with pytest.raises(Unavailable, match="disk is full"):
            await sessions.open("toy", ANYONE)
        rest = [await outputs(sessions, each, series[5:9]) for each in mine]
        monkeypatch.setattr(keeper._saves, "_work", works)
        await sessions.open("toy", ANYONE)
        last = [await outputs(sessions, each, series[9:12]) for each in mine]
        return [np.concatenate(parts) for parts in zip(first, rest, last, strict=True)]

    async def undisturbed():
        session = await other.plane.sessions.open("toy", ANYONE, FIXED)
        return await outputs(other.plane.sessions, session, series[:12])

    wanted = other.run(undisturbed())
    for made in plane.run(work()):
        np.testing.assert_array_equal(made, wanted)


def test_busy_sessions_are_not_moved_for_others(planes, series):
    plane = planes(sessions=2)

    async def work():
        sessions = plane.plane.sessions
        busy = [await sessions.open("toy", ANYONE, FIXED) for _ in range(2)]
        waiting = [sessions.step(each, np.tile(series, (50, 1)), ANYONE, "last") for each in busy]
        with pytest.raises(Overloaded, match="busy"):
            await sessions.open("toy", ANYONE)
        await asyncio.gather(*waiting)
        await sessions.open("toy", ANYONE)

    plane.run(work())


def test_a_durable_session_is_gone_on_with_elsewhere(planes, series):
    one, two = planes(), planes()

    async def begin():
        sessions = one.plane.sessions
        session = await sessions.open("toy", ANYONE, DURABLE)
        made = await outputs(sessions, session, series[:4])
        await written(session, 4)
        return session, np.concatenate([made, await outputs(sessions, session, series[4:7])])

    session, made = one.run(begin())

    async def go_on():
        sessions = two.plane.sessions
        with pytest.raises(NotFound):
            await sessions.open("", OTHER, resume=Continue(session.id))
        mine = await sessions.open("", ANYONE, resume=Continue(session.id))
        assert (mine.step, mine.durable_step, mine.options) == (4, 4, session.options)
        replayed = await outputs(sessions, mine, series[4:7])
        np.testing.assert_array_equal(replayed, made[4:])
        return await outputs(sessions, mine, series[7:20])

    rest = two.run(go_on())

    async def check():
        sessions = one.plane.sessions
        twin = await sessions.open("toy", ANYONE, FIXED)
        whole = await outputs(sessions, twin, series[:20])
        np.testing.assert_array_equal(whole, np.concatenate([made, rest]))
        # Its former worker can write no more, and hears of it at the next checkpoint.
        with suppress(Unavailable):
            async with asyncio.timeout(5):
                await outputs(sessions, session, np.tile(series, (20, 1)))
        with pytest.raises(Unavailable, match="elsewhere"):
            sessions.step(session, series[:1], ANYONE)

    one.run(check())


def test_a_state_is_safe_only_once_its_outputs_have_arrived(plane, series):
    async def work():
        sessions = plane.plane.sessions
        session = await sessions.open("toy", ANYONE, DURABLE)
        for row in series[:12]:
            await sessions.step(session, row[None], ANYONE)
        await asyncio.sleep(0.1)
        assert session.durable_step == 0
        sessions.deliver(session, 3)  # the first state that could be written is that at 4
        await asyncio.sleep(0.1)
        assert session.durable_step == 0
        sessions.deliver(session, 12)
        await written(session, 4)
        mine = await sessions.open("", ANYONE, resume=Continue(session.id))
        assert mine.step == 4
        with pytest.raises(Unavailable, match="gone on"):
            sessions.step(session, series[:1], ANYONE)

    plane.run(work())


def test_a_closed_session_is_not_gone_on_with(plane, series):
    async def work():
        sessions = plane.plane.sessions
        session = await sessions.open("toy", ANYONE, DURABLE)
        await outputs(sessions, session, series[:9])
        await sessions.close(session)
        with pytest.raises(NotFound):
            await sessions.open("", ANYONE, resume=Continue(session.id))
        abandoned = await sessions.open("toy", ANYONE, DURABLE)
        await outputs(sessions, abandoned, series[:9])
        await sessions.abandon(abandoned)
        assert (await sessions.open("", ANYONE, resume=Continue(abandoned.id))).step in (4, 8)
        plain = await sessions.open("toy", ANYONE)
        await sessions.abandon(plain)
        with pytest.raises(NotFound):
            await sessions.open("", ANYONE, resume=Continue(plain.id))

    plane.run(work())


@pytest.mark.parametrize("options", [FIXED, DURABLE])
def test_a_worker_that_leaves_hands_its_sessions_over(planes, series, options):
    one, two = planes(), planes()

    async def begin():
        sessions = one.plane.sessions
        session = await sessions.open("toy", ANYONE, options)
        made = await outputs(sessions, session, series[:11])
        pending = sessions.step(session, series[11:12], ANYONE)
        await sessions.drain()
        assert sessions.live == 0
        made = np.concatenate([made, (await pending).outputs["y"]])
        with pytest.raises(Unavailable, match=session.id):
            sessions.step(session, series[:1], ANYONE)
        with pytest.raises(Unavailable):
            await sessions.open("toy", ANYONE)
        return session.id, made

    name, made = one.run(begin())

    async def go_on():
        sessions = two.plane.sessions
        session = await sessions.open("", ANYONE, resume=Continue(name))
        assert session.step == 12 if options is FIXED else session.step <= 12
        return await outputs(sessions, session, series[session.step : 20])

    rest = two.run(go_on())

    async def check():
        sessions = two.plane.sessions
        twin = await sessions.open("toy", ANYONE, FIXED)
        whole = await outputs(sessions, twin, series[:20])
        np.testing.assert_array_equal(whole[:12], made)
        np.testing.assert_array_equal(whole[20 - len(rest) :], rest)

    two.run(check())


def test_a_version_with_live_sessions_is_deleted_only_by_force(plane, registry, published, series):
    async def begin():
        sessions = plane.plane.sessions
        session = await sessions.open("toy", ANYONE)
        kept, _ = await sessions.snapshot(session, ANYONE)
        await sessions.delete(kept.id, ANYONE)
        await sessions.tidy()
        return session

    session = plane.run(begin())
    other = registry.register("toy", published("recurrent"), tags={"another": "one"})
    registry.set_alias("toy", "champion", other.number)
    with pytest.raises(FailedPrecondition, match="1 sessions are open on toy:1"):
        registry.delete("toy:1")
    registry.delete("toy:1", force=True)

    async def end():
        sessions = plane.plane.sessions
        await sessions.tidy()
        with pytest.raises(FailedPrecondition, match="has been deleted"):
            sessions.step(session, series[:1], ANYONE)
        assert sessions.live == sessions.open_sessions == 0

    plane.run(end())


def test_a_model_that_is_unloaded_hands_its_sessions_over(plane, series):
    async def work():
        sessions = plane.plane.sessions
        session = await sessions.open("toy", ANYONE, FIXED)
        await outputs(sessions, session, series[:5])
        await plane.plane.unload("toy")
        await sessions.tidy(lambda name: False)
        with pytest.raises(Unavailable, match=session.id):
            sessions.step(session, series[:1], ANYONE)
        await plane.plane.load("toy")
        again = await sessions.open("", ANYONE, resume=Continue(session.id))
        assert again.step == 5

    plane.run(work())
