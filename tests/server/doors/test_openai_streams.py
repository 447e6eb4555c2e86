"""Streams of OpenAI's API that do not end well: callers who go, errors on the way, deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time

import pytest

from foretoken.errors import InternalError, Overloaded
from foretoken.server.log import Log
from foretoken.server.plane import Plane
from foretoken.server.settings import load_settings
from tests.asynchronous import awaited
from tests.generating import registered
from tests.server.doors.http_port import Running
from tests.server.doors.openai_port import Tokens, port, post, streamed

TEXTS = "/v1/completions"
# Both choices of two have all of their tokens with this seed.
LONG = {
    "model": "sums",
    "prompt": "1+2=",
    "max_tokens": 55,
    "temperature": 2.0,
    "seed": 0,
    "chain": [0, 1, 2] * 4,
}
PAUSE = 0.005  # seconds that a turn takes longer: an answer takes four


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with registered(tmp_path_factory.mktemp("openai")) as registry:
        yield registry


async def slowed(running):
    """The generator of the model, which takes its time."""
    generator = (await running.plane.describe("sums")).generator
    turn = generator.turn

    def late():
        time.sleep(PAUSE)
        return turn()

    generator.turn = late
    return generator


async def settled(generator):
    async with asyncio.timeout(10):
        while generator.busy or generator.blocks.free < generator.blocks.count:
            await asyncio.sleep(0.005)


async def opened(running, said, path=TEXTS):
    """A connection on which a call was made."""
    body = json.dumps(said).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


@contextlib.contextmanager
def logged(folder):
    """A log, and what it has recorded once it is closed."""
    path, records = folder / "log", []
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = Log(fd=fd, flush=0.01)
    yield log, records
    log.close()
    os.close(fd)
    records += map(json.loads, path.read_text().splitlines())


@pytest.mark.parametrize("after", [0, 1, 5])
@awaited
async def test_a_caller_that_goes_frees_the_blocks_of_its_answer(registry, tmp_path, after):
    with logged(tmp_path) as (log, records):
        async with port(registry, log=log) as running:
            generator = await slowed(running)
            reader, writer = await opened(running, {**LONG, "stream": True, "n": 2})
            if after:
                await reader.readuntil(b"\r\n\r\n")
            for _ in range(after):
                await reader.readuntil(b"\n\n")
            async with asyncio.timeout(10):
                while generator.blocks.free == generator.blocks.count:
                    await asyncio.sleep(0.005)
            turns = generator.turns
            writer.close()
            await settled(generator)
            assert generator.turns - turns < 400, "it was given up, not finished"
            async with asyncio.timeout(10):
                while running.plane.inflight:
                    await asyncio.sleep(0.005)
    (record,) = records
    assert (record["code"], record["error"], record["model"]) == ("CANCELLED", "Cancelled", "sums")


@awaited
async def test_a_caller_that_goes_before_an_answer_that_is_not_streamed(registry):
    async with port(registry) as running:
        generator = await slowed(running)
        _, writer = await opened(running, LONG)
        async with asyncio.timeout(10):
            while generator.blocks.free == generator.blocks.count:
                await asyncio.sleep(0.005)
        turns = generator.turns
        writer.close()
        await settled(generator)
        assert generator.turns - turns < 400


@awaited
async def test_others_go_on_when_many_callers_go(registry):
    async with port(registry) as running:
        asked = {**LONG, "chain": [0, 2, 1], "seed": 5}
        _, wanted, _ = await post(running, asked, TEXTS)
        generator = await slowed(running)
        staying = [asyncio.ensure_future(streamed(running, asked, TEXTS)) for _ in range(3)]
        for i in range(10):
            reader, writer = await opened(running, {**LONG, "stream": True, "seed": i})
            if i % 2:
                await reader.readuntil(b"\n\n")
            writer.close()
        for events in await asyncio.gather(*staying):
            text = "".join(said["choices"][0]["text"] for _, said in events[:-1])
            assert (text, events[-1][1]) == (wanted["choices"][0]["text"], "[DONE]")
        await settled(generator)


@awaited
async def test_a_deadline_on_the_way_is_an_event(registry, tmp_path):
    with logged(tmp_path) as (log, records):
        async with port(registry, log=log, deadline=2.0) as running:
            generator = await slowed(running)
            events = await streamed(running, LONG, TEXTS)
            assert len(events) > 1
            assert {kind for kind, _ in events[:-1]} == {""}
            kind, said = events[-1]
            assert (kind, said["error"]["type"]) == ("error", "server_error")
            assert "deadline passed" in said["error"]["message"]
            await settled(generator)
            status, said, _ = await post(running, LONG, TEXTS)
            assert (status, said["error"]["type"]) == (504, "server_error")
    assert [each["error"] for each in records] == ["DeadlineExceeded"] * 2


class Failing:
    """A plane whose answers end with an error, after some tokens."""

    def __init__(self, real, tokens, error):
        self.registry, self.describe = real.registry, real.describe
        self.real, self.tokens, self.error = real, tokens, error

    async def answer(self, loaded, requests, terms, emit):
        answers = await self.real.answer(loaded, requests, terms)
        for token in answers.replies[0].tokens[: self.tokens]:
            emit(0, token)
            await asyncio.sleep(0.01)
        raise self.error


@pytest.mark.parametrize("tokens", [0, 3])
@pytest.mark.parametrize(
    ("error", "status", "code", "name"),
    [
        (Overloaded("no room", retry_after=1.5), 429, "rate_limit_exceeded", "Overloaded"),
        (InternalError("it broke"), 500, None, "InternalError"),
        (ZeroDivisionError("secret"), 500, None, "InternalError"),
    ],
)
@awaited
async def test_errors_before_the_first_event_are_statuses_and_then_events(
    registry, tmp_path, tokens, error, status, code, name
):
    real = Plane(registry, load_settings())
    asked = {"model": "sums", "prompt": "1+2=", "max_tokens": 5, "logprobs": 0}
    with logged(tmp_path) as (log, records):
        async with Running(plane=Failing(real, tokens, error), gate=Tokens(), log=log) as running:
            if tokens:
                *first, (kind, said) = await streamed(running, asked, TEXTS)
                assert (len(first), kind) == (tokens, "error")
            else:
                found, said, headers = await post(running, {**asked, "stream": True}, TEXTS)
                assert (found, headers["content-type"]) == (status, "application/json")
            assert said["error"]["code"] == code
            assert "secret" not in said["error"]["message"]
    await real.close()
    assert records[-1]["error"] == name
    if status == 500:
        assert records[0]["id"] in said["error"]["message"]


@awaited
async def test_bodies_of_streams_are_in_flight_until_they_end(registry):
    async with port(registry, inflight_bytes=400) as running:
        generator = await slowed(running)
        padded = {**LONG, "stream": True, "user": "u" * 200}
        reader, writer = await opened(running, padded)
        await reader.readuntil(b"\r\n\r\n")
        status, said, _ = await post(running, padded, TEXTS)
        assert (status, said["error"]["code"]) == (429, "rate_limit_exceeded")
        writer.close()
        await settled(generator)
        await asyncio.sleep(0.1)
        status, _, _ = await post(running, {**padded, "stream": False, "max_tokens": 1}, TEXTS)
        assert status == 200


@awaited
async def test_streams_under_way_end_when_the_port_is_closed(registry):
    async with port(registry) as running:
        generator = await slowed(running)
        going = asyncio.ensure_future(streamed(running, {**LONG, "max_tokens": 10}, TEXTS))
        async with asyncio.timeout(10):
            while generator.blocks.free == generator.blocks.count:
                await asyncio.sleep(0.005)
        await running.door.stop(30)
        assert (await going)[-1][1] == "[DONE]"
