"""Sessions: stepped together as if each were alone, and nothing of them is left behind."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from foretoken.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Overloaded,
    Unsupported,
)
from foretoken.server.sessions.session import SessionOptions
from foretoken.server.terms import Terms

ANYONE = Terms()
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
FIXED = SessionOptions(deterministic=True)


async def pushed(sessions, session, values, sizes=(1,), want="every"):
    """Outputs of ``values``, sent in messages of ``sizes`` in turn, all of them at once."""
    at, turn, waiting = 0, 0, []
    while at < len(values):
        size = sizes[turn % len(sizes)]
        waiting.append(sessions.step(session, values[at : at + size], ANYONE, want))
        at, turn = at + size, turn + 1
        if len(waiting) % 60 == 0:
            await waiting[-1]
    return [(await each).outputs for each in waiting]


def joined(outputs):
    return np.concatenate([each["y"] for each in outputs])


def test_many_sessions_are_stepped_as_each_alone(plane, reference):
    rng = np.random.default_rng(0)
    values = [rng.standard_normal((n, 2)) for n in (1, 3, 40, 150, 300, 7, 7, 7)]
    sizes = [(1,), (3,), (1, 7, 2), (150,), (130, 1), (7,), (2, 5), (1,)]

    async def work():
        sessions = plane.plane.sessions
        opened = [await sessions.open("toy", ANYONE) for _ in values]
        assert sessions.live == len(values)
        made = await asyncio.gather(
            *(pushed(sessions, *each) for each in zip(opened, values, sizes, strict=True))
        )
        assert [each.step for each in opened] == [len(v) for v in values]
        for each in opened:
            await sessions.close(each)
        assert sessions.live == sessions.open_sessions == 0
        return made

    for wanted, got in zip(values, plane.run(work()), strict=True):
        np.testing.assert_allclose(joined(got), reference(wanted), **CLOSE)


def test_only_what_is_wanted_is_answered(plane, series):
    async def work():
        sessions = plane.plane.sessions
        ours = [await sessions.open("toy", ANYONE) for _ in range(3)]
        asked = zip(ours, ("every", "last", "nothing"), strict=True)
        every, last, nothing = [await sessions.step(s, series, ANYONE, want) for s, want in asked]
        assert nothing.outputs == {}
        assert last.outputs["y"].shape == (1, every.outputs["y"].shape[1])
        np.testing.assert_array_equal(last.outputs["y"][0], every.outputs["y"][-1])
        # and whatever was wanted, the sessions are at the same place
        ends = [(await sessions.step(s, series[:1], ANYONE)).outputs["y"] for s in ours]
        np.testing.assert_array_equal(ends[0], ends[1])
        np.testing.assert_array_equal(ends[0], ends[2])

    plane.run(work())


def test_deterministic_sessions_give_the_same_bits_in_any_company(plane, series):
    async def work():
        sessions = plane.plane.sessions
        lonely = await sessions.open("toy", ANYONE, FIXED)
        alone = joined(await pushed(sessions, lonely, series))
        others = [await sessions.open("toy", ANYONE, FIXED) for _ in range(37)]
        disturbing = [await sessions.open("toy", ANYONE) for _ in range(5)]
        rng = np.random.default_rng(1)
        noise = [
            asyncio.ensure_future(
                pushed(sessions, each, rng.standard_normal((250, 2)), (n % 3 + 1,))
            )
            for n, each in enumerate([*others, *disturbing])
        ]
        crowded = await sessions.open("toy", ANYONE, FIXED)
        company = joined(await pushed(sessions, crowded, series, (1, 5, 130, 2)))
        await asyncio.gather(*noise)
        np.testing.assert_array_equal(alone, company)

    plane.run(work())


def test_a_message_that_is_refused_leaves_its_session_as_it_was(plane, series):
    async def work():
        sessions = plane.plane.sessions
        session, twin = [await sessions.open("toy", ANYONE, FIXED) for _ in range(2)]
        await pushed(sessions, session, series[:5])
        with pytest.raises(InvalidInput, match="at least 1"):
            sessions.step(session, np.empty((0, 2)), ANYONE)
        with pytest.raises(InvalidInput):
            await sessions.step(session, np.ones((3, 3)), ANYONE)
        with pytest.raises(InvalidInput):
            await sessions.step(session, np.ones((1, 3)), ANYONE)
        with pytest.raises(DeadlineExceeded):
            sessions.step(session, series[:3], Terms(deadline=time.monotonic() - 1))
        assert session.step == 5
        went_on = joined(await pushed(sessions, session, series[5:9]))
        undisturbed = joined(await pushed(sessions, twin, series[:9]))
        np.testing.assert_array_equal(went_on, undisturbed[5:])

    plane.run(work())


def test_a_message_whose_deadline_passes_on_the_way_is_undone(plane, series):
    async def work():
        sessions = plane.plane.sessions
        session, twin = [await sessions.open("toy", ANYONE, FIXED) for _ in range(2)]
        long = np.tile(series, (100, 1))  # 40,000 steps at one each take seconds
        waiting = sessions.step(session, long, Terms(deadline=time.monotonic() + 0.2))
        with pytest.raises(DeadlineExceeded):
            await waiting
        assert session.step == 0
        again = joined(await pushed(sessions, session, series[:4]))
        np.testing.assert_array_equal(again, joined(await pushed(sessions, twin, series[:4])))

    plane.run(work())


def test_a_long_message_does_not_hold_up_the_others(plane, series):
    async def work():
        sessions = plane.plane.sessions
        long, short = [await sessions.open("toy", ANYONE) for _ in range(2)]
        whole = sessions.step(long, np.tile(series, (150, 1)), ANYONE, "last")
        answered = 0
        while not whole.done():
            await sessions.step(short, series[:1], ANYONE)
            answered += 1
        assert answered > 20
        await whole
        assert long.step == 60_000

    plane.run(work())


def test_sessions_that_end_answer_nobody_and_free_their_slots(plane, series):
    async def work():
        sessions = plane.plane.sessions
        session = await sessions.open("toy", ANYONE)
        waiting = [sessions.step(session, series, ANYONE) for _ in range(10)]
        await asyncio.sleep(0.001)  # the first may be running
        await sessions.close(session)
        for each in waiting:
            with pytest.raises(Cancelled):
                await each
        with pytest.raises(FailedPrecondition, match="has ended"):
            sessions.step(session, series, ANYONE)
        await sessions.close(session)
        assert sessions.live == 0
        # A slot is not given to others before nothing of its last owner runs.
        fresh = [await sessions.open("toy", ANYONE, FIXED) for _ in range(3)]
        firsts = [joined(await pushed(sessions, each, series[:3])) for each in fresh]
        np.testing.assert_array_equal(firsts[0], firsts[1])
        np.testing.assert_array_equal(firsts[0], firsts[2])

    plane.run(work())


def test_sessions_that_end_while_others_run_hold_up_nobody(plane, series):
    """They may be in any queue, and have nothing to do any more when their turn comes."""

    async def work():
        sessions = plane.plane.sessions
        busy = await sessions.open("toy", ANYONE)
        for options in (None, FIXED):
            whole = sessions.step(busy, np.tile(series, (50, 1)), ANYONE, "last")
            await asyncio.sleep(0.001)
            ended = [await sessions.open("toy", ANYONE, options) for _ in range(6)]
            waiting = [sessions.step(each, series[:n], ANYONE) for n in (70, 1) for each in ended]
            for each in ended[::2]:
                await sessions.close(each)
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert sum(isinstance(each, Cancelled) for each in outcomes) == 6
            assert not any(isinstance(each, Exception) for each in outcomes[1::2])
            await whole

    plane.run(work())


def test_waiting_messages_of_a_session_are_bounded(plane, series):
    async def work():
        sessions = plane.plane.sessions
        session = await sessions.open("toy", ANYONE)
        waiting = [sessions.step(session, series, ANYONE) for _ in range(64)]
        with pytest.raises(Overloaded, match="read the answers first"):
            sessions.step(session, series, ANYONE)
        await asyncio.gather(*waiting)
        await sessions.step(session, series, ANYONE)

    plane.run(work())


def test_what_cannot_be_opened_says_why(plane, registry, published):
    registry.register("pool", published("stateless"))

    async def work():
        sessions = plane.plane.sessions
        with pytest.raises(NotFound):
            await sessions.open("nothing", ANYONE)
        with pytest.raises(Unsupported, match="stateless"):
            await sessions.open("pool", ANYONE)
        with pytest.raises(InvalidInput, match="colour"):
            await sessions.open("toy", ANYONE, SessionOptions({"colour": 1}))
        assert sessions.live == sessions.open_sessions == 0

    plane.run(work())


def test_a_state_is_as_large_at_any_step(plane, series):
    async def work():
        sessions = plane.plane.sessions
        session = await sessions.open("toy", ANYONE)
        await sessions.step(session, series[:10], ANYONE, "nothing")
        _, early = await sessions.snapshot(session, ANYONE, keep=False)
        for _ in range(5):
            await sessions.step(session, np.tile(series, (25, 1)), ANYONE, "nothing")
        _, late = await sessions.snapshot(session, ANYONE, keep=False)
        assert session.step == 50_010
        # what is said of it, the step in digits, may be longer; the arrays are not
        assert abs(len(late) - len(early)) <= 8

    plane.run(work())


def test_a_snapshot_of_one_runtime_goes_on_under_the_other(planes, series):
    onnx, torch = planes(runtime="onnx"), planes(runtime="torch")

    def stepped(plane, resume=None, rows=series[:40]):
        async def work():
            sessions = plane.plane.sessions
            session = await sessions.open("toy", ANYONE, FIXED, resume)
            made = joined(await pushed(sessions, session, rows))
            return made, (await sessions.snapshot(session, ANYONE))[1]

        return plane.run(work())

    for one, two in ((onnx, torch), (torch, onnx), (torch, torch)):
        whole, _ = stepped(one, rows=series[:60])
        _, data = stepped(one)
        rest, _ = stepped(two, data, series[40:60])
        if one is two:
            np.testing.assert_array_equal(rest, whole[40:])
        else:
            np.testing.assert_allclose(rest, whole[40:], **CLOSE)
