"""Snapshots that are kept: by content and tenant, within quotas, for a time, and whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from foretoken.errors import DataLoss, FailedPrecondition, InvalidInput, NotFound, Overloaded
from foretoken.server.sessions import kept
from foretoken.server.sessions.state import from_bytes, to_bytes
from foretoken.server.sessions.store import DATABASE, Budgets
from tests.server.sessions.states import ROOMY, change, saved, snapshot, state

NOBODYS = "snap-" + "0" * 64
LONG_AGO = "2000-01-01 00:00:00.000000"


def test_what_is_kept_is_read_bit_for_bit(store, open_store):
    before = datetime.now(UTC)
    record = store.keep(snapshot(), "t", ROOMY)
    assert store.read(record.id, "t") == state()
    assert open_store().read(record.id, "t") == state()
    assert from_bytes(store.read(record.id, "t")).step == record.step == 7
    assert (record.model, record.version, record.nbytes) == ("toy", 3, len(state()))
    assert before <= record.created == record.used <= datetime.now(UTC)
    assert record.expires == record.used + timedelta(hours=1)
    assert store.find(record.id, "t") == record


def test_the_same_state_is_one_snapshot(store):
    first = store.keep(snapshot(), None, ROOMY)
    again = store.keep(from_bytes(to_bytes(snapshot())), None, ROOMY)
    assert (again.id, again.created) == (first.id, first.created)
    assert again.used > first.used
    other = store.keep(snapshot(1), None, ROOMY)
    assert other.id != first.id
    assert store.totals()[:2] == (2, 2 * first.nbytes)


def test_tenants_cannot_tell_what_others_have(store, open_store):
    mine = store.keep(snapshot(), "a", ROOMY).id
    assert (
        len({mine, store.keep(snapshot(), "b", ROOMY).id, store.keep(snapshot(), None, ROOMY).id})
        == 3
    )
    said = set()
    for tenant, wanted in (("b", mine), (None, mine), ("b", NOBODYS)):
        for ask in (store.find, store.read, store.delete):
            with pytest.raises(NotFound) as e:
                ask(wanted, tenant)
            said.add(str(e.value).replace(wanted, "ID"))
    assert len(said) == 1, "in the same words"
    assert [r.id for r in store.list("a")] == [mine]
    assert open_store(b"another data dir's").keep(snapshot(), "a", ROOMY).id != mine
    assert mine == store.keep(snapshot(), "a", ROOMY).id


@pytest.mark.parametrize("wrong", ["", "toy", NOBODYS.upper(), NOBODYS + "0", "ctx-" + "0" * 64])
def test_what_ids_look_like_is_said(store, wrong):
    with pytest.raises(NotFound, match="snap- and 64 hex digits"):
        store.find(wrong, None)


def test_the_list_is_read_in_pages_the_last_used_first(store):
    ids = [store.keep(snapshot(i), None, ROOMY).id for i in range(5)]
    other = store.keep(snapshot(5, model="other"), None, ROOMY).id
    store.keep(snapshot(6), "else", ROOMY)
    assert [r.id for r in store.list(None)] == [other, *reversed(ids)]
    assert [r.id for r in store.list(None, "toy")] == ids[::-1]
    found, after = [], None
    while page := store.list(None, "toy", after, 2):
        found += [r.id for r in page]
        after = found[-1]
    assert found == ids[::-1]
    with pytest.raises(NotFound):
        store.list(None, after=NOBODYS)
    for limit in (0, 1001):
        with pytest.raises(InvalidInput, match="1 to 1000"):
            store.list(None, limit=limit)


def test_deleting_erases_the_bytes(store, tmp_path):
    data = state()
    record = store.keep(snapshot(), None, ROOMY)
    store.close()
    assert data[-24:] in (tmp_path / DATABASE).read_bytes()
    store.delete(record.id, None)
    with pytest.raises(NotFound):
        store.read(record.id, None)
    with pytest.raises(NotFound):
        store.delete(record.id, None)
    store.close()
    assert data[-24:] not in (tmp_path / DATABASE).read_bytes()


def test_quotas_are_each_tenants_own(store):
    size = len(state())
    budgets = Budgets(2 * size, 3600.0)
    first = store.keep(snapshot(0), "t", budgets)
    store.begin(saved("s", tenant="t"), budgets)
    with pytest.raises(
        Overloaded, match=rf"takes {size} bytes, .* take {2 * size} of {2 * size}"
    ) as e:
        store.keep(snapshot(1), "t", budgets)
    assert e.value.retry_after > 1
    with pytest.raises(Overloaded, match="snapshot_quota"):
        store.begin(saved("s2", tenant="t"), budgets)
    with pytest.raises(Overloaded):
        store.expect_room("t", 1, budgets)
    assert store.keep(snapshot(0), "t", budgets).id == first.id, "it is there already"
    for tenant in ("u", None):
        store.expect_room(tenant, size, budgets)
        store.keep(snapshot(1), tenant, budgets)
    store.delete(first.id, "t")
    store.expect_room("t", size, budgets)
    store.keep(snapshot(1), "t", budgets)


def test_what_has_expired_takes_no_quota(store, tmp_path):
    budgets = Budgets(len(state()), 3600.0)
    store.keep(snapshot(0), "t", budgets)
    with pytest.raises(Overloaded):
        store.keep(snapshot(1), "t", budgets)
    change(tmp_path / DATABASE, "UPDATE snapshots SET expires = ?", LONG_AGO)
    store.expect_room("t", len(state()), budgets)
    store.keep(snapshot(1), "t", budgets)


def test_unused_ones_expire(store, tmp_path):
    unused, used = (store.keep(snapshot(i), None, ROOMY).id for i in range(2))
    forever = store.keep(snapshot(2), None, Budgets(1 << 20, 0.0))
    assert forever.expires is None
    assert store.expire() == 0
    change(tmp_path / DATABASE, "UPDATE snapshots SET used = ?", LONG_AGO)
    store.read(used, None)
    store.read(forever.id, None)
    assert store.find(used, None).expires > datetime.now(UTC) + timedelta(minutes=59)
    assert store.find(forever.id, None).expires is None
    change(tmp_path / DATABASE, "UPDATE snapshots SET expires = ? WHERE id = ?", LONG_AGO, unused)
    with pytest.raises(NotFound):
        store.find(unused, None)
    assert {r.id for r in store.list(None)} == {used, forever.id}
    assert store.totals().snapshots == 3
    assert store.expire() == 1
    assert store.totals().snapshots == 2
    assert store.expire() == 0


def test_a_use_is_not_written_each_time(store, monkeypatch):
    record = store.keep(snapshot(), None, ROOMY)
    store.read(record.id, None)
    assert store.find(record.id, None).used == record.used
    monkeypatch.setattr(kept, "_NOTED", timedelta(0))
    store.read(record.id, None)
    assert store.find(record.id, None).used > record.used


@pytest.mark.parametrize("place", [0, 8, 12, 40, -1])
def test_damage_is_told(store, tmp_path, place):
    record = store.keep(snapshot(), None, ROOMY)
    data = bytearray(state())
    data[place] ^= 1
    change(tmp_path / DATABASE, "UPDATE snapshots SET data = ?", bytes(data))
    with pytest.raises(DataLoss, match=f"{record.id}.*not those that were kept"):
        store.read(record.id, None)
    store.keep(snapshot(), None, ROOMY)
    assert store.read(record.id, None) == state(), "whoever has it mends it"


def test_another_snapshots_bytes_are_damage(store, tmp_path):
    record = store.keep(snapshot(), None, ROOMY)
    change(tmp_path / DATABASE, "UPDATE snapshots SET data = ?", state(1))
    with pytest.raises(DataLoss):
        store.read(record.id, None)


def test_a_version_that_is_gone_takes_its_snapshots_with_it(store, tmp_path):
    mine, other = (store.keep(snapshot(v, version=v), None, ROOMY) for v in (3, 4))
    assert store.live("toy", 3) == [mine.id]
    with store.writing() as connection:
        store.entomb(connection, "toy", 3)
        store.entomb(connection, "toy", 3)
    for ask in (store.find, store.read):
        with pytest.raises(FailedPrecondition, match=r"toy:3 .* has been deleted"):
            ask(mine.id, None)
        with pytest.raises(NotFound):
            ask(mine.id, "another tenant")
    with pytest.raises(FailedPrecondition, match="toy:3"):
        store.keep(snapshot(9), None, ROOMY)
    assert store.live("toy", 3) == []
    assert store.versions() == [("toy", 4)]
    assert store.list(None) == [other]
    assert store.totals().snapshots == 1
    store.close()
    assert state(3, version=3)[-24:] not in (tmp_path / DATABASE).read_bytes()
    change(tmp_path / DATABASE, "UPDATE snapshots SET expires = ? WHERE gone", LONG_AGO)
    assert store.expire() == 1
    with pytest.raises(NotFound):
        store.find(mine.id, None)


def test_a_record_says_itself_in_json(store):
    record = store.keep(snapshot(), None, replace(ROOMY, ttl=0.0))
    assert record.record()["id"] == record.id
    assert record.record()["expires"] is None
