"""Snapshots and forks go on bit for bit: in other processes, from other data dirs, under load."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from foretoken import Client
from foretoken.errors import DataLoss, FailedPrecondition, ForetokenError, InvalidInput, NotFound
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.server.publish import publish
from foretoken.server.registry.registry import Registry
from foretoken.server.sessions.state import from_bytes, to_bytes
from tests.load.watching import killed, total, until
from tests.published import SUBJECTS
from tests.serving import serving
from tests.toy_families import toy_families

STEPS = 120
VALUES = np.random.default_rng(11).standard_normal((STEPS, 2))
OTHERS = np.random.default_rng(12).standard_normal((STEPS, 2))
MAGIC, FORMAT, HEADER = 8, 12, 52  # ends of the parts of a snapshot's header


@pytest.fixture(scope="module")
def servers(tmp_path_factory, published):
    """Two servers with a data dir each, which were given the same artefact; one has others, too."""
    home = tmp_path_factory.mktemp("restored")
    ours, family = published("recurrent"), SUBJECTS["recurrent"]
    weights = {name: array * 0.9 for name, array in load_file(ours.files[WEIGHTS]).items()}
    save_file(weights, home / WEIGHTS)
    bare = Artefact(family.name, dict(ours.config), {WEIGHTS: home / WEIGHTS})
    other = publish(bare, home / "other", family)
    with toy_families(home) as env:
        with Registry.open(home / "a") as registry:
            registry.register("toy", ours)
            registry.register("other", other)
        with Registry.open(home / "b") as registry:
            registry.register("toy", other)
            registry.register("toy", ours)  # the same, under another number
        with (
            serving(workers=2, data_dir=home / "a", env=env) as a,
            serving(data_dir=home / "b", env=env) as b,
        ):
            yield a, b


def outputs(session, values) -> bytes:
    """What a session answers, one observation at a time."""
    return b"".join(session.push(value).y.tobytes() for value in values)


@contextmanager
def begun(server, *args, **kwargs):
    """A session on a connection of its own."""
    with Client(server.address) as client, client.stream(*args, **kwargs) as session:
        yield session


@contextmanager
def load(*servers, sessions=4):
    """Other sessions of both kinds that step all the time, in messages of all lengths."""
    over, failed = threading.Event(), []

    def press(server, number):
        rng = np.random.default_rng(number)
        try:
            with begun(server, "toy", deterministic=number % 2 == 0) as session:
                while not over.is_set():
                    values = rng.standard_normal((rng.integers(1, 9), 2))
                    session.push(values if number % 3 else values[0])
        except Exception as e:
            failed.append(e)

    jobs = [(server, n) for server in servers for n in range(sessions)]
    threads = [threading.Thread(target=press, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for server in servers:
        assert until(lambda s=server: total(s, "foretoken_sessions_live") >= sessions)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failed


@contextmanager
def nothing(*_servers):
    yield


@pytest.fixture(params=["alone", "alone, deterministic", "under load, deterministic"])
def case(request):
    """What else goes on, and how sessions are stepped."""
    company = load if "load" in request.param else nothing
    return company, {"deterministic": "deterministic" in request.param}


def cuts(count: int) -> list[int]:
    """Random steps at which to leave off."""
    return sorted(np.random.default_rng(5).choice(np.arange(1, STEPS - 1), count, replace=False))


def test_it_goes_on_in_another_process(servers, case):
    a, b = servers
    company, how = case
    with begun(a, "toy", **how) as session:
        expected = outputs(session, VALUES)
    size = len(expected) // STEPS
    with company(a, b):
        taken, start = [], 0
        with begun(a, "toy", **how) as session:
            for step in cuts(4):
                assert outputs(session, VALUES[start:step]) == expected[start * size : step * size]
                taken.append(session.snapshot(include_bytes=True))
                start = step
        for kept in taken:
            rest = VALUES[kept.step :], expected[kept.step * size :]
            with begun(b, resume=kept.data, **how) as session:
                assert (session.opened.version, session.step) == (2, kept.step)
                assert outputs(session, rest[0]) == rest[1], "bytes, on another server"
            with begun(b, "toy", resume=kept.data, **how) as session:
                assert outputs(session, rest[0][:5]) == rest[1][: 5 * size]
            for _ in range(4):  # connections come to either worker
                with begun(a, resume=kept.digest, **how) as session:
                    assert outputs(session, rest[0][:5]) == rest[1][: 5 * size]


def test_it_goes_on_in_workers_that_come_later(servers):
    a, _ = servers
    with begun(a, "toy") as session:
        before = outputs(session, VALUES[:50])
        kept = session.snapshot()
        expected = outputs(session, VALUES[50:])
    assert before
    killed(a)
    with begun(a, resume=kept.digest) as session:
        assert outputs(session, VALUES[50:]) == expected


def test_a_restored_snapshot_is_the_same_state(servers):
    a, b = servers
    with begun(a, "toy") as session:
        session.push(VALUES[:30])
        data = session.snapshot(keep=False).data
        expected = outputs(session, VALUES[30:40])
    with Client(b.address) as client:
        record = client.restore(data)
        assert record.step == 30
        with client.stream(resume=record) as session:
            again = session.snapshot(keep=False).data
            assert forged(again, version=1) == data  # all but the number that it has there
            assert outputs(session, VALUES[30:40]) == expected
        client.delete_snapshot(record)


def test_both_branches_of_a_fork_are_as_if_alone(servers, case):
    a, _ = servers
    company, how = case
    runs = []
    for after in (VALUES[40:], OTHERS[40:]):
        with begun(a, "toy", **how) as session:
            outputs(session, VALUES[:40])
            runs.append(outputs(session, after))
    with company(a), begun(a, "toy", **how) as session:
        outputs(session, VALUES[:40])
        fork = session.fork()
        pairs = [
            (session.push(ours).y.tobytes(), fork.push(theirs).y.tobytes())
            for ours, theirs in zip(VALUES[40:], OTHERS[40:], strict=True)
        ]
        fork.close()
    assert [b"".join(each) for each in zip(*pairs, strict=True)] == runs


@pytest.fixture(scope="module")
def taken(servers):
    with begun(servers[0], "toy") as session:
        session.push(VALUES[:7])
        return session.snapshot(keep=False).data


def forged(data, **changes) -> bytes:
    """A snapshot whose checksum is right."""
    return to_bytes(replace(from_bytes(data), **changes))


def refusal(server, data, model=None) -> type:
    """With what a snapshot is refused, by either way in."""
    with Client(server.address) as client:
        with pytest.raises(ForetokenError) as opening, client.stream(model, resume=data):
            pass
        if model is None:
            with pytest.raises(opening.type):
                client.restore(data)
    return opening.type


def test_another_model_refuses_it(servers, taken):
    a, b = servers
    assert refusal(a, taken, "other") is FailedPrecondition
    assert refusal(a, taken, "other:1") is FailedPrecondition
    assert refusal(b, taken, "toy:1") is FailedPrecondition
    assert refusal(a, taken, "nobody") is NotFound
    assert refusal(a, forged(taken, model="nobody")) is NotFound
    assert refusal(a, forged(taken, manifest="sha256:" + "0" * 64)) is FailedPrecondition
    assert refusal(a, forged(taken, predictor=99)) is FailedPrecondition
    with begun(a, "other") as session:
        session.push(VALUES[:7])
        others = session.snapshot(keep=False).data
    assert refusal(a, others, "toy") is FailedPrecondition
    with begun(b, "toy:1", resume=others) as session:  # the same weights by another name
        assert session.step == 7


def test_one_that_is_cut_off_is_refused(servers, taken):
    rng = np.random.default_rng(1)
    for end in (1, 8, HEADER - 1, HEADER, *rng.integers(HEADER, len(taken), 20), len(taken) - 1):
        assert refusal(servers[0], taken[:end]) is DataLoss, end
    assert refusal(servers[0], taken + b"\0") is DataLoss


def test_one_that_was_tampered_with_is_refused(servers, taken):
    rng = np.random.default_rng(2)
    for at in (0, 9, 13, 21, *rng.integers(0, len(taken), 40)):
        changed = bytearray(taken)
        changed[at] ^= 1 << rng.integers(8)
        expected = InvalidInput if at < FORMAT else DataLoss
        assert refusal(servers[0], bytes(changed)) is expected, at


def test_one_of_another_layout_is_refused(servers, taken):
    arrays = dict(from_bytes(taken).arrays)
    name = next(iter(arrays))
    for wrong in (
        {name: arrays[name]},
        {**arrays, "more": arrays[name]},
        {**arrays, name: arrays[name].astype(np.float64)},
        {**arrays, name: arrays[name][None]},
    ):
        assert refusal(servers[0], forged(taken, arrays=wrong)) is FailedPrecondition
    assert refusal(servers[0], b"nothing of the kind") is InvalidInput
    with pytest.raises(NotFound), begun(servers[0], resume="snap-" + "0" * 64):
        pass


def test_refusals_leave_nothing(servers, taken):
    a, _ = servers
    assert refusal(a, taken[:-1]) is DataLoss
    assert until(lambda: total(a, "foretoken_sessions_live") == 0)
    with begun(a, resume=taken) as session:
        assert session.push(VALUES[7]).step == 8
