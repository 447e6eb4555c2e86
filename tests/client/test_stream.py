"""Sessions by both clients, against a real server: two workers, kills, drains, and a bad day."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
import time
from contextlib import closing, contextmanager

import grpc
import numpy as np
import pytest

from foretoken import AsyncClient, Client
from foretoken.client import Output, Snapshot, stepped
from foretoken.client.stepped import PART
from foretoken.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Unavailable,
)
from foretoken.proto import sequences as wire
from foretoken.server.registry.registry import Registry
from tests.client_server import aborting
from tests.serving import serving
from tests.toy_families import toy_families

VALUES = np.random.default_rng(4).normal(size=(60, 2))


@pytest.fixture(scope="module")
def families(tmp_path_factory, published):
    """``families()``: arguments of a server of its own that has a small recurrent model."""
    home = tmp_path_factory.mktemp("streams")
    with toy_families(home) as env:
        with Registry.open(home / "data") as registry:
            registry.register("toy", published("recurrent"))

        def fresh():
            own = tmp_path_factory.mktemp("server") / "data"
            shutil.copytree(home / "data", own)
            return {"data_dir": own, "env": env}

        yield fresh


@pytest.fixture(scope="module")
def served(families):
    with serving(workers=2, **families()) as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def talk(request):
    """``with talk(address, *args, **kwargs) as session``: either client's, methods not awaited."""

    @contextmanager
    def sync(address, *args, connection=None, **kwargs):
        with (
            Client(address, **(connection or {})) as client,
            client.stream(*args, **kwargs) as session,
        ):
            yield session

    @contextmanager
    def awaited(address, *args, connection=None, **kwargs):
        with asyncio.Runner() as runner:
            client = AsyncClient(address, **(connection or {}))
            session = client.stream(*args, **kwargs)
            runner.run(session.__aenter__())
            error = None
            try:
                yield Awaited(runner, session)
            except BaseException as e:
                error = e
                raise
            finally:
                runner.run(session.__aexit__(type(error), error, None))
                runner.run(client.close())

    return sync if request.param == "sync" else awaited


class Awaited:
    """An asynchronous session, waited for."""

    def __init__(self, runner, session):
        self._runner = runner
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session, name)

    def push(self, *args, **kwargs):
        return self._runner.run(self._session.push(*args, **kwargs))

    def snapshot(self, *args, **kwargs):
        return self._runner.run(self._session.snapshot(*args, **kwargs))

    def close(self):
        return self._runner.run(self._session.close())

    def fork(self):
        return Awaited(self._runner, self._runner.run(self._session.fork()))

    def follow(self, *args, **kwargs):
        following = self._session.follow(*args, **kwargs)
        try:
            while True:
                try:
                    yield self._runner.run(anext(following))
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(following.aclose())


def undisturbed(address, values=VALUES, **kwargs):
    """Outputs of a session that nothing happens to, one observation at a time."""
    with Client(address) as client, client.stream("toy", **kwargs) as session:
        return np.array([out.y for out in session.follow(values)])


