"""Streams that are cancelled at random points beside others: those go on as if they were alone.

Blocks are few, so that requests are preempted meanwhile, and chains differ.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

import pytest

from foretoken import AsyncClient
from foretoken.errors import Cancelled, DeadlineExceeded
from foretoken.server.registry.registry import Registry
from tests.load.watching import SHARED, live, total, until
from tests.serving import serving
from tests.toys import cola

LAYERS = cola.CONFIG["shape"]["layers"]
FREE = "foretoken_kv_blocks_free"
BLOCKS = 256  # of one worker: a request of the longest chain takes up to 48
TOGETHER = 24  # streams to be cancelled that are open at a time
MOST = 40  # tokens of an answer


@dataclass
class Seen:
    """What became of the streams.

    Attributes:
        cancelled: how they were.
        answers: of those that were not, by prompt and chain.
    """

    cancelled: list[str] = field(default_factory=list)
    answers: list[tuple[str, tuple[int, ...], list[int]]] = field(default_factory=list)


@pytest.fixture(scope="module")
def model():
    return cola.made()


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    home = tmp_path_factory.mktemp("generation")
    with Registry.open(home) as registry:
        registry.register("sums", cola.written(model, tmp_path_factory.mktemp("sums")))
    few = f"generation_bytes = {BLOCKS << 10}"
    with serving(workers=2, data_dir=home, config=few) as running:
        yield running


def asked(rng: random.Random) -> tuple[str, tuple[int, ...]]:
    """A prompt, and a chain that may skip, repeat and reorder."""
    numbers = [str(rng.randrange(1000)) for _ in range(rng.randint(1, 4))]
    chain = [rng.randrange(LAYERS) for _ in range(rng.randint(1, 4 * LAYERS))]
    return "+".join(numbers) + "=", tuple(chain)


async def left(client: AsyncClient, rng: random.Random, seen: Seen) -> None:
    """One stream that is ended before its time, in one of three ways."""
    prompt, chain = asked(rng)
    how = rng.choice(["closed", "cancelled", "late"])
    patience = rng.uniform(0.001, 0.2) if how == "late" else None
    answer = client.generate(
        "sums", prompt, chain, max_tokens=MOST, temperature=2.0, timeout=patience
    )

    async def taken(count: int) -> None:
        for _ in range(count):
            await anext(answer)

    work = asyncio.ensure_future(taken(rng.randint(0, MOST) if how == "closed" else MOST))
    try:
        if how == "cancelled":
            await asyncio.sleep(rng.uniform(0, 0.2))
            work.cancel()
        await work
    except (asyncio.CancelledError, Cancelled, DeadlineExceeded, StopAsyncIteration):
        pass
    await answer.close()
    seen.cancelled.append(how)


async def stays(client: AsyncClient, rng: random.Random, over: asyncio.Event, seen: Seen) -> None:
    """One stream after another that nobody disturbs, until the others are over."""
    while True:
        prompt, chain = asked(rng)
        answer = client.generate("sums", prompt, chain, max_tokens=MOST)
        seen.answers.append((prompt, chain, [token.id async for token in answer]))
        if over.is_set():
            return


async def streams(address: str, leaving: int, staying: int) -> Seen:
    seen, over, room = Seen(), asyncio.Event(), asyncio.Semaphore(TOGETHER)

    async def one(client: AsyncClient, i: int) -> None:
        async with room:
            await left(client, random.Random(i), seen)

    # Connections go to workers by chance, so there are several.
    clients = [AsyncClient(address, timeout=240) for _ in range(4)]
    others = [
        asyncio.ensure_future(stays(clients[i % 4], random.Random(-1 - i), over, seen))
        for i in range(staying)
    ]
    await asyncio.gather(*[one(clients[i % 4], i) for i in range(leaving)])
    over.set()
    await asyncio.gather(*others)
    for client in clients:
        await client.close()
    return seen


def expect_undisturbed(server, model, leaving: int, staying: int) -> None:
    assert until(lambda: total(server, FREE) == 2 * BLOCKS), "the start value"
    seen = asyncio.run(streams(server.address, leaving, staying))
    assert len(seen.cancelled) == leaving
    assert set(seen.cancelled) == {"closed", "cancelled", "late"}
    assert len(seen.answers) >= staying
    for prompt, chain, ids in seen.answers:
        assert ids == cola.greedy(model, prompt, MOST, chain), (prompt, chain)
    time.sleep(SHARED)
    assert until(lambda: total(server, FREE) == 2 * BLOCKS), "blocks are kept"
    assert until(lambda: live(server) == 0), "a stream lives on"
    assert total(server, "foretoken_sessions_live") == 0


def test_cancelled_streams_disturb_nobody(server, model):
    expect_undisturbed(server, model, 60, 8)


@pytest.mark.slow
def test_five_hundred_cancelled_streams_disturb_nobody(server, model):
    expect_undisturbed(server, model, 500, 50)
