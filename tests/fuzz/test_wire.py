"""Mutated messages of every method: typed errors, a server that lives, memory that stays.

The seed is fixed; ``FUZZ_SEED`` takes another one.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest

from foretoken.client import Client
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.proto.grpc_service import RepositoryModelLoadRequest
from tests.fuzz.mutate import mutated
from tests.fuzz.samples import PREDICTED, Sample, samples
from tests.load.watching import memory

RESULT = Path(__file__).resolve().parents[2] / "benchmarks/results/fuzz.json"
SEED = int(os.environ.get("FUZZ_SEED", "20261123"))
AT_ONCE = 32
ENDS = 0.2  # seconds after which calls that the server never ends are left
LONGEST = 30.0
# A bug would be INTERNAL or UNKNOWN, a server that is gone UNAVAILABLE.
TYPED = {
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "UNIMPLEMENTED",
    "RESOURCE_EXHAUSTED",
}
UPLOAD = "/foretoken.v1.Registry/Register"  # bytes that are not those announced: DATA_LOSS
# What grpc.aio's own client makes of a write to a stream that the server has just ended.
TOO_LATE = "Internal error from Core"
MIB = 1 << 20


@pytest.fixture(scope="module")
def valid() -> list[Sample]:
    return samples(Artefact.read(bundled()["lcpfn"]))


def test_every_sample_is_a_valid_call(server, valid):
    """What is mutated must be understood: samples with content do not fail as malformed."""
    found = asyncio.run(send(server.address, [s for s in valid if any(s.messages)]))
    assert not {m for m, _, text in found if "malformed" in text}
    assert {code for _, code, _ in found} <= TYPED


def test_mutated_messages_are_answered_by_typed_errors(server, valid):
    fuzzed(server, valid, 2_000)


@pytest.mark.slow
def test_a_hundred_thousand_mutated_messages(server, valid):
    RESULT.write_text(json.dumps(fuzzed(server, valid, 100_000), indent=1) + "\n", "utf-8")


def fuzzed(server, valid: Sequence[Sample], count: int) -> dict[str, object]:
    """Send ``count`` mutated calls; the server must answer as before, with the memory it had.

    Gives the figures.
    """
    rng, before = random.Random(SEED), answer(server)
    codes: Counter[str] = Counter()
    bad: list[tuple[str, str, str]] = []
    workers, filled = server.workers, 0.0
    for part in range(10):
        calls = [mutated(rng.choice(valid), rng) for _ in range(count // 10)]
        found = asyncio.run(send(server.address, calls))
        codes.update(code for _, code, _ in found)
        bad += [each for each in found if not typed(*each)]
        if part == 2:
            filled = sum(memory(pid) for pid in workers)
    assert bad == []
    assert server.workers == workers, "a worker died"
    assert codes["INVALID_ARGUMENT"] > count / 10, codes
    np.testing.assert_allclose(answer(server), before, rtol=1e-6)
    grown = sum(memory(pid) for pid in workers) - filled
    assert grown < 48 * MIB, f"{count} messages: {dict(codes)}"
    return {
        "messages": count,
        "seed": SEED,
        "codes": dict(codes.most_common()),
        "untyped errors": len(bad),
        "workers that died": 0,
        "MiB after three tenths": round(filled / MIB, 1),
        "MiB that were added until the end": round(grown / MIB, 1),
    }


def typed(method: str, code: str, text: str) -> bool:
    """Whether a call ended as it may."""
    return code in TYPED or (method == UPLOAD and code == "DATA_LOSS" and "hash to" in text)


def answer(server) -> object:
    """The mean of a known curve; the model is loaded if a mutated message has unloaded it."""
    with grpc.insecure_channel(server.address) as channel:
        load = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
        load(RepositoryModelLoadRequest(model_name=PREDICTED).SerializeToString(), timeout=LONGEST)
    with Client(server.address) as client:
        return client.extrapolate(f"{PREDICTED}:1", [0.1, 0.2, 0.4], at=[9.0, 20.0]).mean


async def send(address: str, calls: Sequence[Sample]) -> list[tuple[str, str, str]]:
    """Make all calls, some at a time; method, status and its text of each."""
    left = iter(calls)
    found: list[tuple[str, str, str]] = []

    async def work(channel: grpc.aio.Channel) -> None:
        for call in left:
            outcome = await one(channel, call)
            found.append(outcome)

    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        await asyncio.gather(*(work(channel) for _ in range(AT_ONCE)))
    return found


async def one(channel: grpc.aio.Channel, sample: Sample) -> tuple[str, str, str]:
    """Make a call and read all that comes back."""
    timeout = ENDS if sample.endless else LONGEST
    try:
        if sample.stream:
            call = channel.stream_stream(sample.method)(streamed(sample), timeout=timeout)
            async for _ in call:
                pass
        elif sample.upload:
            await channel.stream_unary(sample.method)(streamed(sample), timeout=timeout)
        else:
            await channel.unary_unary(sample.method)(sample.messages[0], timeout=timeout)
    except grpc.aio.AioRpcError as e:
        code = e.code().name
        if sample.endless and code == "DEADLINE_EXCEEDED":
            code = "OK"
        if code == "INTERNAL" and e.details() == TOO_LATE:
            code = "FAILED_PRECONDITION"
        return sample.method, code, str(e.details())
    return sample.method, "OK", ""


async def streamed(sample: Sample) -> AsyncIterator[bytes]:
    for message in sample.messages:
        yield message
