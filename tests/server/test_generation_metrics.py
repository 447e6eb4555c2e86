"""What is counted of generation: blocks, tokens, preemptions, and times."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from foretoken.models.generation import Sampling
from foretoken.models.tasks import GenerationRequest
from foretoken.server.metrics import Metrics, worker_died
from foretoken.server.metrics.cells import merge
from foretoken.server.plane import Plane
from foretoken.server.settings import load_settings
from tests.asynchronous import awaited
from tests.generating import LAYERS, registered
from tests.server.test_metrics import shown, values


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with registered(tmp_path_factory.mktemp("counted")) as registry:
        yield registry


async def told(metrics):
    return values((await metrics.text())[0])


@awaited
async def test_answers_are_counted_by_their_tokens_and_times(registry):
    metrics = Metrics()
    plane = Plane(registry, load_settings(), metrics)
    prompt = "12+34=" * 4  # 25 tokens, of which one block is full
    for _ in range(2):
        (reply,) = (await plane.predict("sums", [GenerationRequest(prompt, 5)])).replies
    found = await told(metrics)
    count = len(reply.tokens)
    assert found["foretoken_prompt_tokens_total", "sums"] == 50
    assert found["foretoken_prompt_tokens_reused_total", "sums"] == 16
    assert found["foretoken_generated_tokens_total", "sums"] == 2 * count
    assert found["foretoken_time_to_first_token_seconds_count", "sums"] == 2
    assert found["foretoken_time_between_tokens_seconds_count", "sums"] == 2 * (count - 1)
    assert found["foretoken_preemptions_total", "sums"] == 0
    # All but the last token went through all layers, but for those that were there.
    assert (reply.reused, reply.layers_run) == (16, LAYERS * (25 - 16 + count - 1))
    spent = sum(
        found["foretoken_phase_seconds_sum", "sums", phase] for phase in ("queue", "compute")
    )
    assert 0 < spent <= found["foretoken_request_seconds_sum", "sums"]
    assert found["foretoken_phase_seconds_sum", "sums", "compute"] > 0
    await plane.close()


@awaited
async def test_free_blocks_fall_while_requests_run_and_rise_when_they_end(registry):
    metrics = Metrics()
    plane = Plane(registry, load_settings(), metrics)
    await plane.describe("sums")
    start = await told(metrics)
    count = start["foretoken_kv_blocks", "sums"]
    assert start["foretoken_kv_blocks_free", "sums"] == count > 1000
    heard = asyncio.Event()
    request = GenerationRequest("1", 60, Sampling(1.0), chain=(0, 1) * 6)
    asked = plane.predict("sums", [request], emit=lambda _i, _token: heard.set())
    running = asyncio.ensure_future(asked)
    await heard.wait()
    assert (await told(metrics))["foretoken_kv_blocks_free", "sums"] <= count - 12
    running.cancel()
    async with asyncio.timeout(10):
        while (await told(metrics))["foretoken_kv_blocks_free", "sums"] < count:
            await asyncio.sleep(0.005)
    await plane.close()
    ended = await told(metrics)
    assert (ended["foretoken_kv_blocks", "sums"], ended["foretoken_kv_blocks_free", "sums"]) == (
        0,
        0,
    )


@awaited
async def test_waiting_for_blocks_counts_as_waiting(registry):
    metrics = Metrics()
    # Room for one request with its whole answer, and then for no other.
    plane = Plane(registry, load_settings(generation_bytes=1 << 16), metrics)
    pool = (await plane.describe("sums")).generator
    chain = (0, 1, 2) * 4
    longest = GenerationRequest("1+1=", 59, chain=chain)
    needed = len(chain) * 4
    assert needed <= pool.blocks.count < 2 * needed + len(chain)
    asked = [GenerationRequest(f"{i}+1=", 59, chain=chain) for i in range(4)] + [longest]
    await plane.predict("sums", asked)
    found = await told(metrics)
    queue, compute = (
        found["foretoken_phase_seconds_sum", "sums", phase] for phase in ("queue", "compute")
    )
    assert queue > 0.2 * (queue + compute), "the last waits for most of the others"
    assert found["foretoken_preemptions_total", "sums"] == pool.admission.preempted
    await plane.close()


def test_pools_of_a_model_add_up_and_are_forgotten_one_by_one():
    counted = Metrics()
    counted.pool("one", "sums", 100)
    counted.pool("two", "sums", 50)
    counted.blocks_free("one", 90)
    counted.blocks_free("two", 20)
    counted.blocks_free("three", 5)

    def blocks():
        found = shown(counted)
        return found["foretoken_kv_blocks", "sums"], found["foretoken_kv_blocks_free", "sums"]

    assert blocks() == (150, 110)
    counted.pool("one", "sums", 0)
    assert blocks() == (50, 20)
    counted.blocks_free("one", 100)  # of a request that ends after its version was dropped
    counted.blocks_free("two", 50)
    assert blocks() == (50, 50)


def test_workers_blocks_add_up_and_end_with_them_but_tokens_remain(tmp_path):
    one, two = Metrics(tmp_path), Metrics(tmp_path)
    for each in (one, two):
        each.pool("pool", "sums", 100)
        each.first_token("sums", 0.1, 7, 3)
    one.blocks_free("pool", 60)
    cells = merge([asyncio.run(Metrics.cells(Metrics())), one._own(), two._own()])
    assert cells["foretoken_kv_blocks_free", "sums"] == [160]
    assert cells["foretoken_kv_blocks", "sums"] == [200]

    async def dies():
        await two.start()
        await two.stop()
        worker_died(tmp_path, os.getpid())
        return await one.cells()

    left = asyncio.run(dies())
    assert left["foretoken_kv_blocks_free", "sums"] == [60]
    assert left["foretoken_generated_tokens_total", "sums"] == [2]
    assert left["foretoken_prompt_tokens_reused_total", "sums"] == [6]


def test_counting_a_token_costs_next_to_nothing():
    counted = Metrics()
    counted.first_token("sums", 0.1, 7, 3)
    began = time.process_time()
    for _ in range(10_000):
        counted.next_token("sums", 0.01)
    assert time.process_time() - began < 0.5
