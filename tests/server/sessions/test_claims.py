"""States of sessions: one process at a time writes one, and whoever has lost it is told."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foretoken.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Overloaded,
)
from foretoken.server.sessions.saved import BATCH
from foretoken.server.sessions.store import DATABASE, Saved
from tests.server.sessions.states import MANIFEST, ROOMY, change, saved, state


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def test_a_session_goes_on_where_it_was_saved(store, open_store):
    expires = ago(-60)
    epoch = store.begin(saved("s", about='{"every": 8}', expires=expires), ROOMY)
    assert store.save([saved("s", 5, epoch=epoch, about="b", kind="drained", expires=expires)]) == [
        True
    ]
    newer, found = open_store().claim("s", None)
    assert newer > epoch
    assert found == saved("s", 5, epoch=newer, about="b", kind="drained", expires=expires)
    assert found.data == state(step=5)
    assert (found.model, found.version, found.manifest) == ("toy", 3, MANIFEST)


def test_a_former_owner_is_refused(store, open_store):
    old = store.begin(saved("s"), ROOMY)
    new, _ = open_store().claim("s", None)
    assert store.save([saved("s", 9, epoch=old)]) == [False]
    store.drop({"s": old})
    store.renew({"s": old}, ago(60))
    assert open_store().save([saved("s", 1, epoch=new)]) == [True]
    again, found = store.claim("s", None)
    assert (found.step, again > new) == (1, True)


def test_an_older_state_never_replaces_a_newer_one(store):
    epoch = store.begin(saved("s"), ROOMY)
    states = [saved("s", step, epoch=epoch) for step in (4, 8, 6)]
    assert store.save(states) == [True] * 3
    assert store.save([saved("s", 7, epoch=epoch)]) == [True]
    assert store.claim("s", None)[1].step == 8


def test_the_same_step_again_is_another_state(store):
    epoch = store.begin(saved("s"), ROOMY)
    assert store.save([saved("s", 0, seed=1, epoch=epoch)]) == [True]
    assert store.claim("s", None)[1].data == state(1, step=0)


def test_idle_sessions_come_to_the_disk_together(store):
    count = 2 * BATCH + 7
    states = [saved(f"s{i}", i, kind="idle", data=b"") for i in range(count)]
    assert store.save(states) == [True] * count
    assert store.totals().sessions == count
    assert store.save(states[:2]) == [False, False], "they have been on the disk"
    epoch, found = store.claim("s5", None)
    assert (found.step, found.kind) == (5, "idle")
    assert store.save([saved("s5", 6, epoch=epoch), saved("s6", 6)]) == [True, False]
    store.drop({"s5": epoch})
    assert store.save([saved("s5", 7, epoch=epoch)]) == [False], "erased after a claim"
    with pytest.raises(NotFound):
        store.claim("s5", None)


def test_beginning_again_ends_the_one_before(store):
    first = store.begin(saved("s", 5), ROOMY)
    second = store.begin(saved("s", 0), ROOMY)
    assert store.save([saved("s", 9, epoch=first), saved("s", 1, epoch=second)]) == [False, True]
    assert store.claim("s", None)[1].step == 1


def test_many_are_begun_and_claimed_together(store):
    size = len(state(step=0))
    budgets = replace(ROOMY, quota=3 * size)
    new = [saved(f"s{i}", kind=kind) for i, kind in enumerate(["durable", "idle", "durable"])]
    epochs = store.begin_all([*new, saved("over"), saved("", data=b"")], budgets)
    assert [type(each) for each in epochs] == [int, int, int, Overloaded, InvalidInput]
    wanted = [("s0", None), ("none", None), ("s1", None), ("s2", "another"), ("s2", None)]
    found = store.claim_all(wanted, erase=["idle"])
    assert [type(each) for each in found] == [Saved, NotFound, Saved, NotFound, Saved]
    assert [found[i].epoch for i in (0, 2, 4)] == [found[0].epoch, 0, found[0].epoch]
    assert found[0].epoch > max(epochs[:3])
    assert found[2].data == state(step=0)
    with pytest.raises(NotFound):
        store.claim("s1", None)
    assert store.save([saved("s1", 1), saved("s1", 2, epoch=epochs[1])]) == [True, False]
    assert store.save([saved("s2", 1, epoch=found[4].epoch)]) == [True]
    assert store.begin_all([], budgets) == store.claim_all([]) == []


def test_no_epoch_comes_twice(store, open_store):
    seen = []
    for i in range(20):
        each = (store, open_store())[i % 2]
        seen.append(each.begin(saved("s"), ROOMY))
        seen.append(each.claim("s", None)[0])
        each.drop({"s": seen[-1]})
    assert seen == sorted(set(seen))


def test_tenants_have_sessions_of_their_own(store):
    epoch = store.begin(saved("s", tenant="a"), ROOMY)
    for other in ("b", None):
        with pytest.raises(NotFound, match="no session 's' to go on with"):
            store.claim("s", other)
        with pytest.raises(AlreadyExists):
            store.begin(saved("s", tenant=other), ROOMY)
        assert store.save([saved("s", 9, tenant=other, epoch=epoch)]) == [False]
        assert store.save([saved("s", 9, tenant=other)]) == [False]
    assert store.claim("s", "a")[1].step == 0


def test_what_is_not_there(store):
    with pytest.raises(NotFound, match=r"has expired or was not durable"):
        store.claim("s", None)
    assert store.save([saved("s", epoch=1)]) == [False]
    assert store.save([]) == []
    store.drop({"s": 1})
    store.drop({})
    store.renew({}, None)
    for wrong in ("", "s" * 201, "é" * 101):
        with pytest.raises(InvalidInput, match="1 to 200 bytes"):
            store.begin(saved(wrong), ROOMY)
        with pytest.raises(InvalidInput):
            store.save([saved("fine"), saved(wrong)])
    assert store.totals().sessions == 0
    store.begin(saved("é" * 100), ROOMY)


def test_a_session_that_was_begun_without_a_state_begins_at_its_start(store):
    store.begin(saved("s", data=b""), ROOMY)
    assert store.claim("s", None)[1].data == b""


def test_unused_ones_expire(store):
    soon = ago(-0.2)
    epochs = {s: store.begin(saved(s, expires=soon), ROOMY) for s in ("left", "saved", "renewed")}
    store.begin(saved("for ever"), ROOMY)
    store.save([saved("saved", 1, epoch=epochs["saved"], expires=ago(-60))])
    store.renew({"renewed": epochs["renewed"]}, ago(-60))
    time.sleep(0.25)
    with pytest.raises(NotFound):
        store.claim("left", None)
    assert store.expire() == 1
    assert sorted(store.live("toy", 3)) == ["for ever", "renewed", "saved"]
    assert store.save([saved("left", 1, epoch=epochs["left"])]) == [False]


def test_whoever_has_an_expired_one_may_still_save_it(store):
    epoch = store.begin(saved("s", expires=ago(1)), ROOMY)
    assert store.save([saved("s", 1, epoch=epoch, expires=ago(-60))]) == [True]
    assert store.claim("s", None)[1].step == 1


def test_an_expired_one_gives_way(store):
    store.begin(saved("s", tenant="a", expires=ago(1)), ROOMY)
    assert store.save([saved("s", 3, tenant="b")]) == [True]
    assert store.claim("s", "b")[1].step == 3
    store.begin(saved("z", tenant="a", expires=ago(1)), ROOMY)
    assert store.begin(saved("z", tenant="b"), ROOMY)


def test_a_version_that_is_gone_takes_its_sessions_with_it(store):
    epoch = store.begin(saved("s"), ROOMY)
    other = store.begin(saved("z", version=4), ROOMY)
    with store.writing() as connection:
        store.entomb(connection, "toy", 3)
    assert store.save([saved("s", 1, epoch=epoch), saved("z", 1, epoch=other, version=4)]) == [
        False,
        True,
    ]
    with pytest.raises(FailedPrecondition, match=r"toy:3 that session 's' .* has been deleted"):
        store.claim("s", None)
    with pytest.raises(FailedPrecondition, match="toy:3"):
        store.begin(saved("new"), ROOMY)
    assert store.save([saved("new"), saved("s"), saved("z2", version=4)]) == [False, False, True]
    assert store.totals().sessions == 2
    store.drop({"s": epoch})
    with pytest.raises(NotFound):
        store.claim("s", None)


@pytest.mark.parametrize("data", [state()[:-1], state()[:-1] + b"\1", b"nonsense"])
def test_damage_is_told_and_takes_nothing_over(store, tmp_path, data):
    epoch = store.begin(saved("s"), ROOMY)
    change(tmp_path / DATABASE, "UPDATE sessions SET data = ?", data)
    with pytest.raises(DataLoss, match="of session 's' is damaged"):
        store.claim("s", None)
    assert store.save([saved("s", 1, epoch=epoch)]) == [True], "its owner mends it"
    assert store.claim("s", None)[1].step == 1


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=6))
@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_many_at_once_are_as_one_after_the_other(store, steps):
    def begun(session):
        stale = store.begin(saved(session, 2), ROOMY)
        own = store.begin(saved(session, 2), ROOMY)
        return [
            saved(session, step, seed, epoch=own if mine else stale)
            for seed, (mine, step) in enumerate(steps)
        ]

    together = store.save(begun("a"))
    apart = [store.save([each])[0] for each in begun("b")]
    assert together == apart == [mine for mine, _ in steps]
    assert store.claim("a", None)[1].data == store.claim("b", None)[1].data
