"""Requests that come and go while the generator runs in threads."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
import torch

from foretoken.errors import DeadlineExceeded, InternalError, Unavailable, Unsupported
from foretoken.server.engine.generation.running import Running
from foretoken.server.terms import Caller, Scope, Terms
from tests.asynchronous import awaited
from tests.server.engine.generation import assert_uncached, continuation, generator

ANYONE = Terms()
ANN, BOB = (Terms(Caller(name, frozenset(Scope), tenant=name)) for name in ("ann", "bob"))


def ignored(token):
    del token


def settled(running):
    made = running.generator
    return not made.busy and made.blocks.free == made.blocks.count


@awaited
async def test_answers_come_token_by_token():
    running, heard = Running(generator(), asyncio.to_thread), []
    work = continuation([1, 2, 3], (0, 1, 1), 6)
    reply = await running.generate(work, heard.append, ANYONE)
    assert reply.tokens == tuple(heard)
    assert_uncached(work, reply.tokens)
    assert settled(running)


@awaited
async def test_many_at_once_and_some_go_away():
    running = Running(generator(blocks=120), asyncio.to_thread)
    works = [
        continuation([i, 2, 3], [(0, 1, 2, 3), (0, 2), (1, 1, 1)][i % 3], 8) for i in range(12)
    ]
    tasks = [asyncio.ensure_future(running.generate(w, ignored, ANYONE)) for w in works]
    await asyncio.sleep(0)
    tasks[11].cancel()  # before it has come to the generator
    for i in (1, 4, 7):
        await asyncio.sleep(0.005)
        tasks[i].cancel()
    replies = await asyncio.gather(*tasks, return_exceptions=True)
    for i, (work, reply) in enumerate(zip(works, replies, strict=True)):
        if not isinstance(reply, BaseException):
            assert_uncached(work, reply.tokens)
            assert len(reply.tokens) == 8
        else:
            assert i in (1, 4, 7, 11)
    while running.generator.busy:
        await asyncio.sleep(0.005)
    assert settled(running)
    # And it goes on.
    assert len((await running.generate(works[0], ignored, ANYONE)).tokens) == 8


@awaited
async def test_prefixes_are_shared_within_a_tenant():
    running, prompt = Running(generator(), asyncio.to_thread), [3] * 9
    reused = [
        (await running.generate(continuation(prompt), ignored, terms)).reused
        for terms in (ANN, BOB, ANN, ANYONE)
    ]
    assert reused == [0, 0, 8, 0]


@awaited
async def test_a_deadline_ends_a_request():
    running = Running(generator(), asyncio.to_thread)
    terms = replace(ANYONE, deadline=time.monotonic() + 0.03)
    with pytest.raises(DeadlineExceeded):
        await running.generate(continuation([1], (0, 1, 2, 3) * 4, 90), ignored, terms)
    while running.generator.busy:
        await asyncio.sleep(0.005)
    assert settled(running)


@awaited
async def test_what_is_refused_is_its_own_callers_matter():
    running = Running(generator(blocks=10), asyncio.to_thread)
    fine = asyncio.ensure_future(running.generate(continuation([1], (0,), 5), ignored, ANYONE))
    with pytest.raises(Unsupported, match="needs"):
        await running.generate(continuation([1] * 50), ignored, ANYONE)
    assert len((await fine).tokens) == 5


@awaited
async def test_whoever_listens_badly_ends_alone():
    running = Running(generator(), asyncio.to_thread)

    def broken(token):
        raise RuntimeError(f"cannot hear {token.id}")

    fine = asyncio.ensure_future(running.generate(continuation([2]), ignored, ANYONE))
    with pytest.raises(RuntimeError, match="cannot hear"):
        await running.generate(continuation([1]), broken, ANYONE)
    assert len((await fine).tokens) == 5
    while running.generator.busy:
        await asyncio.sleep(0.005)
    assert settled(running)


@awaited
async def test_a_model_that_fails_fails_those_in_it_and_serves_the_next(monkeypatch):
    running = Running(generator(), asyncio.to_thread)
    executor = running.generator._executor
    right = executor.logits
    monkeypatch.setattr(executor, "logits", lambda batch: torch.zeros(1)[5])
    asked = [running.generate(continuation([i]), ignored, ANYONE) for i in range(3)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(each, InternalError) for each in found)
    assert settled(running)
    monkeypatch.setattr(executor, "logits", right)
    work = continuation([5])
    assert_uncached(work, (await running.generate(work, ignored, ANYONE)).tokens)


@awaited
async def test_when_no_threads_are_lent_any_longer_nobody_waits():
    async def gone(work):
        raise RuntimeError("cannot schedule new futures after shutdown")

    running = Running(generator(), gone)
    with pytest.raises(Unavailable, match="closing"):
        await running.generate(continuation([1]), ignored, ANYONE)


@awaited
async def test_nor_whoever_arrives_while_the_last_turns_are_given_up():
    begun, end = asyncio.Event(), asyncio.Event()

    async def gone(work):
        begun.set()
        await end.wait()
        raise asyncio.CancelledError

    running = Running(generator(), gone)
    first = asyncio.ensure_future(running.generate(continuation([1]), ignored, ANYONE))
    await begun.wait()
    second = asyncio.ensure_future(running.generate(continuation([2]), ignored, ANYONE))
    await asyncio.sleep(0)
    end.set()
    for each in (first, second):
        with pytest.raises(Unavailable, match="closing"):
            await asyncio.wait_for(each, 5)


class Broken:
    """Reads one token, and no more."""

    stopped = False

    def __init__(self):
        self.left = 1

    def read(self, token, *, last):
        self.left -= 1
        if self.left < 0:
            raise ValueError("no such character")
        return "?"


@awaited
async def test_a_reader_that_fails_ends_its_own_answer_and_no_other():
    running = Running(generator(), asyncio.to_thread)
    works = [continuation([i, 2, 3], (0, 1), 8) for i in range(4)]
    works[2] = replace(works[2], reader=Broken())
    tasks = [running.generate(work, ignored, ANYONE) for work in works]
    replies = await asyncio.gather(*tasks, return_exceptions=True)
    for i, (work, reply) in enumerate(zip(works, replies, strict=True)):
        if i == 2:
            assert isinstance(reply, InternalError)
            assert "no such character" in str(reply)
        else:
            assert_uncached(work, reply.tokens)
    assert settled(running)
