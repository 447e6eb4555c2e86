"""Aliases that move and workers that die, under load."""

from __future__ import annotations

import os
import signal
import time

import grpc
import numpy as np
import pytest

from foretoken.client import Client
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.server.registry.registry import Registry
from tests.load.calling import call, infer
from tests.load.watching import until
from tests.serving import serving

CALLERS = 6
VALUES, AT = np.linspace(0.1, 0.6, 20), np.arange(21.0, 41)


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory, tiny_lcpfn):
    """A server whose model ``curves`` has two versions that answer differently."""
    data_dir = tmp_path_factory.mktemp("data")
    with Registry.open(data_dir) as registry:
        for folder in (bundled()["lcpfn"], tiny_lcpfn):
            registry.register("curves", Artefact.read(folder))
        registry.set_alias("curves", "champion", 1)
        with serving(workers=2, data_dir=data_dir) as server:
            yield server, registry


def job(server, seconds: float, *, wait: bool = False):
    from benchmarks.load.generator import Job
    from benchmarks.load.messages import INFER, curve

    payload = curve(VALUES, AT, "curves")
    return Job(
        server.address, INFER, (payload,), seconds=seconds, callers=CALLERS, timeout=20, wait=wait
    )


def flips(two_versions, seconds: float) -> None:
    from benchmarks.load.processes import generating

    server, registry = two_versions
    with grpc.insecure_channel(server.address) as channel:
        request, versions = infer("curves", values=VALUES), set()
        with generating(job(server, seconds)) as load:
            end, moves = time.monotonic() + seconds, 0
            while time.monotonic() < end or moves < 2:
                target = 1 + moves % 2
                registry.set_alias("curves", "champion", target)
                moves += 1
                moved = time.monotonic()
                assert until(lambda t=target: answered_by(channel, request) == t, 20)
                versions.add(target)
                time.sleep(max(0.0, 1.0 - (time.monotonic() - moved)))
            result = load.result()
    assert versions == {1, 2}
    assert result.failed == 0, result.details
    assert result.calls > 50 * seconds / 5


def answered_by(channel, request) -> int:
    return int(call(channel, "ModelInfer", request).model_version)


def test_no_call_fails_while_an_alias_moves(two_versions):
    flips(two_versions, 5.0)


@pytest.mark.slow
def test_no_call_fails_in_a_minute_of_moves(two_versions):
    flips(two_versions, 60.0)


def test_a_killed_worker_fails_only_what_it_had_in_flight(two_versions):
    """Bare calls, which nothing repeats, and which wait while gRPC connects again.

    A caller may lose two: the one in flight, and one that went out before gRPC saw the end.
    """
    from benchmarks.load.processes import generating

    server, _ = two_versions
    with Client(server.address) as ours, generating(job(server, 6.0, wait=True)) as load:
        time.sleep(1.5)
        victim = server.workers[0]
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        answers = 0
        while time.monotonic() - killed < 3.0:
            ours.extrapolate("curves", VALUES, at=AT)  # which tries again, and so does not fail
            answers += 1
        assert until(lambda: len(server.workers) == 2 and victim not in server.workers, 20)
        result = load.result()
    failed = {code: count for code, count in result.codes.items() if code != "OK"}
    assert set(failed) <= {"UNAVAILABLE"}
    assert sum(failed.values()) <= 2 * CALLERS, result.details
    assert answers > 3
    assert result.codes["OK"] > CALLERS
