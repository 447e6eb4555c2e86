"""Sequences: one session for each, wherever its requests come in."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from foretoken.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
)
from foretoken.server.sessions.owners import PARKED
from foretoken.server.sessions.session import SessionOptions
from foretoken.server.terms import Terms
from tests.asynchronous import awaited
from tests.server.sessions.workers import house, tenant

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def outputs(answers):
    return np.concatenate([each.reply.outputs["y"] for each in answers])


async def begun(worker, values, **given):
    """The answers to ``values``, one a request, the first a start."""
    first = await worker.ask(values[:1], start=True, **given)
    return [first, *[await worker.ask(row, **given) for row in values[1:]]]


async def refusal(coming, error):
    with pytest.raises(error) as caught:
        await coming
    return str(caught.value)


# -- one worker -----------------------------------------------------------------------------------


@awaited
async def test_a_sequence_goes_on_until_its_end(registry, tmp_path, reference, series):
    async with house(registry, tmp_path) as made:
        worker = made.workers[1]
        answers = await begun(worker, series[:9])
        answers.append(await worker.ask(series[9:30]))
        answers.append(await worker.ask(series[30], end=True))
        np.testing.assert_allclose(outputs(answers), reference(series[:31]), **CLOSE)
        assert [each.step for each in answers] == [*range(1, 10), 30, 31]
        assert worker.live == len(worker.sequences) == 0
        assert "must say sequence_start" in await refusal(worker.ask(series[31]), InvalidInput)


@awaited
async def test_a_start_of_one_that_lives_begins_anew(registry, tmp_path, reference, series):
    async with house(registry, tmp_path) as made:
        worker = made.workers[1]
        await begun(worker, series[:5])
        answers = await begun(worker, series[5:9])
        np.testing.assert_allclose(outputs(answers), reference(series[5:9]), **CLOSE)
        assert worker.live == len(worker.sequences) == 1


@awaited
async def test_one_request_can_be_a_whole_sequence(registry, tmp_path, reference, series):
    async with house(registry, tmp_path) as made:
        worker = made.workers[1]
        answer = await worker.ask(series[:5], start=True, end=True)
        np.testing.assert_allclose(outputs([answer]), reference(series[:5]), **CLOSE)
        assert worker.live == 0
        assert worker.owners.workers() == []


@awaited
async def test_ids_models_and_tenants_tell_sequences_apart(registry, tmp_path, reference, series):
    apart = [
        {"id_": 3},
        {"id_": "3"},
        {"id_": 4},
        {"id_": 3, "model": "toy:1"},
        {"id_": 3, "terms": tenant("a")},
        {"id_": 3, "terms": tenant("b")},
    ]
    async with house(registry, tmp_path) as made:
        worker = made.workers[1]
        parts = [series[10 * i : 10 * i + 6] for i in range(len(apart))]
        for part, given in zip(parts, apart, strict=True):
            await worker.ask(part[:1], start=True, **given)
        for part, given in zip(parts, apart, strict=True):
            answer = await worker.ask(part[1:], **given)
            np.testing.assert_allclose(outputs([answer]), reference(part)[1:], **CLOSE)


@awaited
async def test_what_is_refused_changes_nothing(registry, tmp_path, reference, series):
    wrong = np.ones((1, 4))

    async with house(registry, tmp_path) as made:
        worker = made.workers[1]
        await begun(worker, series[:3])
        late = Terms(deadline=time.monotonic() - 1)
        for flags in ({}, {"end": True}, {"start": True}):
            with pytest.raises(InvalidInput):
                await ask_as_given(worker, wrong, **flags)
        options = SessionOptions({"colour": 1.0})
        with pytest.raises(InvalidInput, match="no such options"):
            await worker.ask(series[3], start=True, options=options)
        for flags in ({}, {"end": True}):
            with pytest.raises(DeadlineExceeded):
                await worker.ask(series[3], terms=late, **flags)
        answer = await worker.ask(series[3], end=True)
        np.testing.assert_allclose(outputs([answer]), reference(series[:4])[3:], **CLOSE)


async def ask_as_given(worker, values, **flags):
    from foretoken.server.sessions.asked import Asked, key_of

    key = key_of(None, "toy", 7)
    return await worker.sequences.ask(
        Asked(key, "toy", 7, lambda: values, packed=lambda: b"", **flags), Terms()
    )


@awaited
async def test_a_start_that_is_refused_begins_nothing(registry, tmp_path, series):
    async with house(registry, tmp_path) as made:
        worker = made.workers[1]
        with pytest.raises(InvalidInput):
            await ask_as_given(worker, np.ones((1, 4)), start=True)
        with pytest.raises(DeadlineExceeded):
            await worker.ask(series[0], start=True, terms=Terms(deadline=time.monotonic() - 1))
        with pytest.raises(NotFound, match="no model"):
            await worker.ask(series[0], start=True, model="none")
        assert worker.live == len(worker.sequences) == 0
        assert worker.owners.find(key(7)) is None


def key(id_, model="toy"):
    from foretoken.server.sessions.asked import key_of

    return key_of(None, model, id_)


@awaited
async def test_models_without_a_state_keep_no_sequences(registry, tmp_path, tiny_lcpfn, series):
    from foretoken.models.artefact import Artefact

    registry.register("curves", Artefact.read(tiny_lcpfn))
    async with house(registry, tmp_path) as made:
        for start in (True, False):
            with pytest.raises(Unsupported, match="recurrent"):
                await made.workers[1].ask(series[0], start=start, model="curves")


@awaited
async def test_requests_are_taken_in_the_order_of_their_coming(
    registry, tmp_path, reference, series
):
    """All sent at once, starts and ends among them."""
    async with house(registry, tmp_path) as made:
        worker = made.workers[1]
        coming = []
        for i in range(8):
            part = series[20 * i : 20 * i + 20]
            flags = [{"start": True}, *[{}] * 18, {"end": i % 2 == 1}]
            coming += [
                asyncio.ensure_future(worker.ask(row, **each))
                for row, each in zip(part, flags, strict=True)
            ]
        answers = await asyncio.gather(*coming)
        for i in range(8):
            wanted = reference(series[20 * i : 20 * i + 20])
            got = answers[20 * i : 20 * i + 20]
            np.testing.assert_allclose(outputs(got), wanted, **CLOSE)
            assert [each.step for each in got] == list(range(1, 21))
        assert worker.live == len(worker.sequences) == 0


@awaited
async def test_a_caller_who_says_the_step_is_never_answered_out_of_step(registry, tmp_path, series):
    async with house(registry, tmp_path) as made:
        worker = made.workers[1]
        await worker.ask(series[:4], start=True, step=0)
        assert (await worker.ask(series[4], step=4)).step == 5
        for step in (4, 6):
            said = await refusal(worker.ask(series[5], step=step), FailedPrecondition)
            assert "has had 5 observations" in said
        assert (await worker.ask(series[5:7], step=5)).step == 7
        with pytest.raises(InvalidInput, match="at step 0, not 3"):
            await worker.ask(series[0], start=True, step=3)
        assert (await worker.ask(series[7], step=7, end=True)).step == 8


@awaited
async def test_options_are_those_of_the_start(registry, tmp_path, reference, series):
    async with house(registry, tmp_path) as made:
        worker = made.workers[1]
        options = SessionOptions({"scale": 3.0}, deterministic=True)
        answers = [await worker.ask(series[0], start=True, options=options)]
        answers.append(await worker.ask(series[1:5]))
        np.testing.assert_allclose(outputs(answers), 3 * reference(series[:5]), **CLOSE)


@awaited
async def test_a_moved_alias_leaves_sequences_that_go_on_alone(
    registry, tmp_path, published, reference, series
):
    async with house(registry, tmp_path) as made:
        worker = made.workers[1]
        await worker.ask(series[0], start=True)
        registry.register("toy", published("recurrent"))
        registry.set_alias("toy", "champion", 2)
        await worker.plane.follow(everything=True)
        answer = await worker.ask(series[1], end=True)
        assert answer.version.number == 1
        np.testing.assert_allclose(outputs([answer]), reference(series[:2])[1:], **CLOSE)
        assert (await worker.ask(series[0], start=True)).version.number == 2


@awaited
async def test_a_sequence_whose_version_is_deleted_is_told(registry, tmp_path, published, series):
    async with house(registry, tmp_path) as made:
        worker = made.workers[1]
        await worker.ask(series[0], start=True)
        registry.register("toy", published("recurrent"))
        registry.set_alias("toy", "champion", 2)
        registry.delete("toy:1", force=True)
        await worker.plane.follow(everything=True)
        await worker.plane.sessions.tidy()
        said = await refusal(worker.ask(series[1]), FailedPrecondition)
        assert "has been deleted" in said
        assert "must say sequence_start" in await refusal(worker.ask(series[1]), InvalidInput)
        assert (await worker.ask(series[0], start=True)).version.number == 2


@awaited
async def test_what_nobody_uses_is_forgotten(registry, tmp_path, series):
    async with house(registry, tmp_path, session_ttl=0.3) as made:
        worker = made.workers[1]
        for id_ in range(5):
            await worker.ask(series[0], start=True, id_=id_)
        await asyncio.sleep(0.2)
        await worker.ask(series[1], id_=3)
        await asyncio.sleep(0.2)
        await worker.sequences.tidy()
        assert worker.live == len(worker.sequences) == 1
        assert (await worker.ask(series[2], id_=3)).step == 3
        assert "there is no sequence 2" in await refusal(worker.ask(series[1], id_=2), InvalidInput)


@awaited
async def test_states_that_were_put_away_come_back(registry, tmp_path, reference, series):
    """Four slots for twenty sequences; ends, and starts of those that lie in the store."""
    async with house(registry, tmp_path, sessions=4) as made:
        worker = made.workers[1]
        for id_ in range(20):
            await worker.ask(series[id_ : id_ + 2], start=True, id_=id_)
        assert worker.plane.sessions.live <= 4
        for id_ in range(0, 20, 2):
            answer = await worker.ask(series[id_ + 2], id_=id_, end=id_ % 4 == 0)
            np.testing.assert_allclose(
                outputs([answer]), reference(series[id_ : id_ + 3])[2:], **CLOSE
            )
        for id_ in range(1, 20, 2):
            await worker.ask(series[: id_ + 1], start=True, id_=id_)
        for id_ in range(1, 20, 2):  # and away they have been, and back again
            answer = await worker.ask(series[id_ + 1], id_=id_)
            np.testing.assert_allclose(
                outputs([answer]), reference(series[: id_ + 2])[-1:], **CLOSE
            )
        assert len(worker.sequences) == worker.live == 15
        for id_ in [*range(1, 20, 2), *range(2, 20, 4)]:
            await worker.ask(series[:1], start=True, end=True, id_=id_)
        assert len(worker.sequences) == worker.live == 0
        assert registry.sessions.totals().sessions == 0


# -- several workers ------------------------------------------------------------------------------


@awaited
async def test_requests_find_their_sequence_from_any_worker(registry, tmp_path, reference, series):
    async with house(registry, tmp_path, 3) as made:
        one, two, three = made.workers.values()
        answers = [await one.ask(series[0], start=True)]
        answers += [await (one, two, three)[i % 3].ask(series[i]) for i in range(1, 12)]
        answers.append(await two.ask(series[12], end=True))
        np.testing.assert_allclose(outputs(answers), reference(series[:13]), **CLOSE)
        assert (one.forwarded, two.forwarded, three.forwarded) == (9, 0, 0)
        assert [each.live for each in made.workers.values()] == [0, 0, 0]
        assert one.owners.find(key(7)) is None


@awaited
async def test_a_start_elsewhere_takes_the_sequence_there(registry, tmp_path, reference, series):
    async with house(registry, tmp_path, 2) as made:
        one, two = made.workers.values()
        await begun(one, series[:4])
        answers = await begun(two, series[10:14])
        assert (one.live, two.live) == (0, 1)
        answers.append(await one.ask(series[14]))
        assert two.forwarded == 1
        np.testing.assert_allclose(outputs(answers), reference(series[10:15]), **CLOSE)


@awaited
async def test_starts_everywhere_at_once_leave_one(registry, tmp_path, reference, series):
    async with house(registry, tmp_path, 3) as made:
        workers = list(made.workers.values())
        for turn in range(20):
            parts = [series[3 * i + turn : 3 * i + turn + 3] for i in range(3)]
            answers = await asyncio.gather(
                *(w.ask(part, start=True) for w, part in zip(workers, parts, strict=True))
            )
            for answer, part in zip(answers, parts, strict=True):
                np.testing.assert_allclose(outputs([answer]), reference(part), **CLOSE)
            assert sum(each.live for each in workers) == 1
        assert (await workers[0].ask(series[0], end=True)).step == 4
        assert sum(each.live for each in workers) == 0


@awaited
async def test_what_dies_with_its_worker_is_told(registry, tmp_path, series):
    async with house(registry, tmp_path, 2) as made:
        one, two = made.workers.values()
        await begun(one, series[:3])
        await begun(one, series[:3], id_=8)
        made.kill(one)
        for _ in range(2):
            said = await refusal(two.ask(series[3]), NotFound)
            assert "lost with the worker" in said
        await two.sequences.tidy()
        assert two.owners.find(key(8)).worker == PARKED
        assert "lost" in await refusal(two.ask(series[3], id_=8), NotFound)
        assert (await two.ask(series[3], start=True)).step == 1
        assert two.live == 1


@awaited
async def test_what_was_put_away_outlives_its_worker(registry, tmp_path, reference, series):
    async with house(registry, tmp_path, 2, session_idle=0.05) as made:
        one, two = made.workers.values()
        await begun(one, series[:3])
        await begun(one, series[:3], id_="used since")
        await asyncio.sleep(0.1)
        await one.plane.sessions.tidy()
        assert one.plane.sessions.live == 0
        await one.ask(series[3], id_="used since")
        made.kill(one)
        answer = await two.ask(series[3])
        np.testing.assert_allclose(outputs([answer]), reference(series[:4])[3:], **CLOSE)
        said = await refusal(two.ask(series[4], id_="used since"), NotFound)
        assert "lost with the worker" in said


@awaited
async def test_a_worker_that_leaves_hands_its_sequences_over(registry, tmp_path, reference, series):
    """Requests go on coming in at the others meanwhile; none is refused."""
    async with house(registry, tmp_path, 3) as made:
        one, two, three = made.workers.values()
        count = 30
        for id_ in range(count):
            await one.ask(series[id_], start=True, id_=id_)

        async def goes_on(id_):
            steps = []
            for i in range(1, 15):
                steps.append(await (two, three)[i % 2].ask(series[id_ + i], id_=id_))
                await asyncio.sleep(0.001)
            return steps

        going = [asyncio.ensure_future(goes_on(id_)) for id_ in range(count)]
        await asyncio.sleep(0.02)
        await one.sequences.drain(5)
        made.kill(one)
        for id_, answers in enumerate(await asyncio.gather(*going)):
            wanted = reference(series[id_ : id_ + 15])[1:]
            np.testing.assert_allclose(outputs(answers), wanted, **CLOSE)
        assert (one.live, two.live + three.live) == (0, count)
        with pytest.raises(Unavailable):
            await one.ask(series[0], start=True)


@awaited
async def test_a_server_that_starts_again_goes_on(registry, tmp_path, reference, series):
    from foretoken.server.sessions.owners import settle

    async with house(registry, tmp_path, 2) as made:
        one, two = made.workers.values()
        await begun(one, series[:3])
        await asyncio.gather(one.sequences.drain(5), two.sequences.drain(5))
        settle(made.path)
    async with house(registry, tmp_path, 2) as made:
        answer = await made.workers[2].ask(series[3])
        np.testing.assert_allclose(outputs([answer]), reference(series[:4])[3:], **CLOSE)


async def durable(worker, step):
    """Wait until the worker's only sequence is safe on the disk up to ``step``."""
    (held,) = worker.sequences._held.values()
    async with asyncio.timeout(10):
        while held.session.durable_step < step:
            await asyncio.sleep(0.002)


