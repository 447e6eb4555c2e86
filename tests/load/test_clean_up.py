"""{unary, Watch} x {ok, cancel, timeout, error, client killed, shutdown}: nothing lives on."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest

from tests.load.calling import SERVICE, call, infer, large, observed, opened, outcome, watching
from tests.load.watching import SHARED, live, total, until
from tests.serving import serving

CALLS = 8
ROOT = Path(__file__).resolve().parents[2]

KILLED = """
import sys, grpc
from tests.load.calling import SERVICE, large, opened, watching
channel = grpc.insecure_channel(sys.argv[1])
if sys.argv[2] == "unary":
    made = channel.unary_unary(SERVICE + "/ModelInfer")
    calls = [made.future(large()) for _ in range(8)]
else:
    import queue
    given = queue.SimpleQueue()
    given.put(opened())
    stream = watching(channel, iter(given.get, None))
    next(stream)
print("busy", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def idle(server):
    """Nothing lives before, and nothing may afterwards."""
    assert until(lambda: live(server) == 0)
    yield server
    time.sleep(SHARED)
    assert until(lambda: live(server) == 0), "something lives on"
    with grpc.insecure_channel(server.address) as channel:
        assert outcome(channel, "ModelInfer", infer(values=[0.1, 0.2]))[0] == "OK"


def future(channel, payload, **options):
    return channel.unary_unary(f"{SERVICE}/ModelInfer").future(payload, **options)


class Watcher:
    """A ``Watch`` that is open: it has been answered, and its caller may say more."""

    def __init__(self, channel, **options) -> None:
        self._more = threading.Event()
        self._say = [observed(1, 0.2)]
        self.stream = watching(channel, self._requests(), **options)
        next(self.stream)
        next(self.stream)

    def _requests(self):
        yield opened()
        yield observed(0.5, 0.1)
        self._more.wait(30)
        yield from self._say

    def go_on(self, *messages) -> None:
        self._say = list(messages)
        self._more.set()

    def code(self) -> str:
        """With what it ends."""
        try:
            list(self.stream)
        except grpc.RpcError as e:
            return e.code().name
        return "OK"


def test_unary_ok(idle, channel):
    futures = [
        future(channel, infer(values=[0.1, 0.2, 0.3]).SerializeToString()) for _ in range(50)
    ]
    assert all(f.result(60) for f in futures)


def test_unary_cancelled(idle, channel):
    futures = [future(channel, large()) for _ in range(CALLS)]
    assert until(lambda: total(idle, "foretoken_calls_waiting") > 0)
    assert sum(f.cancel() for f in futures) >= CALLS // 2  # some may have been answered by now


def test_unary_timed_out(idle, channel):
    futures = [future(channel, large(), timeout=0.4) for _ in range(CALLS)]
    codes = {f.code().name for f in futures if f.exception() is not None}
    assert codes <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    assert codes


def test_unary_error(idle, channel):
    bad = infer(values=[0.1, float("nan")])
    assert {outcome(channel, "ModelInfer", bad)[0] for _ in range(50)} == {"INVALID_ARGUMENT"}


def test_watch_ok(idle, channel):
    watchers = [Watcher(channel) for _ in range(CALLS)]
    assert until(lambda: total(idle, "foretoken_streams_live") == CALLS)
    for each in watchers:
        each.go_on(observed(1, 0.2), observed(2, 0.3))
    assert {each.code() for each in watchers} == {"OK"}


def test_watch_cancelled(idle, channel):
    watchers = [Watcher(channel) for _ in range(CALLS)]
    assert until(lambda: total(idle, "foretoken_streams_live") == CALLS)
    for each in watchers:
        each.stream.cancel()
    assert {each.code() for each in watchers} == {"CANCELLED"}


def test_watch_timed_out(idle, channel):
    watchers = [Watcher(channel, timeout=3) for _ in range(CALLS)]
    assert {each.code() for each in watchers} == {"DEADLINE_EXCEEDED"}


def test_watch_error(idle, channel):
    watchers = [Watcher(channel) for _ in range(CALLS)]
    for each in watchers:
        each.go_on(observed(0.1, 0.2))  # before what was seen already
    assert {each.code() for each in watchers} == {"INVALID_ARGUMENT"}


@pytest.mark.parametrize("kind", ["unary", "watch"])
def test_client_killed(idle, kind):
    client = subprocess.Popen(
        [sys.executable, "-c", KILLED, idle.address, kind],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdout.readline() == b"busy\n"
    assert until(lambda: live(idle) > 0)
    client.send_signal(signal.SIGKILL)
    client.wait()
    client.stdin.close()
    client.stdout.close()


def test_shutdown_ends_calls_and_streams():
    """In-flight calls are answered, streams that wait for their callers end; nobody is left."""
    with serving(workers=2) as server, grpc.insecure_channel(server.address) as channel:
        call(channel, "ModelInfer", infer(values=[0.1, 0.2]))
        watchers = [Watcher(channel) for _ in range(CALLS)]
        unary = [future(channel, large()) for _ in range(2)]
        assert until(lambda: total(server, "foretoken_calls_waiting") > 0)
        assert server.stop() == 0  # and ``serving`` sees to it that no process is left
        assert all(f.result(30) for f in unary)
        assert {each.code() for each in watchers} == {"UNAVAILABLE"}