def test_observations_are_answered(talk, served):
    with talk(served.address, "toy", scale=2.0) as session:
        assert session.id.startswith("ses-")
        opened = session.opened
        assert (opened.model, opened.version, opened.width, opened.options) == (
            "toy",
            1,
            2,
            {"scale": 2.0},
        )
        first = session.push(VALUES[0])
        many = session.push(VALUES[1:9])
        last = session.push(VALUES[9:12], want="last")
        nothing = session.push(VALUES[12], want="nothing")
    assert (first.y.shape, many.y.shape, last.y.shape) == ((16,), (8, 16), (16,))
    assert (first.step, many.step, last.step, nothing.step) == (1, 9, 12, 13)
    assert dict(nothing) == {}
    found = [first.y, *many.y, last.y]
    expected = 2 * undisturbed(served.address)[[*range(9), 11]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_is_followed_comes_in_order(talk, served):
    parts = [VALUES[0], VALUES[1:4], *VALUES[4:50], VALUES[50:]]
    with talk(served.address, "toy") as session:
        outputs = list(session.follow(parts))
        assert session.step == len(VALUES)
    assert all(isinstance(each, Output) for each in outputs)
    assert [each.step for each in outputs] == [1, 4, *range(5, 51), 60]
    found = np.concatenate([np.atleast_2d(each.y) for each in outputs])
    np.testing.assert_allclose(found, undisturbed(served.address), atol=1e-5)


def test_a_live_source_has_each_answer_before_the_next_value(talk, served):
    heard = []

    def source():
        for n, value in enumerate(VALUES[:6]):
            time.sleep(0.02)
            if n > 1:
                assert len(heard) >= n - 1
            yield value

    with talk(served.address, "toy") as session:
        for out in session.follow(source()):
            heard += [out.step]
    assert heard == [1, 2, 3, 4, 5, 6]


def test_an_asynchronous_source_is_not_waited_for_with_outputs_at_hand(served):
    async def followed():
        gate, heard = asyncio.Event(), []

        async def source():
            yield VALUES[0]
            yield VALUES[1]
            await gate.wait()  # opened by the second output
            yield VALUES[2]

        async with AsyncClient(served.address) as client, client.stream("toy") as session:
            async for out in session.follow(source()):
                heard.append(out.step)
                if out.step == 2:
                    gate.set()
        return heard

    assert asyncio.run(asyncio.wait_for(followed(), 30)) == [1, 2, 3]


def test_one_may_stop_following(talk, served):
    with talk(served.address, "toy") as session:
        for out in session.follow(VALUES):
            if out.step == 5:
                break
        following = session.push(VALUES[0])
        assert 6 <= following.step <= len(VALUES) + 1
        assert session.step == following.step


def test_an_error_of_a_source_is_its_own(talk, served):
    def source():
        yield VALUES[0]
        raise KeyError("mine")

    with talk(served.address, "toy") as session:
        with pytest.raises(KeyError, match="mine"):
            list(session.follow(source()))
        assert session.push(VALUES[1]).step == 2


def test_a_refused_observation_leaves_the_session_as_it_was(talk, served):
    with talk(served.address, "toy") as session:
        session.push(VALUES[:3])
        for bad in ([1.0, 2.0, 3.0], "x", []):
            with pytest.raises(InvalidInput):
                session.push(bad)
        with pytest.raises(InvalidInput, match="every"):
            session.push(VALUES[0], want="some")
        again = session.push(VALUES[3])
    assert again.step == 4
    np.testing.assert_allclose(again.y, undisturbed(served.address)[3], atol=1e-5)


def test_a_push_ends_with_the_part_that_is_refused(talk, served):
    values = np.random.default_rng(5).normal(size=(2 * PART + 1800, 2))
    bad = values.copy()
    bad[PART + 900] = np.nan
    with talk(served.address, "toy") as session:
        with pytest.raises(InvalidInput, match="finite"):
            session.push(bad, want="nothing")
        assert session.step == PART
        with closing(session.fork()) as other:  # a stream of several is read ahead
            with pytest.raises(InvalidInput, match="finite"):
                other.push(bad[PART:], want="last")
            assert other.step == PART
            with pytest.raises(InvalidInput, match="finite"):
                list(other.follow([bad, values]))
            assert other.step == 2 * PART
        assert session.push(values[PART:], want="last").step == len(values)
        found = session.snapshot(keep=False)
    with talk(served.address, "toy") as session:
        session.push(values, want="nothing")
        assert session.snapshot(keep=False).data == found.data


def test_a_push_may_have_more_parts_than_messages_may_wait(talk, served, monkeypatch):
    monkeypatch.setattr(stepped, "PART", 16)
    with talk(served.address, "toy", deterministic=True) as session, closing(session.fork()):
        assert session.push(np.ones((100 * 16, 2)), want="last").step == 100 * 16


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "said"),
    [
        (("nobody",), {}, NotFound, "nobody"),
        ((), {}, InvalidInput, "model"),
        (("toy",), {"pace": 3}, InvalidInput, "pace"),
        (("toy",), {"scale": object()}, InvalidInput, "scale"),
        (("toy",), {"checkpoint_every": -2}, InvalidInput, "checkpoint_every"),
        (("toy", "snap-0"), {}, NotFound, "snap-0"),
        (("toy", b"nonsense"), {}, InvalidInput, "snapshot"),
        (("toy", b""), {}, InvalidInput, "bytes"),
        (("toy", "ses-none"), {}, NotFound, "ses-none"),
        (("toy", 3), {}, InvalidInput, "digest"),
    ],
)
def test_bad_openings_are_refused_at_once(talk, served, args, kwargs, error, said):
    with pytest.raises(error, match=said), talk(served.address, *args, **kwargs):
        pass


