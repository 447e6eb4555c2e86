"""Streams of sessions x {ok, cancel, timeout, error, client, server or worker gone}: none lives on.

What is kept afterwards is the state of durable sessions, and of those whose server was stopped, as
long as somebody may go on with them; it is gone on with, and then nothing is left.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from foretoken import Client
from foretoken.errors import Unavailable
from foretoken.server.registry.registry import Registry
from tests.load.sequencing import Talker, rows
from tests.load.watching import SHARED, killed, live, total, until
from tests.serving import serving
from tests.toy_families import toy_families

COUNT = 4  # sessions of a stream
ROOT = Path(__file__).resolve().parents[2]
VALUES = np.random.default_rng(3).standard_normal((8, 2))
PLAIN, DURABLE = {}, {"durable": True, "checkpoint_every": 1}
HOW = {"plain": PLAIN, "durable": DURABLE}

KILLED = """
import sys, grpc
from tests.load.sequencing import Talker
channel = grpc.insecure_channel(sys.argv[1])
talkers = [Talker(channel, 4, {}), Talker(channel, 4, {"durable": True})]
print(*talkers[1].ids, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, published):
    """``fresh()``: arguments of a server of its own that has a small recurrent model."""
    home = tmp_path_factory.mktemp("sessions")
    with toy_families(home) as env:
        with Registry.open(home / "data") as registry:
            registry.register("toy", published("recurrent"))

        def made():
            own = tmp_path_factory.mktemp("server") / "data"
            shutil.copytree(home / "data", own)
            return {"data_dir": own, "env": env, "workers": 2}

        yield made


@pytest.fixture(scope="module")
def server(fresh):
    with serving(**fresh()) as running:
        yield running


@pytest.fixture
def idle(server):
    """Nothing lives before, and nothing lives or is kept afterwards."""
    assert until(lambda: seated(server) == 0)
    assert rows(server.data_dir) == {}
    yield server
    expect_nothing(server)
    expect_service(server)


@pytest.fixture(params=list(HOW))
def how(request):
    return HOW[request.param]


def seated(server) -> float:
    """Sessions with a slot, over all workers."""
    return total(server, "foretoken_sessions_live")


def expect_nothing(server) -> None:
    """No slot, no stream and no row is left of anything."""
    time.sleep(SHARED)
    assert until(lambda: seated(server) == 0), "a slot is taken"
    assert until(lambda: live(server) == 0), "a stream lives on"
    assert until(lambda: rows(server.data_dir) == {}), "a state is kept"


def expect_service(server) -> None:
    with Client(server.address) as client, client.stream("toy", deterministic=True) as session:
        one = [session.push(value).y for value in VALUES]
        with client.stream("toy", deterministic=True) as other:
            assert other.push(VALUES).y.tobytes() == np.array(one).tobytes()


def expect_kept(server, ids, kind) -> None:
    """These sessions, and no others, are kept and can be gone on with; then they are ended."""
    assert until(lambda: rows(server.data_dir) == dict.fromkeys(ids, kind))
    assert until(lambda: seated(server) == 0), "a slot is taken"
    with Client(server.address) as client:
        for each in ids:
            with client.stream(resume=each) as session:
                assert session.id == each
                assert session.step <= 1
                session.push(VALUES[0])


def expect_left(server, talker, how) -> None:
    """What a stream that broke leaves behind."""
    assert set(rows(server.data_dir)) <= set(talker.ids)
    expect_kept(server, talker.ids if how else [], "durable")


def talking(server, channel, how, **options) -> Talker:
    """A stream whose sessions have slots."""
    talker = Talker(channel, COUNT, how, **options)
    assert until(lambda: seated(server) == COUNT)
    assert set(rows(server.data_dir)) == set(talker.ids if how else [])
    return talker


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.address) as opened:
        yield opened


def test_ended_in_order(idle, channel, how):
    talker = talking(idle, channel, how)
    for number in range(1, COUNT + 1):
        talker.observe(number)
    talker.end()
    assert talker.code() == "OK"
    assert {each.outputs.step for each in talker.answers} == {2}


def test_closed_one_by_one(idle, how):
    with Client(idle.address) as client, client.stream("toy", **how) as session:
        forks = [session.fork() for _ in range(COUNT - 1)]
        for each in (session, *forks):
            each.push(VALUES)
        assert until(lambda: seated(idle) == COUNT)
        for each in forks:
            each.close()
        assert until(lambda: seated(idle) == 1)
        assert session.push(VALUES[0]).step == len(VALUES) + 1


