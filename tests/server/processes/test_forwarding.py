"""Forwarding: calls between workers, many at once, and what becomes of them when one dies."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import socket
import stat
import time
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop

from foretoken.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    NotFound,
    Overloaded,
    Unavailable,
)
from foretoken.server.log import Log
from foretoken.server.processes.forwarding import BESIDE, SLACK, Forwarding, calls_of
from foretoken.server.processes.frames import Frames, What
from foretoken.server.sessions.others import Gone, Moved
from foretoken.server.terms import Caller, Scope, Terms

ANYONE = Terms()
MESSAGE = 1 << 20
TERMS = Terms(
    Caller("ann", frozenset([Scope.PREDICT]), "t"), time.monotonic() + 86400, 3, "k", "r-1"
)


@pytest.fixture
def log(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        log = Log(fd=file.fileno())
        log.path = tmp_path / "log"
        yield log
        log.close()


class Other:
    """What a worker answers; it keeps what it was asked."""

    def __init__(self):
        self.asked = []
        self.dropped = []
        self.running = self.cancelled = 0
        self.free = asyncio.Event()
        self.free.set()
        self.error = None
        self.times = 1

    async def answer(self, terms, packed):
        self.asked.append((terms, packed))
        self.running += 1
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if self.error is not None:
            raise self.error
        return packed[::-1] * self.times

    async def drop(self, key, terms):
        self.dropped.append((key, terms))


@asynccontextmanager
async def two(run, log, most=100):
    """This worker, number 1, and what number 2 answers."""
    other = Other()
    ways = [Forwarding(run, number, MESSAGE, most, log) for number in (1, 2)]
    for way in ways:
        await way.start(other.answer, other.drop)
    try:
        yield ways[0], other
    finally:
        for way in ways:
            await way.stop()
        await asyncio.sleep(0)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine on each of the event loops that workers may have."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def run(coming):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(coming)

    return run


def test_terms_and_messages_arrive_as_they_were_sent(tmp_path, log, run):
    large = os.urandom(MESSAGE)

    async def work():
        async with two(tmp_path, log) as (one, other):
            assert await one.ask(2, TERMS, b"abc") == b"cba"
            assert await one.ask(2, ANYONE, b"") == b""
            assert await one.ask(2, ANYONE, large) == large[::-1]
            await one.drop(2, "key", TERMS)
            assert other.asked == [(TERMS, b"abc"), (ANYONE, b""), (ANYONE, large)]
            assert other.dropped == [("key", TERMS)]

    run(work())
    assert list(tmp_path.glob("*.calls")) == []


def test_an_answer_may_be_larger_than_any_message(tmp_path, log, run):
    async def work():
        async with two(tmp_path, log) as (one, other):
            other.times = 5
            large = os.urandom(MESSAGE)
            assert await one.ask(2, ANYONE, large) == 5 * large[::-1]
            assert await one.ask(2, ANYONE, b"abc") == b"cba" * 5

    run(work())


def test_many_calls_share_a_connection_and_begin_in_their_order(tmp_path, log, run):
    async def work():
        async with two(tmp_path, log, most=500) as (one, other):
            other.free.clear()
            coming = [asyncio.ensure_future(one.ask(2, ANYONE, b"%d" % i)) for i in range(300)]
            while other.running < 300:
                await asyncio.sleep(0.001)
            other.free.set()
            answers = await asyncio.gather(*coming)
            assert answers == [(b"%d" % i)[::-1] for i in range(300)]
            assert [packed for _, packed in other.asked] == [b"%d" % i for i in range(300)]

    run(work())


def test_calls_to_one_worker_are_bounded(tmp_path, log, run):
    async def work():
        async with two(tmp_path, log, most=5) as (one, other):
            other.free.clear()
            coming = [asyncio.ensure_future(one.ask(2, ANYONE, b"x")) for _ in range(9)]
            async with asyncio.timeout(30):  # four are refused, and the others wait
                while other.running < 5 or sum(each.done() for each in coming) < 4:
                    await asyncio.sleep(0.01)
            assert other.running == 5
            other.free.set()
            done = await asyncio.gather(*coming, return_exceptions=True)
            assert [type(each) for each in done] == [bytes] * 5 + [Overloaded] * 4

    run(work())


@pytest.mark.parametrize(
    "error",
    [NotFound("no such thing"), FailedPrecondition("at 3"), Overloaded("full", 7.5), Moved("gone")],
)
def test_errors_arrive_as_they_were_raised(tmp_path, log, run, error):
    async def work():
        async with two(tmp_path, log) as (one, other):
            other.error = error
            with pytest.raises(type(error)) as caught:
                await one.ask(2, ANYONE, b"x")
            assert type(caught.value) is type(error)
            assert getattr(caught.value, "retry_after", 0) == getattr(error, "retry_after", 0)
            if not isinstance(error, Moved):
                assert str(caught.value) == str(error)

    run(work())


def test_bugs_are_told_by_an_id_that_stands_in_the_log(tmp_path, log, run):
    async def work():
        async with two(tmp_path, log) as (one, other):
            other.error = ZeroDivisionError("secret")
            with pytest.raises(InternalError) as caught:
                await one.ask(2, ANYONE, b"x")
            return str(caught.value)

    told = run(work())
    assert "secret" not in told
    log.close()
    (line,) = log.path.read_text().splitlines()
    assert json.loads(line)["kind"] == "builtins.ZeroDivisionError"
    assert json.loads(line)["id"] in told


def test_callers_who_go_are_worked_for_no_longer(tmp_path, log, run):
    async def work():
        async with two(tmp_path, log) as (one, other):
            other.free.clear()
            coming = [asyncio.ensure_future(one.ask(2, ANYONE, b"x")) for _ in range(3)]
            while other.running < 3:
                await asyncio.sleep(0.001)
            coming[1].cancel()
            while other.cancelled < 1:
                await asyncio.sleep(0.001)
            other.free.set()
            done = await asyncio.gather(*coming, return_exceptions=True)
            assert [type(each) for each in done] == [bytes, asyncio.CancelledError, bytes]
            other.free.clear()
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                await one.ask(2, Terms(deadline=began + 0.1), b"x")
            assert 0.1 <= time.monotonic() - began < 5 * SLACK + 1
            while other.cancelled < 2:
                await asyncio.sleep(0.001)

    run(work())


def test_where_nobody_is_nobody_was_asked(tmp_path, log, run):
    async def work():
        async with two(tmp_path, log) as (one, _):
            assert one.alive(2)
            assert not one.alive(3)
            with pytest.raises(Gone):
                await one.ask(3, ANYONE, b"x")
            with socket.socket(socket.AF_UNIX) as left:  # what a killed worker leaves behind
                left.bind(str(calls_of(tmp_path, 4)))
            with pytest.raises(Gone):
                await one.drop(4, "key", ANYONE)

    run(work())


def serve_slowly(run):
    async def work():
        other = Other()
        other.free.clear()
        way = Forwarding(run, 2, MESSAGE, 100, Log(fd=os.open(os.devnull, os.O_WRONLY)))
        await way.start(other.answer, other.drop)
        await asyncio.sleep(60)

    asyncio.run(work())


def test_whoever_waits_for_a_worker_that_dies_is_told_at_once(tmp_path, log, run):
    child = multiprocessing.get_context("spawn").Process(target=serve_slowly, args=(tmp_path,))
    child.start()

    async def work():
        one = Forwarding(tmp_path, 1, MESSAGE, 100, log)
        while not one.alive(2):
            await asyncio.sleep(0.01)
        coming = [asyncio.ensure_future(one.ask(2, ANYONE, b"x")) for _ in range(5)]
        await asyncio.sleep(0.3)
        os.kill(child.pid, signal.SIGKILL)
        for each in await asyncio.wait_for(asyncio.gather(*coming, return_exceptions=True), 5):
            assert type(each) is Unavailable
            assert "is not known" in str(each)
        child.join(10)  # its connections are closed before it is gone
        with pytest.raises(Gone):
            await one.ask(2, ANYONE, b"x")
        await one.stop()

    run(work())


def test_the_socket_is_the_user_s_alone(tmp_path, log, run):
    async def work():
        async with two(tmp_path, log):
            return stat.S_IMODE(calls_of(tmp_path, 1).stat().st_mode)

    assert run(work()) == 0o600


def test_folders_with_long_names_do(tmp_path, log, run):
    folder = tmp_path / ("x" * 90) / ("y" * 90)
    folder.mkdir(parents=True)

    async def work():
        async with two(folder, log) as (one, _):
            return await one.ask(2, ANYONE, b"ab")

    assert run(work()) == b"ba"


@pytest.mark.parametrize(
    "sent",
    [
        (MESSAGE + BESIDE).to_bytes(4, "little") + bytes(20),  # too long
        (3).to_bytes(4, "little") + bytes(20),  # too short
        (9).to_bytes(4, "little") + b"\xff" + bytes(8),  # nothing that there is
    ],
    ids=["long", "short", "unknown"],
)
def test_what_is_no_frame_ends_the_connection(tmp_path, log, run, sent):
    async def work():
        async with two(tmp_path, log) as (one, _):
            reader, writer = await asyncio.open_unix_connection(str(calls_of(tmp_path, 2)))
            writer.write(sent)
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            assert await one.ask(2, ANYONE, b"ab") == b"ba"

    run(work())


def test_frames_arrive_whole_however_they_are_cut():
    heard = []
    frames = Frames(1000, lambda _, *frame: heard.append(frame), lambda _: None)
    sent = b""

    class Transport:
        def write(self, data):
            nonlocal sent
            sent += data

    writer = Frames(1000, lambda *_: None, lambda _: None)
    writer.connection_made(Transport())
    said = [(What.ASK, 1, b"abc"), (What.ANSWER, 1 << 40, b""), (What.CANCEL, 3, bytes(900))]
    for frame in said:
        writer.write(*frame)
    for size in (1, 2, 7, 100, len(sent)):
        heard.clear()
        for at in range(0, len(sent), size):
            frames.data_received(sent[at : at + size])
        assert heard == said
