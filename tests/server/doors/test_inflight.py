"""Bytes in flight: bounded together, and none are left after any kind of end."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from foretoken import errors
from foretoken.proto import curves
from foretoken.server.doors.inflight import Inflight
from foretoken.server.settings import load_settings
from tests.server.doors.oip.door import connected, request
from tests.server.doors.oip.fake import SlowPlane
from tests.server.doors.oip.test_infer import VALUES
from tests.server.doors.serving import EXTRAPOLATE, WATCH, Toy, serving, stream, unary, until
from tests.server.doors.test_rpc import refused, run

BOUND = 10_000


def sized(size, kind=curves.ExtrapolateRequest):
    """A message of about ``size`` bytes."""
    if kind is curves.WatchRequest:
        return kind(open=curves.WatchOpen(model="x" * size))
    return kind(model="x" * size)


def test_one_message_may_be_too_large_if_it_is_alone():
    inflight = Inflight(10)
    inflight.take(50)
    with pytest.raises(errors.Overloaded, match="10 is the bound") as caught:
        inflight.take(1)
    assert caught.value.retry_after == 0.1
    inflight.held -= 50
    inflight.take(9)
    inflight.take(1)
    assert inflight.held == 10


class _Held(Toy):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.going = asyncio.Event()
        self.begun = 0

    async def extrapolate(self, message, call):
        self.begun += 1
        await self.going.wait()
        if message.model.endswith("x"):
            return curves.ExtrapolateResponse()
        raise errors.NotFound("no such model")


def test_a_message_that_does_not_fit_beside_the_others_is_refused():
    async def act():
        toy = _Held()
        async with serving(toy.service(), inflight_bytes=BOUND) as server:
            call = unary(await server.channel(), EXTRAPOLATE)
            first = asyncio.ensure_future(call(sized(2 * BOUND)))  # alone, it may
            await until(lambda: toy.begun)
            assert server.listener.inflight > 2 * BOUND
            got = await refused(call(sized(10)))
            assert got.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert dict(got.trailing_metadata())["retry-after-ms"] == "100"
            toy.going.set()
            await first
            await until(lambda: not server.listener.inflight)
            await call(sized(10))
            assert toy.begun == 2

    run(act())


@pytest.mark.parametrize("end", ["ok", "error", "malformed", "cancel", "deadline", "closed"])
def test_unary_calls_leave_nothing_behind(end):
    async def act():
        toy = _Held()
        async with serving(toy.service()) as server:
            channel = await server.channel()
            send = unary(channel, EXTRAPOLATE)
            data = {"malformed": b"\xff\xff", "error": curves.ExtrapolateRequest(model="y")}
            call = send(data.get(end, sized(100)), timeout=1 if end == "deadline" else None)
            waiting = asyncio.ensure_future(call.code())
            if end != "malformed":
                await until(lambda: toy.begun)
                assert server.listener.inflight
            if end == "cancel":
                call.cancel()
            elif end == "closed":
                await channel.close()
            elif end != "deadline":
                toy.going.set()
            await waiting
            await until(lambda: not server.listener.inflight and server.ears.codes)

    run(act())


def test_the_last_message_of_a_stream_counts_until_the_next():
    async def act():
        toy = Toy()

        async def watch(stream, call):
            while (message := await stream.read()) is not None:
                await stream.write(curves.WatchResponse(observed=len(message.open.model)))
                if message.open.model == "x" * 3:
                    await asyncio.Event().wait()

        toy.watch = watch
        async with serving(toy.service(), inflight_bytes=BOUND) as server:
            call = stream(await server.channel(), WATCH)()
            for size in (2 * BOUND, BOUND, 3):
                await call.write(sized(size, curves.WatchRequest))
                assert (await call.read()).observed == size
            assert 0 < server.listener.inflight < 20
            other = stream(await server.channel(), WATCH)()
            await other.write(sized(BOUND, curves.WatchRequest))
            assert await other.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert 0 < server.listener.inflight < 20
            call.cancel()
            await until(lambda: not server.listener.inflight)

    run(act())


@pytest.mark.parametrize("end", ["answers", "cancel"])
def test_requests_that_wait_in_a_stream_count_until_they_are_answered(end, monkeypatch):
    seen = []
    take = Inflight.take

    def told(self, size):
        seen.append(self)
        take(self, size)

    monkeypatch.setattr(Inflight, "take", told)
    one = request({"values": VALUES})

    async def act():
        plane = SlowPlane()
        settings = load_settings(inflight_bytes=4 * one.ByteSize())
        async with connected(plane, settings, None) as stub:
            call = stub.ModelStreamInfer()
            for _ in range(4):
                await call.write(one)
            await asyncio.wait_for(plane.reached(4), 10)
            assert seen[0].held == 4 * one.ByteSize()
            if end == "cancel":
                call.cancel()
            else:
                await call.write(one)
                await until(lambda: len(seen) == 5)
                plane.release()  # what came before is answered first
                for _ in range(4):
                    assert (await call.read()).infer_response.model_name
                assert await call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            await until(lambda: not seen[0].held)

    run(act())
