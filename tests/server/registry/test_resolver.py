"""Remembered answers are never older than the call that gets them."""

from __future__ import annotations

import threading

import pytest

from foretoken.errors import ForetokenError, NotFound
from foretoken.server.registry.registry import Registry
from tests.server.registry.conftest import toy_signature


@pytest.fixture
def two(registry, make_artefact):
    registry.register("m", make_artefact())
    registry.register("m", make_artefact())
    return registry


def test_what_nobody_changed_is_not_read_again(two, monkeypatch):
    first = two.resolve("m")
    shadowed = two.resolve("m:2")
    monkeypatch.setattr(two._database, "read", lambda: pytest.fail("the catalogue was read"))
    assert two.resolve("m") is first
    assert two.resolve("champion@m") is first
    assert two.resolve("m:2") is shadowed


def test_a_move_by_another_connection_is_seen_at_once(two, data_dir, make_artefact):
    with Registry.open(data_dir, signature=toy_signature) as other:
        for n in range(20):
            assert two.resolve("m").number == other.resolve("m").number
            other.set_alias("m", "champion", 2 - n % 2)
            assert two.resolve("m").number == 2 - n % 2
        other.delete("m:2" if two.resolve("m").number == 1 else "m:1")
        gone = "m:2" if two.resolve("m").number == 1 else "m:1"
        with pytest.raises(NotFound):
            two.resolve(gone)


def test_its_own_moves_are_seen_at_once(two):
    for n in range(20):
        two.set_alias("m", "champion", 1 + n % 2)
        assert two.resolve("m").number == 1 + n % 2
        assert two.resolve("m").aliases == ("champion",)


def test_readers_never_get_an_older_answer_than_was_acknowledged_before_they_asked(
    registry, make_artefact
):
    last = 12
    for _ in range(last):
        registry.register("m", make_artefact())
    acknowledged = [1]
    wrong: list = []

    def read():
        try:
            while acknowledged[0] < last:
                least = acknowledged[0]
                found = registry.resolve("m").number
                if found < least:
                    wrong.append((found, least))
        except ForetokenError as e:
            wrong.append(e)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(2, last + 1):
        registry.set_alias("m", "champion", version)
        acknowledged[0] = version
        registry.delete(f"m:{version - 1}")
    for thread in threads:
        thread.join()
    assert wrong == []


def test_more_references_than_are_remembered(registry, make_artefact, monkeypatch):
    monkeypatch.setattr("foretoken.server.registry.resolver._LIMIT", 2)
    for _ in range(4):
        registry.register("m", make_artefact())
    for _ in range(3):
        assert [registry.resolve(f"m:{n}").number for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert len(registry._resolver._versions) <= 3
