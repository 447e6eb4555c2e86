"""The database of states: made once, upgraded step by step, and not touched by an older release."""

from __future__ import annotations

import threading

import pytest

from foretoken.errors import DataLoss, FailedPrecondition
from foretoken.server.sessions import schema
from foretoken.server.sessions.store import DATABASE, SessionStore, opened
from tests.server.sessions.states import ROOMY, change, saved


def test_many_may_open_a_new_one_at_once(open_store):
    stores, gate = [], threading.Barrier(8)

    def open_one():
        gate.wait()
        stores.append(open_store())

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    epochs = [each.begin(saved(f"s{i}"), ROOMY) for i, each in enumerate(stores)]
    assert len(set(epochs)) == 8


def test_an_older_one_is_upgraded_and_keeps_what_it_has(store, tmp_path):
    epoch = store.begin(saved("s", 5), ROOMY)
    store.close()

    def first(connection):
        connection.exec_driver_sql("ALTER TABLE sessions ADD COLUMN colour TEXT")

    def second(connection):
        connection.exec_driver_sql("UPDATE sessions SET colour = 'red'")

    database = opened(tmp_path / DATABASE)
    for _ in range(2):
        schema.upgrade(database, [first, second])
        with database.read() as connection:
            assert database.schema_version(connection) == 3
            said = connection.exec_driver_sql("SELECT session, epoch, colour FROM sessions").all()
            assert said == [("s", epoch, "red")]
    database.close()


def test_an_upgrade_that_fails_changes_nothing(store, tmp_path):
    store.close()

    def broken(connection):
        connection.exec_driver_sql("DROP TABLE sessions")
        raise DataLoss("no")

    database = opened(tmp_path / DATABASE)
    with pytest.raises(DataLoss):
        schema.upgrade(database, [broken])
    database.close()
    assert store.save([saved("s")]) == [True]


def test_a_newer_one_is_refused(store, tmp_path):
    store.close()
    change(tmp_path / DATABASE, "PRAGMA user_version = 99")
    with pytest.raises(FailedPrecondition, match=r"sessions.db has schema version 99.*newer"):
        SessionStore.open(tmp_path / DATABASE, lambda: b"")


def test_a_damaged_one_is_named(tmp_path):
    (tmp_path / DATABASE).write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(DataLoss, match=r"the database of states .*sessions\.db is damaged"):
        SessionStore.open(tmp_path / DATABASE, lambda: b"")