def test_a_snapshot_is_where_any_session_can_go_on(talk, ask, served):
    with talk(served.address, "toy") as session:
        session.push(VALUES[:20])
        kept = session.snapshot(include_bytes=True)
        bare = session.snapshot(keep=False)
        expected = session.push(VALUES[20]).y
    assert isinstance(kept, Snapshot)
    assert (kept.step, kept.model, kept.version) == (20, "toy", 1)
    assert (bare.digest, bare.data, bare.record) == (None, kept.data, None)
    for resume in (kept, kept.record, kept.digest, kept.data, bare):
        with talk(served.address, resume=resume) as session:
            assert session.step == 20
            assert session.push(VALUES[20]).y.tobytes() == expected.tobytes()
    assert ask(served.address, "snapshot", kept) == ask(served.address, "snapshot", kept.digest)
    assert ask(served.address, "snapshot", kept, include_bytes=True).data == kept.data
    assert kept.digest in {each.id for each in ask(served.address, "snapshots")}
    assert kept.digest in {each.id for each in ask(served.address, "snapshots", "toy")}
    ask(served.address, "delete_snapshot", kept)
    with pytest.raises(NotFound):
        ask(served.address, "snapshot", kept)
    assert ask(served.address, "restore", kept.data).id == kept.digest
    ask(served.address, "delete_snapshot", kept.digest)
    with pytest.raises(InvalidInput, match="digest"):
        ask(served.address, "delete_snapshot", bare)


def test_a_fork_shares_the_stream_and_nothing_else(talk, served):
    expected = undisturbed(served.address)
    with talk(served.address, "toy") as session:
        session.push(VALUES[:30])
        fork = session.fork()
        assert (fork.step, fork.opened.model) == (30, "toy")
        assert fork.id != session.id
        for value, wanted in zip(VALUES[30:40], expected[30:40], strict=True):
            np.testing.assert_allclose(session.push(value).y, wanted, atol=1e-5)
            fork.push(-value)
        fork.close()
        with pytest.raises(FailedPrecondition, match="closed"):
            fork.push(VALUES[0])
        np.testing.assert_allclose(session.push(VALUES[40]).y, expected[40], atol=1e-5)


