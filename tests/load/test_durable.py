"""Workers are killed under durable streams: every client gets what it would have got anyway."""

from __future__ import annotations

import asyncio

import pytest

from foretoken.server.registry.registry import Registry
from tests.serving import serving
from tests.toy_families import toy_families


@pytest.fixture(scope="module")
def toy_server(tmp_path_factory, published):
    home = tmp_path_factory.mktemp("durable")
    with toy_families(home) as env:
        with Registry.open(home / "data") as registry:
            registry.register("toy", published("recurrent"))
        with serving(workers=2, data_dir=home / "data", env=env) as running:
            yield running


def expect_held(server, streams, messages, deterministic, seconds, every) -> None:
    from benchmarks.durable import held, trial
    from benchmarks.load.enduring import Plan

    plan = Plan(server.address, "toy", streams, messages, deterministic)
    found = asyncio.run(trial(plan, server, seconds, every))
    assert found["kills"] >= 1, found
    assert found["resumes"] >= 1, found
    assert found["messages"] == streams * messages
    assert held(found, streams), found


@pytest.mark.parametrize("deterministic", [True, False])
def test_streams_outlive_their_workers(toy_server, deterministic):
    expect_held(toy_server, 12, 40, deterministic, 7.0, 3.0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("deterministic", [True, False])
def test_two_hundred_streams_outlive_a_kill_every_five_seconds(toy_server, deterministic):
    expect_held(toy_server, 200, 240, deterministic, 120.0, 5.0)
