"""Bytes and seconds that contexts may take; what goes, and in which order."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from foretoken.errors import NotFound
from foretoken.server import housekeeping
from foretoken.server.housekeeping import period
from foretoken.server.metrics import Metrics
from foretoken.server.plane import Plane
from foretoken.server.registry import contexts
from foretoken.server.settings import load_settings
from tests.server.contexts.tables import blobs_of, inline, rows, same, table, with_context


def answer(plane, context, seed=0):
    return plane.answer("", [with_context(context, rows(seed))])


def states_on_disk(registry):
    return {r.id for s in registry.contexts.list(None) if (r := s.record).kept_nbytes}


def test_states_that_were_not_used_for_longest_make_room(planes, registry):
    size = planes().fit("toy", table(99)).context.kept_nbytes
    plane = planes(context_bytes=3 * size + 10)
    contexts = [plane.fit("toy", table(i)).context.id for i in range(3)]
    assert states_on_disk(registry) == set(contexts), "the one from before made room"
    answer(plane, contexts[0])
    plane.run(plane.plane._contexts.note_uses())
    contexts.append(plane.fit("toy", table(3)).context.id)
    assert states_on_disk(registry) == {contexts[0], contexts[2], contexts[3]}
    assert len(blobs_of(registry)) == 5 + 3, "training sets stay"


def test_evicted_contexts_answer_as_before(planes):
    plane, other = planes(context_bytes=1500), planes(context_bytes=1500)
    plain = [plane.answer("toy", [inline(table(i, n=4), rows())]) for i in range(4)]
    contexts = [plane.fit("toy", table(i, n=4)).context.id for i in range(4)]
    hits = []
    for _ in range(3):
        for context, expected in zip(contexts, plain, strict=True):
            for each in (plane, other):
                found = answer(each, context)
                same(found, expected)
                hits += found.hits
    assert False in hits, "there is not room for all"


def test_a_budget_that_was_lowered_is_kept_to(planes, registry):
    for i in range(3):
        planes().fit("toy", table(i))
    assert len(states_on_disk(registry)) == 3
    plane = planes(context_bytes=4000, context_ttl=1.0)
    time.sleep(0.3)
    plane.run(plane.plane.follow())
    assert len(states_on_disk(registry)) == 1


def test_many_contexts_go_batch_by_batch_and_no_more_than_need_to(planes, registry, monkeypatch):
    first = planes().fit("toy", table()).context
    stored = registry.contexts.find(first.id, None)
    with registry._database.write() as connection:
        for i in range(7):
            used = stored.record.used - timedelta(seconds=1 + i)
            other = replace(
                stored.record, id=f"ctx-{i}", used=used, expires=used, kept_nbytes=10 + i
            )
            contexts.add(connection, replace(stored, record=other, kept_digest=f"sha256:{i:064}"))
    monkeypatch.setattr(contexts, "BATCH", 2)
    sizes = []
    real = contexts.kept

    def counted(connection, but=""):
        found = real(connection, but)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(contexts, "kept", counted)
    room = first.kept_nbytes + 10 + 11
    assert registry.contexts.shrink(room) == 5
    assert sizes == [2, 2, 2], "of eight states, those that go"
    with registry._database.read() as connection:
        left = real(connection)
        assert [each.context for each in left] == ["ctx-1", "ctx-0"], "used last, but for one"
        assert real(connection, but="ctx-1")[-1].context == first.id
        assert contexts.totals(connection).state == room
        found = contexts.get_many(connection, [f"ctx-{i}" for i in range(9)])
    assert {i: c.kept_digest for i, c in found.items() if c.kept_digest is None}.keys() == {
        f"ctx-{i}" for i in range(2, 7)
    }
    assert registry.contexts.shrink(room) == 0
    registry.contexts.touch(
        {f"ctx-{i}": stored.record.used - timedelta(days=1) for i in range(7)}, 60
    )
    assert registry.contexts.expire() == 7
    assert [s.record.id for s in registry.contexts.list(None)] == [first.id]


def test_a_worker_keeps_few_open_and_opens_the_others_again(planes):
    plane = planes(context_memory=1)
    contexts = [plane.fit("toy", table(i)).context.id for i in range(3)]
    plain = {c: planes().answer("", [with_context(c, rows())]) for c in contexts}
    for context in contexts * 2:
        found = answer(plane, context)
        assert found.hits == (True,)
        same(found, plain[context])
        assert plane.plane.contexts_open == 1


def test_contexts_expire_after_their_last_use(planes, registry):
    plane, idle = planes(context_ttl=2.0), planes(context_ttl=2.0)
    used, unused = (plane.fit("toy", table(i)).context.id for i in range(2))
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        assert answer(plane, used).hits == (True,)
        time.sleep(0.05)
    for each in (plane, idle):
        with pytest.raises(NotFound):
            answer(each, unused)
    assert [record.id for record in idle.contexts()] == [used]
    idle.run(idle.plane.follow())
    assert len(blobs_of(registry)) == 2, "what has expired is erased"


def test_without_a_ttl_nothing_expires(planes, registry):
    context = planes(context_ttl=0).fit("toy", table()).context
    assert context.expires is None
    registry.contexts.touch({context.id: datetime.now(UTC) - timedelta(days=9999)}, 0)
    assert registry.contexts.expire() == 0
    assert answer(planes(context_ttl=0), context.id).hits == (True,)


def test_uses_are_noted_often_enough_for_nothing_in_use_to_expire():
    assert [period(ttl) for ttl in (0, 1, 60, 1e6)] == [60, 0.2, 6, 60]


def test_collection_removes_what_nobody_refers_to(planes, registry):
    context = planes().fit("toy", table()).context.id
    orphan = registry._fitted.put(b"left by a process that died")
    (registry.data_dir / "contexts" / "incoming" / "half").write_bytes(b"half")
    assert registry.gc(3600).blobs == 0, "it may be on its way in"
    found = registry.gc(0, dry_run=True)
    assert (found.blobs, found.unfinished, found.bytes) == (1, 1, orphan.size + 4)
    assert registry.gc(0) == found
    assert len(blobs_of(registry)) == 2
    assert answer(planes(), context).hits == (True,)


def test_collection_erases_what_has_expired(planes, registry):
    context = planes(context_ttl=60).fit("toy", table()).context.id
    registry.contexts.touch({context: datetime.now(UTC) - timedelta(days=1)}, 60)
    registry.gc(0)
    assert blobs_of(registry) == []


async def until(holds, seconds=20.0):
    end = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < end, await holds()
        await asyncio.sleep(0.05)


def test_one_worker_of_several_tells_what_is_kept(data_dir, registry):
    async def look():
        settings = load_settings(data_dir=data_dir, context_bytes=4000)
        metrics = [Metrics(), Metrics()]
        first, second = planes = [Plane(registry, settings, each) for each in metrics]
        for plane in planes:
            await plane.start()

        async def told(*expected):
            cells = [await each.cells() for each in metrics]
            return [c.get(("foretoken_contexts",), [0])[0] for c in cells] == list(expected)

        ids = [(await second.fit("toy", table(i))).context.id for i in range(2)]
        await second.predict("", [with_context(ids[0], rows())])
        await until(lambda: told(2, 0))
        totals, cells = registry.contexts.totals(), await metrics[0].cells()
        assert cells["foretoken_contexts_bytes", "table"] == [totals.table]
        assert cells["foretoken_contexts_bytes", "state"] == [totals.state]
        cells = await metrics[1].cells()
        requests = "foretoken_context_requests_total", "toy"
        assert cells[(*requests, "miss")] == [2]
        assert cells[(*requests, "rebuilt")] == [1]
        assert cells["foretoken_context_evictions_total",] == [2]
        await first.close()
        await second.delete_context(ids[0])
        await until(lambda: told(2, 1))  # the first has ended, and with it what it told
        await second.close()

    asyncio.run(look())


def test_orphans_are_searched_for_by_one_at_a_time(planes, registry, monkeypatch):
    monkeypatch.setattr(housekeeping, "ORPHANS", 0.0)
    plane = planes(context_ttl=1.0)
    registry._fitted.put(b"left by a process that died")
    time.sleep(0.3)
    plane.run(plane.plane.follow())
    assert blobs_of(registry) == []