@awaited
async def test_a_durable_sequence_never_skips_what_it_has_lost(
    registry, tmp_path, reference, series
):
    async with house(registry, tmp_path, 2) as made:
        one, two = made.workers.values()
        options = SessionOptions(durable=True, every=4)
        for i in range(11):
            answer = await one.ask(series[i], start=not i, options=options)
            await durable(one, i - i % 4)  # that the last answer has arrived is not known
        assert answer.step == 11
        made.kill(one)
        for _ in range(2):
            said = await refusal(two.ask(series[11]), FailedPrecondition)
            assert "sequence_step = 8" in said
        with pytest.raises(FailedPrecondition, match="has had 8 observations, not 11"):
            await two.ask(series[11], step=11)
        answer = await two.ask(series[8:12], step=8)
        assert (answer.step, answer.durable_step) == (12, 8)
        np.testing.assert_allclose(outputs([answer]), reference(series[:12])[8:], **CLOSE)
        assert (await two.ask(series[12], end=True)).step == 13


# -- callers who go -------------------------------------------------------------------------------


@awaited
async def test_callers_who_go_leave_nothing_but_the_sequence(registry, tmp_path, series):
    """Cancelled at every point of their way: starts begin nothing, ends end, others do neither."""
    async with house(registry, tmp_path, 2) as made:
        one, two = made.workers.values()

        async def cancelled(worker, turns, **given):
            task = asyncio.ensure_future(worker.ask(series[0], **given))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            return (await asyncio.gather(task, return_exceptions=True))[0]

        for turns in range(30):
            for worker in (one, two):
                made_it = not isinstance(
                    await cancelled(worker, turns, start=True), asyncio.CancelledError
                )
                assert one.live + two.live == made_it
                await one.ask(series[0], start=True)
                answer = await cancelled(worker, turns)
                assert one.live == 1
                step = (await worker.ask(series[0])).step
                assert step in (2, 3) if isinstance(answer, BaseException) else step == 3
                answer = await cancelled(worker, turns, end=True)
                if not isinstance(answer, BaseException):
                    assert one.live == 0
                await worker.ask(series[0], start=True, end=True)
                assert one.live + two.live == 0
        assert one.owners.find(key(7)) is None
