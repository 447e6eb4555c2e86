"""Following a run over the wire."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import grpc
import numpy as np
import pytest

from foretoken import AsyncClient, Client, CurveExtrapolator
from foretoken.errors import DeadlineExceeded, InvalidInput, NotFound, Unavailable
from foretoken.proto import curves
from foretoken.stopping import advise
from tests.client_server import aborting
from tests.serving import serving

CURVE = 0.9 - 0.6 * np.arange(1.0, 21.0) ** -0.5
AT = np.arange(1.0, 31.0)


def test_each_observation_is_answered(server):
    here = CurveExtrapolator(data_dir=server.data_dir)
    with Client(server.address) as client, client.watch("lcpfn", AT, best=0.85) as watch:
        assert watch.outlook.posterior is None
        for n in range(1, 8):
            outlook = watch.push(n, CURVE[n - 1])
            expected = here.extrapolate(CURVE[:n], at=AT[n:])
            assert (outlook.observed, outlook.model, outlook.version) == (n, "lcpfn", 1)
            assert outlook.posterior.mean.tobytes() == expected.mean.tobytes()
            assert outlook.advice == advise(expected, 0.85)


def test_awaited(server):
    async def followed():
        async with (
            AsyncClient(server.address) as client,
            client.watch("lcpfn", AT, best=0.85) as watch,
        ):
            return [await watch.push(n, CURVE[n - 1]) for n in range(1, 5)]

    here = CurveExtrapolator(data_dir=server.data_dir)
    outlooks = asyncio.run(followed())
    expected = here.extrapolate(CURVE[:4], at=AT[4:])
    assert outlooks[-1].posterior.quantiles.tobytes() == expected.quantiles.tobytes()
    assert [outlook.observed for outlook in outlooks] == [1, 2, 3, 4]


def test_a_new_value_to_beat(server):
    with Client(server.address) as client, client.watch("lcpfn", AT) as watch:
        assert watch.push(1, 0.3).advice is None
        assert not watch.push(2, 0.5, best=0.1).advice.stop
        assert watch.push(3, 0.51, best=0.9999).advice.stop
        assert watch.push(4, 0.52).advice.stop  # it stays


def test_a_run_that_leads_goes_on(server):
    with Client(server.address) as client, client.watch("lcpfn", AT, best=0.9) as watch:
        watch.push(1, 0.2)
        assert not watch.push(2, 0.95).advice.stop
        assert not watch.push(3, 0.4).advice.stop


def test_a_run_that_has_begun_and_its_end(server):
    seen = (AT[:10], CURVE[:10])
    with Client(server.address) as client, client.watch("lcpfn", AT[:12], seen=seen) as watch:
        assert watch.outlook.observed == 10
        assert watch.outlook.posterior.steps.tolist() == [11.0, 12.0]
        watch.push(11, 0.7)
        assert watch.push(12, 0.7).posterior is None


@pytest.mark.parametrize("bad", [(3, 0.5), (4, 0.5), (9, 1.5), (9, float("nan"))])
def test_a_refused_observation_leaves_the_run_as_it_was(server, bad):
    with Client(server.address) as client, client.watch("lcpfn", AT, best=0.8) as watch:
        watch.push(4, 0.5)
        with pytest.raises(InvalidInput):
            watch.push(*bad, best=0.1)
        again = watch.push(5, 0.6)
    assert again.observed == 2
    expected = CurveExtrapolator(data_dir=server.data_dir)
    expected = expected.extrapolate([0.5, 0.6], steps=[4, 5], at=AT[5:])
    assert again.advice == advise(expected, 0.8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"at": []}, "at"),
        ({"at": [2, 1]}, "increasing"),
        ({"threshold": 2.0}, "threshold"),
        ({"best": float("nan")}, "best"),
        ({"bounds": (1, 0)}, "low < high"),
        ({"quantiles": [0]}, "strictly"),
        ({"seen": ([1, 2], [0.1])}, "as many"),
        ({"soft_bounds": (-1, 0.5)}, "within"),
    ],
)
def test_bad_openings_are_refused_at_once(server, given, said):
    with (
        Client(server.address) as client,
        pytest.raises(InvalidInput, match=said),
        client.watch("lcpfn", **{"at": AT, **given}),
    ):
        pass


def test_unknown_models_are_refused_at_once(server):
    with Client(server.address) as client, pytest.raises(NotFound), client.watch("nobody", AT):
        pass


def test_a_broken_stream_is_taken_up_again(fake):
    replies = [curves.WatchResponse(observed=n, model="m", version=3) for n in (0, 1, 2)]

    def answer(method, context):
        if len(fake.asked) in (2, 3):
            aborting(grpc.StatusCode.UNAVAILABLE)(method, context)
        return replies[{1: 0, 4: 1, 5: 2}[len(fake.asked)]].SerializeToString()

    fake.answer = answer
    with Client(fake.address) as client, client.watch("m", AT) as watch:
        assert watch.push(1, 0.1).observed == 1
        assert watch.push(2, 0.2).observed == 2
    assert len(fake.asked) == 5


def test_it_gives_up_when_time_is_up(fake):
    fake.answer = aborting(grpc.StatusCode.UNAVAILABLE)
    began = time.monotonic()
    with (
        Client(fake.address) as client,
        pytest.raises((DeadlineExceeded, Unavailable)),
        client.watch("m", AT, timeout=0.5),
    ):
        pass
    assert time.monotonic() - began < 10


def test_an_answer_that_does_not_come(fake):
    def answer(_method, context):
        while len(fake.asked) == 2 and context.is_active():
            time.sleep(0.01)
        return curves.WatchResponse(model="m", version=1).SerializeToString()

    fake.answer = answer
    with Client(fake.address) as client, client.watch("m", AT, timeout=1.5) as watch:
        with pytest.raises(DeadlineExceeded):
            watch.push(1, 0.1)
        watch.push(1, 0.1)  # on a new stream


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_run_survives_the_death_of_its_worker(kind):
    """Of each worker in turn: how soon one is back on this machine is not the question here."""

    async def followed(address, kill):
        async with AsyncClient(address) as client, client.watch("lcpfn", AT) as watch:
            for n in range(1, 9):
                outlook = await watch.push(n, CURVE[n - 1])
                kill(n)
        return outlook

    with serving(workers=2) as server:
        workers = server.workers

        def kill(n):
            if n == 6:
                end = time.monotonic() + 60
                while not [*server.data_dir.glob("run/*/worker-3.sock")]:
                    assert time.monotonic() < end, "no worker has come in its place"
                    time.sleep(0.02)
            if n in (3, 6):
                os.kill(workers[n // 3 - 1], signal.SIGKILL)

        if kind == "async":
            outlook = asyncio.run(followed(server.address, kill))
        else:
            with Client(server.address) as client, client.watch("lcpfn", AT) as watch:
                for n in range(1, 9):
                    outlook = watch.push(n, CURVE[n - 1])
                    kill(n)
        expected = CurveExtrapolator(data_dir=server.data_dir).extrapolate(CURVE[:8], at=AT[8:])
        assert outlook.observed == 8
        assert outlook.posterior.mean.tobytes() == expected.mean.tobytes()
