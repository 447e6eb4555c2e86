"""Owners: one owner for each sequence, whoever dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from foretoken.errors import Unavailable
from foretoken.server.sessions.owners import LOST, PARKED, Claim, Owners, settle
from tests.server.sessions.claiming import claim_for_ever, compete


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sequences.db"


@pytest.fixture
def two(path):
    one, other = Owners(path, 1), Owners(path, 2)
    yield one, other
    one.close()
    other.close()


def test_a_claim_is_found_by_all(two):
    one, other = two
    assert one.find("k") is None
    assert one.add("k", "s")
    assert not other.add("k", "t")
    assert one.find("k") == other.find("k") == Claim(1, "s")


def test_what_is_released_is_unknown(two):
    one, other = two
    one.add("k", "s")
    other.release("k")  # it is not its own
    assert other.find("k") == Claim(1, "s")
    one.release("k")
    assert other.find("k") is None


def test_a_claim_is_taken_as_it_was_found_or_not_at_all(two):
    one, other = two
    one.add("k", "s")
    found = other.find("k")
    assert one.take("k", found, "t")  # begun anew meanwhile
    assert not other.take("k", found)
    assert other.take("k", other.find("k"))
    assert one.find("k") == Claim(2, "t")


def test_what_is_parked_or_lost_says_so(two):
    one, other = two
    for key in "abc":
        one.add(key, key)
    one.lose("a")
    one.park("b")
    other.park("c")
    assert [other.find(key).worker for key in "abc"] == [LOST, PARKED, 1]
    one.park_all()
    assert [other.find(key).worker for key in "abc"] == [LOST, PARKED, PARKED]


def test_claims_of_the_dead_are_found_and_parked(path):
    claims = [Owners(path, number) for number in (1, 3, 7)]
    for each in claims:
        for i in range(10):
            each.add(f"{each.worker}-{i}", "s")
    assert claims[1].workers() == [1, 7]
    claims[1].park_all(7)
    assert claims[1].workers() == [1]
    assert claims[0].find("7-3") == Claim(PARKED, "s")


def test_what_nobody_has_is_forgotten_after_a_while(two):
    one, other = two
    for key in "abc":
        one.add(key, key)
    one.lose("a")
    one.park("b")
    other.forget(60)
    assert other.find("a") is not None
    time.sleep(0.02)
    other.forget(0.01)
    assert [other.find(key) for key in "abc"] == [None, None, Claim(1, "c")]


def test_the_claims_of_a_server_before_are_parked(path):
    for number in (1, 2):
        claims = Owners(path, number)
        claims.add(str(number), "s")
        claims.close()
    settle(path)
    claims = Owners(path, 1)
    assert [claims.find(key) for key in "12"] == [Claim(PARKED, "s")] * 2
    claims.close()


def test_a_damaged_file_is_made_anew(path):
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(Unavailable, match="cannot be read"):
        Owners(path)
    settle(path)
    claims = Owners(path)
    assert claims.add("k", "s")
    claims.close()


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(Unavailable, match="claims of sequences"):
        Owners(tmp_path / "none" / "sequences.db")


def test_of_many_workers_one_gets_each(path):
    """Half of the keys are new, half are parked."""
    claims = Owners(path, 99)
    keys = [f"key-{i}" for i in range(300)]
    for key in keys[::2]:
        claims.add(key, "s")
    claims.park_all()
    context = multiprocessing.get_context("spawn")
    won = context.SimpleQueue()
    workers = [context.Process(target=compete, args=(path, n, keys, won)) for n in (1, 2, 3)]
    for worker in workers:
        worker.start()
    wins = dict.fromkeys(keys, 0)
    for _ in keys:
        key, number = won.get()
        wins[key] += 1
        assert claims.find(key).worker == number
    for worker in workers:
        worker.join(30)
    assert set(wins.values()) == {1}
    assert won.empty()
    claims.close()


def test_a_worker_that_is_killed_in_the_midst_stops_nobody(path):
    context = multiprocessing.get_context("spawn")
    claims = Owners(path, 1)
    for _ in range(3):
        worker = context.Process(target=claim_for_ever, args=(path,))
        worker.start()
        while not claims.workers():
            time.sleep(0.01)
        time.sleep(0.1)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(30)
        assert claims.add(f"mine-{worker.pid}", "s")
        claims.park_all(5)
    assert claims.workers() == []
    claims.close()