def test_forks_of_a_session_for_threads_of_their_own(served):
    expected = undisturbed(served.address)
    with Client(served.address) as client, client.stream("toy") as session:
        found = {}

        def followed(name, fork):
            found[name] = np.array([out.y for out in fork.follow(VALUES)])
            fork.close()

        threads = [threading.Thread(target=followed, args=(n, session.fork())) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert session.push(VALUES[0]).step == 1
    for name in range(4):
        np.testing.assert_allclose(found[name], expected, atol=1e-5)


def test_an_answer_that_does_not_come(fake, talk):
    opened = wire.SequenceResponse(session=1, opened=wire.Opened(id="ses-1", width=1))

    def answer(_method, context):
        while len(fake.asked) == 2 and context.is_active():
            time.sleep(0.01)
        return opened.SerializeToString()

    fake.answer = answer
    with (
        pytest.raises(DeadlineExceeded),
        talk(fake.address, "toy", timeout=1.0) as session,
    ):
        session.push(1.0)


def test_a_full_server_is_asked_again_until_there_is_room(fake, talk):
    opened = wire.SequenceResponse(session=1, opened=wire.Opened(id="ses-1", width=1))
    trailers = ("foretoken-error", "Overloaded"), ("retry-after-ms", "10")
    full = aborting(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", *trailers)

    def answer(method, context):
        return full(method, context) if len(fake.asked) < 3 else opened.SerializeToString()

    fake.answer = answer
    with talk(fake.address, "toy", timeout=10.0) as session:
        assert session.id == "ses-1"
        assert len(fake.asked) == 3


def test_it_gives_up_when_time_is_up(fake, talk):
    fake.answer = aborting(grpc.StatusCode.UNAVAILABLE)
    began = time.monotonic()
    with (
        pytest.raises((DeadlineExceeded, Unavailable)),
        talk(fake.address, "toy", timeout=0.5),
    ):
        pass
    assert time.monotonic() - began < 10


def comeback(server, number):
    """Wait until a worker of that number listens."""
    end = time.monotonic() + 60
    while not [*server.data_dir.glob(f"run/*/worker-{number}.sock")]:
        assert time.monotonic() < end, "no worker has come in its place"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("talk", "way"),
    [("sync", "push"), ("sync", "follow"), ("async", "follow"), ("async", "parts")],
    indirect=["talk"],
)
def test_a_durable_session_survives_the_death_of_its_worker(talk, families, way):
    """Of each worker in turn: how soon one is back on this machine is not the question here."""
    with serving(workers=2, **families()) as server:
        expected = undisturbed(server.address, deterministic=True)
        workers = server.workers

        def killing():
            for n, value in enumerate(VALUES):
                if n == 40:
                    comeback(server, 3)
                if n in (20, 40):
                    os.kill(workers[n // 20 - 1], signal.SIGKILL)
                yield value

        how = {"durable": True, "deterministic": True, "checkpoint_every": 4}
        with talk(server.address, "toy", **how) as session:
            if way == "push":
                outputs = [session.push(value) for value in killing()]
            elif way == "follow":
                outputs = list(session.follow(killing()))
            else:
                values = list(killing())
                outputs = [session.push(values[n : n + 6]) for n in range(0, 60, 6)]
            assert session.step == 60
            assert 0 <= session.durable_step <= 60
            assert session.resumes >= 1
            assert session.replayed >= 1
        found = np.concatenate([np.atleast_2d(each.y) for each in outputs])
        assert found.tobytes() == expected.tobytes()


def test_one_that_is_not_durable_says_so(talk, families):
    with serving(**families()) as server, talk(server.address, "toy") as session:
        session.push(VALUES[0])
        os.kill(server.workers[0], signal.SIGKILL)
        with pytest.raises(Unavailable, match="durable=True"):
            session.push(VALUES[1])


@pytest.mark.parametrize(("talk", "durable"), [("sync", False), ("async", True)], indirect=["talk"])
def test_a_session_goes_on_elsewhere_when_its_worker_is_drained(talk, families, durable):
    with serving(workers=2, **families()) as server:
        expected = undisturbed(server.address)
        workers = server.workers
        with talk(server.address, "toy", durable=durable) as session:
            found = [session.push(value).y for value in VALUES[:20]]
            fork = session.fork()
            os.kill(workers[0], signal.SIGTERM)
            found += [session.push(value).y for value in VALUES[20:40]]
            comeback(server, 3)
            os.kill(workers[1], signal.SIGTERM)
            found += [session.push(value).y for value in VALUES[40:]]
            assert fork.push(VALUES[20]).step == 21
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_durable_session_that_was_left_is_gone_on_with_by_its_id(served):
    with Client(served.address) as client:
        session = client.stream("toy", durable=True, checkpoint_every=1)
        session.__enter__()
        for value in VALUES[:10]:
            session.push(value)
        end = time.monotonic() + 20
        while session.durable_step < 5:
            assert time.monotonic() < end
            session.push(VALUES[10])
        left = session.id
    with Client(served.address) as client, client.stream(resume=left) as session:
        assert session.id == left
        assert session.step >= 5
    with Client(served.address) as client, pytest.raises(NotFound), client.stream(resume=left):
        pass  # it was closed
