"""Streams that are cancelled at random points beside others: those go on as if they were alone.

Answers would go on for two thousand tokens, so whatever is not cancelled keeps its blocks. Chains
differ, and blocks are too few for all, so that requests are preempted meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from foretoken import AsyncClient
from foretoken.errors import Cancelled, DeadlineExceeded
from foretoken.models.cola.vocabulary import VOCABULARY
from foretoken.server.registry.registry import Registry
from tests.load.watching import SHARED, live, total, until
from tests.serving import serving
from tests.toys import cola

RESULT = Path(__file__).resolve().parents[2] / "benchmarks/results/generation_cancelled.json"
LAYERS, POSITIONS = cola.CONFIG["shape"]["layers"], 2048
ENDLESS = {"positions": POSITIONS, "generation": {"ends": [], "sample": False}}
FREE = "foretoken_kv_blocks_free"
BLOCKS = 512  # of one worker
TOGETHER = 24  # streams to be cancelled that are open at a time
MOST = 40  # tokens of an answer that is not cancelled
LONG = 600  # of one that is: the longest chain's fill the pool
HOW = ("closed", "cancelled", "late")


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
        artefact = cola.written(model, tmp_path_factory.mktemp("sums"))
        registry.register("sums", replace(artefact, config={**artefact.config, **ENDLESS}))
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
    how = rng.choice(HOW)
    patience = rng.uniform(0.001, 0.2) if how == "late" else None
    answer = client.generate(
        "sums", prompt, chain, max_tokens=LONG, temperature=2.0, timeout=patience
    )

    async def taken(count: int) -> None:
        for _ in range(count):
            await anext(answer)

    work = asyncio.ensure_future(taken(rng.randint(0, MOST) if how == "closed" else LONG))
    try:
        if how == "cancelled":
            await asyncio.sleep(rng.uniform(0, 0.2))
            work.cancel()
        await work
    except (asyncio.CancelledError, Cancelled, DeadlineExceeded):
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


@torch.no_grad()
def alone(model, prompt: str, chain: tuple[int, ...]) -> list[int]:
    """The answer's tokens, without any cache."""
    ids = VOCABULARY.encode(prompt)
    begin = len(ids)
    for _ in range(MOST):
        ids.append(int(model(torch.tensor([ids]), chain)[0, -1].argmax()))
    return ids[begin:]


def expect_undisturbed(server, model, leaving: int, staying: int) -> dict[str, object]:
    """Whoever stays hears what it would alone, and nothing is kept; gives the figures."""
    assert until(lambda: total(server, FREE) == 2 * BLOCKS), "the start value"
    seen = asyncio.run(streams(server.address, leaving, staying))
    assert len(seen.cancelled) == leaving
    assert set(seen.cancelled) == set(HOW)
    assert len(seen.answers) >= staying
    for prompt, chain, ids in seen.answers:
        assert ids == alone(model, prompt, chain), (prompt, chain)
    time.sleep(SHARED)
    assert until(lambda: total(server, FREE) == 2 * BLOCKS), "blocks are kept"
    assert until(lambda: live(server) == 0), "a stream lives on"
    assert total(server, "foretoken_sessions_live") == 0
    return {
        "streams cancelled": dict(Counter(seen.cancelled)),
        "streams beside them": staying,
        "their answers, all as alone": len(seen.answers),
        "requests preempted": int(total(server, "foretoken_preemptions_total")),
        "blocks at the start": 2 * BLOCKS,
        "blocks that were kept": 0,
        "live sessions afterwards": 0,
    }


def test_cancelled_streams_disturb_nobody(server, model):
    expect_undisturbed(server, model, 60, 8)


@pytest.mark.slow
def test_five_hundred_cancelled_streams_disturb_nobody(server, model):
    figures = expect_undisturbed(server, model, 500, 50)
    RESULT.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