def test_cancelled(idle, channel, how):
    talker = talking(idle, channel, how)
    for number in range(1, COUNT + 1):
        talker.observe(number)
    talker.stream.cancel()
    assert talker.code() == "CANCELLED"
    expect_left(idle, talker, how)


def test_timed_out(idle, channel, how):
    talker = talking(idle, channel, how, timeout=5)
    assert talker.code() == "DEADLINE_EXCEEDED"
    expect_left(idle, talker, how)


def test_refused_messages(idle, channel, how):
    """Each is answered, and the sessions go on."""
    talker = talking(idle, channel, how)
    for number in range(1, COUNT + 1):
        talker.observe(number, 1.0, 2.0, 3.0)
        talker.observe(number)
    talker.say(COUNT + 1, open={"model": "nobody"})
    talker.say(COUNT + 2, open={"model": "toy", "options": {"pace": {"number": 1.0}}, **how})
    talker.end()
    assert talker.code() == "OK"
    errors = [each.refusal.error for each in talker.answers if each.HasField("refusal")]
    assert sorted(errors) == ["InvalidInput"] * (COUNT + 1) + ["NotFound"]
    assert [a.outputs.step for a in talker.answers if a.HasField("outputs")] == [2] * COUNT


def test_ended_by_an_error(idle, channel, how):
    talker = talking(idle, channel, how)
    talker.tell(b"\xff" * 10)  # no message
    assert talker.code() not in ("OK", "UNKNOWN")
    expect_left(idle, talker, how)


def test_client_killed(idle):
    client = subprocess.Popen(
        [sys.executable, "-c", KILLED, idle.address],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    ids = client.stdout.readline().split()
    assert len(ids) == COUNT
    assert until(lambda: seated(idle) == 2 * COUNT)
    client.send_signal(signal.SIGKILL)
    client.wait()
    client.stdin.close()
    client.stdout.close()
    expect_kept(idle, ids, "durable")


def test_server_stopped(fresh):
    """Both kinds can be gone on with on the next server of the same data dir."""
    own = fresh()
    with serving(**own) as server, grpc.insecure_channel(server.address) as channel:
        talkers = [Talker(channel, COUNT, how) for how in (PLAIN, DURABLE)]
        server.process.send_signal(signal.SIGTERM)
        codes = {each.code() for each in talkers}
        assert codes <= {"OK", "UNAVAILABLE"}
        assert server.process.wait(60) == 0
    left = rows(own["data_dir"])
    assert set(left) == {each for talker in talkers for each in talker.ids}
    with serving(**own) as server:
        assert seated(server) == 0
        with Client(server.address) as client:
            for plain, durable in zip(talkers[0].ids, talkers[1].ids, strict=True):
                with client.stream(resume=plain) as session, client.stream(resume=durable) as other:
                    assert session.step == 1
                    assert other.step <= 1
                    session.push(VALUES[0])
                    other.push(VALUES[0])
        expect_nothing(server)


def test_workers_renewed(fresh):
    """SIGHUP: sessions move to the workers that come, and nothing of them stays behind."""
    age = "age = 5\n"  # seconds after which callers are asked to go
    with serving(config=age, **fresh()) as server, Client(server.address) as c:
        before = set(server.workers)
        with c.stream("toy") as plain, c.stream("toy", durable=True) as durable:
            both = [plain, durable, plain.fork(), durable.fork()]
            for each in both:
                each.push(VALUES[0])
            server.configure(f"{age}session_idle = 200\n")
            assert until(lambda: not before & set(server.workers), patience=180)
            for each in both:
                assert each.push(VALUES[1]).step == 2
                assert each.resumes == 1
            assert until(lambda: seated(server) == 4)
            for each in both[2:]:
                each.close()
        expect_nothing(server)
        expect_service(server)


def test_worker_killed(fresh):
    """Plain sessions end with it; durable ones go on, or wait until somebody does."""
    with (
        serving(**fresh()) as server,
        grpc.insecure_channel(server.address) as channel,
        Client(server.address) as client,
        client.stream("toy", **DURABLE) as durable,
        client.stream("toy") as plain,
    ):
        talkers = {kind: Talker(channel, COUNT, how) for kind, how in HOW.items()}
        fork = durable.fork()
        for each in (plain, durable, fork):
            each.push(VALUES[0])
        killed(server)
        for each in (durable, fork):
            assert each.push(VALUES[1]).step == 2
        with pytest.raises(Unavailable, match="durable"):
            plain.push(VALUES[1])
        assert {each.code() for each in talkers.values()} == {"UNAVAILABLE"}
        assert until(lambda: seated(server) == 2)
        fork.close()
        durable.close()
        expect_kept(server, talkers["durable"].ids, "durable")
        expect_nothing(server)
        expect_service(server)
