"""Memory after many calls and many cancelled streams."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.load.calling import infer
from tests.load.watching import SHARED, live, memory, until

KIB, MIB = 1 << 10, 1 << 20
SHORT = infer(values=np.array([0.1, 0.2, 0.3]), steps=np.arange(1.0, 4), at=np.array([4.0]))


def calls(server, count: int) -> None:
    """At least ``count``, none of which fails."""
    from benchmarks.load.generator import Job
    from benchmarks.load.messages import INFER
    from benchmarks.load.processes import generate

    payload, made = SHORT.SerializeToString(), 0
    while made < count:
        result = generate(Job(server.address, INFER, (payload,), seconds=1.0, timeout=60))
        assert result.failed == 0, result.details
        made += result.calls


def streams(server, count: int) -> None:
    import asyncio

    from benchmarks.load.streams import cancelled

    method = "/inference.GRPCInferenceService/ModelStreamInfer"
    asyncio.run(cancelled(server.address, method, SHORT.SerializeToString(), count))


def grown(server, load, count: int) -> float:
    """Bytes by which the workers grow for each of ``count``, after a quarter as many."""
    load(server, count // 4)
    time.sleep(SHARED)
    workers = server.workers
    before = sum(memory(pid) for pid in workers)
    load(server, count)
    time.sleep(SHARED)
    assert server.workers == workers
    return (sum(memory(pid) for pid in workers) - before) / count


def test_calls_leave_nothing(server):
    assert grown(server, calls, 2_000) * 2_000 < 16 * MIB


def test_cancelled_streams_leave_nothing(server):
    assert grown(server, streams, 400) * 400 < 16 * MIB
    assert until(lambda: live(server) == 0)


@pytest.mark.slow
def test_a_hundred_thousand_calls_leave_nothing(server):
    assert grown(server, calls, 100_000) < 256


@pytest.mark.slow
def test_ten_thousand_cancelled_streams_leave_little(server):
    """gRPC itself keeps about a hundred bytes of each."""
    assert grown(server, streams, 10_000) < 1 * KIB
    assert until(lambda: live(server) == 0)
