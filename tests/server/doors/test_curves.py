"""The door of learning curves, over a real plane: details, limits, streams that leave nothing."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from foretoken.errors import Cancelled, DeadlineExceeded, InvalidInput, NotFound, Unavailable
from foretoken.models.artefact import Artefact
from foretoken.models.tasks import CurveRequest
from foretoken.proto import curves as wire
from foretoken.server.doors import posteriors
from foretoken.server.doors.curves import curves
from foretoken.server.plane import Plane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from foretoken.server.terms import Terms
from tests.asynchronous import awaited

VALUES = [0.2, 0.4, 0.5, 0.55]


@pytest.fixture
def registry(tmp_path, tiny_lcpfn):
    with Registry.open(tmp_path / "data") as registry:
        registry.register("tiny", Artefact.read(tiny_lcpfn))
        yield registry


class Talk:
    """A stream and a call: says ``messages``, keeps what is written."""

    def __init__(self, *messages, terms=None):
        self.terms = terms or Terms()
        self.metadata = {}
        self.answers = []
        self.written = []
        self._messages = list(messages)

    def answered(self, answers):
        self.answers.append(answers)

    async def read(self):
        if not self._messages:
            return None
        message = self._messages.pop(0)
        if isinstance(message, BaseException):
            raise message
        return await message if asyncio.iscoroutine(message) else message

    async def write(self, message):
        self.written.append(message)


@contextlib.asynccontextmanager
async def door(registry, **settings):
    """The two handlers, and the plane behind them."""
    settings = load_settings(**settings)
    plane = Plane(registry, settings)
    methods = curves(plane, settings).methods
    try:
        yield SimpleNamespace(
            plane=plane, extrapolate=methods["Extrapolate"].handler, watch=methods["Watch"].handler
        )
    finally:
        assert plane.inflight == 0
        await plane.close()


def asking(**fields):
    return wire.ExtrapolateRequest(
        **{"model": "tiny", "curves": [wire.Curve(values=VALUES, at=[5, 9])], **fields}
    )


def opening(**fields):
    return wire.WatchRequest(open=wire.WatchOpen(**{"model": "tiny", "at": range(1, 10), **fields}))


def seen(step, value, **fields):
    return wire.WatchRequest(observe=wire.Observation(step=step, value=value, **fields))


@awaited
async def test_details(registry):
    async with door(registry) as ours:
        call = Talk()
        said = {
            name: await ours.extrapolate(asking(detail=number), call)
            for name, number in wire.Detail.items()
        }
    (posterior,) = call.answers[0].replies
    summary, bars, both = (said[d].posteriors[0] for d in ("SUMMARY", "DISTRIBUTION", "BOTH"))
    assert list(summary.mean) == posterior.mean.tolist() == list(both.mean)
    assert list(summary.quantiles) == posterior.quantiles.ravel().tolist()
    assert (list(summary.levels), list(summary.steps)) == ([0.05, 0.5, 0.95], [5, 9])
    assert not summary.HasField("bars")
    assert not bars.mean
    assert bars.bars.logits == both.bars.logits == posterior.logits.tobytes()
    assert not said["SUMMARY"].borders
    assert list(said["BOTH"].borders) == [posterior.borders.tobytes()]
    assert (said["BOTH"].model, said["BOTH"].version) == ("tiny", 1)


@awaited
async def test_defaults_are_those_of_in_process_use(registry):
    async with door(registry) as ours:
        call = Talk()
        given = wire.Curve(values=VALUES)
        reply = await ours.extrapolate(asking(curves=[given], detail=wire.DISTRIBUTION), call)
    said = reply.posteriors[0]
    assert list(said.steps) == list(range(5, 101))
    assert said.bars.scale.bounds == wire.Interval(low=0, high=1)
    assert not said.bars.scale.minimize


@awaited
async def test_curves_share_borders_and_are_each_answered(registry):
    async with door(registry) as ours:
        given = [wire.Curve(values=VALUES[:n], at=[9]) for n in (1, 4, 2)]
        reply = await ours.extrapolate(asking(curves=given, detail=wire.BOTH), Talk())
        assert len(reply.borders) == 1
        assert len(reply.posteriors) == 3
        for curve, said in zip(given, reply.posteriors, strict=True):
            alone = await ours.extrapolate(asking(curves=[curve]), Talk())
            np.testing.assert_allclose(said.mean, alone.posteriors[0].mean, atol=1e-5)


@awaited
async def test_long_work_leaves_the_event_loop_to_others(registry, monkeypatch):
    threads = []
    real = posteriors.encode

    def encode(*given):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            threads.append("other")
        else:
            threads.append("loop")
        return real(*given)

    monkeypatch.setattr(posteriors, "encode", encode)
    async with door(registry) as ours:
        call = Talk()
        await ours.extrapolate(asking(curves=[wire.Curve(values=VALUES, at=[9])]), call)
        (alone,) = call.answers[0].replies
        monkeypatch.setattr(posteriors, "SUMMARISED", alone.logits.size)
        await ours.extrapolate(asking(), Talk())
    assert threads == ["loop", "other"]


@pytest.mark.parametrize(
    ("limits", "request_", "said"),
    [
        ({"curves": 1}, {"curves": [wire.Curve(values=VALUES)] * 2}, r"2 curves .* 1 \(curves\)"),
        ({"curve_points": 3}, {}, r"4 points .* 3 \(curve_points\)"),
        ({"curve_steps": 1}, {}, r"2 steps .* 1 \(curve_steps\)"),
        (
            {"curve_steps": 3},
            {"curves": [wire.Curve(values=VALUES, at=[5, 9])] * 2},
            r"4 or more steps .* 3 \(curve_steps\)",
        ),
        ({"curve_levels": 1}, {"quantiles": [0.1, 0.2]}, r"2 quantile levels .* 1 \(curve_levels"),
        ({}, {"detail": 7}, "detail is one of SUMMARY"),
        ({}, {"curves": [wire.Curve()]}, "at least one value"),
        ({}, {"curves": [wire.Curve(values=[0.1], steps=[-1.0])]}, "negative"),
        (
            {},
            {"curves": [wire.Curve(values=[0.1], metric=wire.Metric(bounds=wire.Interval()))]},
            "low < high",
        ),
    ],
)
def test_what_is_too_much_or_amiss(registry, limits, request_, said):
    async def refused():
        async with door(registry, **limits) as ours:
            with pytest.raises(InvalidInput, match=said):
                await ours.extrapolate(asking(**request_), Talk())

    asyncio.run(refused())


@awaited
async def test_a_run_is_answered_message_by_message(registry):
    async with door(registry) as ours:
        talk = Talk(opening(best=0.6, threshold=0.2), seen(1, 0.2), seen(3, 0.4), seen(9, 0.5))
        await ours.watch(talk, talk)
        first, *_, third, last = talk.written
        assert (first.observed, first.HasField("posterior")) == (0, False)
        assert list(third.posterior.steps) == [4, 5, 6, 7, 8, 9]
        assert (last.observed, last.HasField("posterior"), last.HasField("advice")) == (
            3,
            False,
            False,
        )
        assert [said.version for said in talk.written] == [1] * 4
        asked = CurveRequest(
            np.array([0.2, 0.4]),
            np.array([1.0, 3.0]),
            np.arange(4.0, 10),
            np.array([0.05, 0.5, 0.95]),
        )
        (expected,) = (await ours.plane.predict("tiny", [asked])).replies
    assert list(third.posterior.mean) == expected.mean.tolist()
    assert third.advice.chance == expected.beats(0.6).max()
    assert third.advice.stop == (third.advice.chance <= 0.2)


@awaited
async def test_a_run_keeps_its_version(registry, tiny_lcpfn):
    async with door(registry) as ours:

        async def moved():
            registry.register("tiny", Artefact.read(tiny_lcpfn))
            registry.set_alias("tiny", "champion", 2)
            await ours.plane.follow()
            return seen(2, 0.3)

        talk = Talk(opening(), seen(1, 0.2), moved())
        await ours.watch(talk, talk)
        assert [said.version for said in talk.written] == [1, 1, 1]
        assert (await ours.extrapolate(asking(), Talk())).version == 2


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([seen(1, 0.2)], InvalidInput),
        ([wire.WatchRequest()], InvalidInput),
        ([opening(), opening()], InvalidInput),
        ([opening(model="nobody")], NotFound),
        ([opening(at=[])], InvalidInput),
        ([opening(), seen(2, 0.2), seen(2, 0.3)], InvalidInput),
        ([opening(), seen(2, 1.2)], InvalidInput),
        ([opening(), seen(2, 0.2, best=float("inf"))], InvalidInput),
        ([opening(seen=[wire.Observation(step=i, value=0.1) for i in range(4)])], InvalidInput),
        ([opening(), seen(1, 0.2), Cancelled("gone")], Cancelled),
        ([opening(), seen(1, 0.2), Unavailable("stops")], Unavailable),
    ],
)
def test_streams_that_end_badly_leave_nothing(registry, messages, error):
    async def ended():
        async with door(registry, curve_points=3) as ours:
            before = asyncio.all_tasks()
            talk = Talk(*messages)
            with pytest.raises(error):
                await ours.watch(talk, talk)
            await asyncio.sleep(0)
            assert asyncio.all_tasks() <= before | {asyncio.current_task()} | _follower(ours)

    asyncio.run(ended())


def _follower(ours):
    """Tasks of the plane's own, which begin with its first use."""
    return {task for task in asyncio.all_tasks() if "plane" in repr(task.get_coro()).lower()}


@awaited
async def test_a_stream_that_is_given_up_withdraws_its_work(registry):
    async with door(registry) as ours:
        silence = asyncio.Event()
        talk = Talk(opening(), seen(1, 0.2), silence.wait())
        task = asyncio.create_task(ours.watch(talk, talk))
        while len(talk.written) < 2:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ours.plane.inflight == 0


@awaited
async def test_deadlines_reach_the_plane(registry):
    async with door(registry) as ours:
        await ours.extrapolate(asking(), Talk())
        with pytest.raises(DeadlineExceeded):
            await ours.extrapolate(asking(), Talk(terms=Terms(deadline=0.0)))


@awaited
async def test_nothing_said_is_nothing_answered(registry):
    async with door(registry) as ours:
        talk = Talk()
        await ours.watch(talk, talk)
        assert talk.written == []
