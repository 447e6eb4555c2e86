"""Unary calls: who asks, on which terms, and how each ends."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import os

import grpc
import pytest

from foretoken import errors
from foretoken.proto import curves
from foretoken.proto.loading import service
from foretoken.server.doors.rpc import OPEN, QUIET, Handlers
from foretoken.server.doors.service import Service, Unary
from foretoken.server.doors.status import status_of
from foretoken.server.log import Log
from foretoken.server.settings import Settings
from foretoken.server.terms import Caller, Scope
from tests.server.doors.serving import EXTRAPOLATE, Toy, serving, unary, until

REQUEST = curves.ExtrapolateRequest(model="toy")
TREE = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, Exception)]
TREE = [c for c in TREE if issubclass(c, errors.ForetokenError)]


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


async def refused(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def test_an_answer_and_what_is_told_of_it():
    async def act():
        toy = Toy()
        async with serving(toy.service()) as server:
            reply = await unary(await server.channel())(REQUEST)
            assert reply.model == "toy"
            [(method, model, code, seconds, encode)] = server.ears.calls
            assert (method, model, code) == (EXTRAPOLATE, "toy", "OK")
            assert 0 < encode <= seconds < 5

    run(act())


def test_time_in_the_plane_is_not_counted_as_encoding():
    async def act():
        toy = Toy()

        async def slow(message, call):
            await asyncio.sleep(0.5)
            call.answered(type("A", (), {"version": toy_version, "seconds": 0.5}))
            return curves.ExtrapolateResponse()

        toy_version = type("V", (), {"name": "toy", "number": 1})
        toy.extrapolate = slow
        async with serving(toy.service()) as server:
            await unary(await server.channel())(REQUEST)
            [(*_, seconds, encode)] = server.ears.calls
            assert seconds > 0.49
            assert encode < 0.4

    run(act())


@pytest.mark.parametrize("kind", TREE, ids=lambda c: c.__name__)
def test_every_error_arrives_with_its_status_and_words(kind):
    async def act():
        toy = Toy()
        error = kind("what was wrong: é\n")

        async def fail(message, call):
            raise error

        toy.extrapolate = fail
        async with serving(toy.service()) as server:
            got = await refused(unary(await server.channel())(REQUEST))
            assert got.code() == status_of(kind).code
            assert got.details() == str(error)
            trailers = dict(got.trailing_metadata())
            assert ("retry-after-ms" in trailers) == (kind is errors.Overloaded)
            assert server.ears.codes == [status_of(kind).name]
            assert len(server.ears.gone) == (kind is errors.Cancelled)
            assert len(server.ears.late) == (kind is errors.DeadlineExceeded)

    run(act())


@pytest.mark.parametrize(
    "bug", [RuntimeError("secret internals"), KeyError("secret"), asyncio.CancelledError()]
)
def test_nothing_else_escapes(bug, tmp_path):
    async def act():
        toy = Toy()

        async def fail(message, call):
            raise bug

        toy.extrapolate = fail
        fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
        async with serving(toy.service(), log_fd=fd) as server:
            got = await refused(unary(await server.channel())(REQUEST))
            assert "secret" not in got.details()
        os.close(fd)
        return got

    got = run(act())
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    if isinstance(bug, asyncio.CancelledError):  # work that was given up by somebody of ours
        assert got.code() == grpc.StatusCode.UNAVAILABLE
    else:
        assert got.code() == grpc.StatusCode.INTERNAL
        failure = next(line for line in lines if line["event"] == "failure")
        assert failure["id"] in got.details()
        assert type(bug).__name__ in failure["kind"]
        assert any("test_rpc.py" in frame for frame in failure["traceback"])
        assert failure["request_id"] == dict(got.trailing_metadata())["x-request-id"]


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"])
def test_malformed_messages_are_refused_by_type(data):
    async def act():
        async with serving(Toy().service()) as server:
            channel = await server.channel()
            got = await refused(unary(channel)(data))
            assert got.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "malformed" in got.details()
            assert (await unary(channel)(REQUEST)).model == "toy"

    run(act())


def test_unknown_methods_are_unimplemented():
    async def act():
        async with serving(Toy().service()) as server:
            for method in ("/foretoken.v1.Curves/Other", "/other.Service/Extrapolate"):
                got = await refused(unary(await server.channel(), method)(REQUEST))
                assert got.code() == grpc.StatusCode.UNIMPLEMENTED

    run(act())


def test_a_message_beyond_the_bound_is_refused():
    async def act():
        async with serving(Toy().service(), message_bytes=1 << 12) as server:
            channel = await server.channel()
            big = curves.ExtrapolateRequest(model="x" * (1 << 13))
            got = await refused(unary(channel)(big))
            assert got.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (await unary(channel)(REQUEST)).model == "toy"

    run(act())


def test_terms_come_from_metadata_and_the_deadline():
    async def act():
        toy = Toy()
        async with serving(toy.service(), deadline=7.0) as server:
            call = unary(await server.channel())
            said = (("x-request-id", "abc-1"), ("foretoken-key", "k"), ("foretoken-priority", "-3"))
            await call(REQUEST, metadata=said, timeout=3)
            await call(REQUEST)
            await call(REQUEST)
            first, second, third = [c.terms for c in toy.calls]
            assert (first.request_id, first.key, first.priority) == ("abc-1", "k", -3)
            assert 0 < first.left < 3.1  # gRPC rounds up
            assert (second.key, second.priority) == (None, 0)
            assert 3.5 < second.left <= 7
            assert len({second.request_id, third.request_id, ""}) == 3
            assert toy.calls[0].metadata["foretoken-key"] == "k"

    run(act())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("x-request-id", "x" * 129),
        ("x-request-id", ""),
        ("x-request-id", "a b"),
        ("foretoken-priority", "high"),
        ("foretoken-priority", "1001"),
        ("foretoken-priority", "9" * 5000),
    ],
)
def test_metadata_that_mean_nothing_are_refused(key, value):
    async def act():
        async with serving(Toy().service()) as server:
            got = await refused(unary(await server.channel())(REQUEST, metadata=((key, value),)))
            assert got.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert key in got.details()

    run(act())


def test_metadata_of_others_do_no_harm():
    async def act():
        toy = Toy()
        odd = (("other", "a"), ("other", "b"), ("some-bin", b"\x00\xff"), ("x-empty", ""))
        async with serving(toy.service()) as server:
            assert (await unary(await server.channel())(REQUEST, metadata=odd)).model == "toy"

    run(act())


class _Keeper:
    """A gate that knows one token."""

    def __init__(self) -> None:
        self.asked = []

    def caller(self, metadata, peer, scope):
        self.asked.append((peer, scope))
        match metadata.get("authorization"):
            case "Bearer good":
                return Caller("anna", frozenset({Scope.PREDICT}), "anna's")
            case "Bearer busy":
                raise errors.Overloaded("too many calls", retry_after=2.5)
            case None:
                raise errors.Unauthenticated("a token is needed")
        raise errors.PermissionDenied("not with this token")


def test_the_gate_is_asked_before_the_message_is_read():
    async def act():
        toy, gate = Toy(), _Keeper()
        async with serving(toy.service(), gate=gate) as server:
            call = unary(await server.channel())
            for token, code in (
                (None, grpc.StatusCode.UNAUTHENTICATED),
                ("Bearer bad", grpc.StatusCode.PERMISSION_DENIED),
                ("Bearer busy", grpc.StatusCode.RESOURCE_EXHAUSTED),
            ):
                metadata = () if token is None else (("authorization", token),)
                got = await refused(call(b"\xff\xff", metadata=metadata))
                assert got.code() == code
            assert dict(got.trailing_metadata())["retry-after-ms"] == "2500"
            assert toy.calls == []
            await call(REQUEST, metadata=(("authorization", "Bearer good"),))
            assert toy.calls[0].terms.caller.tenant == "anna's"
            peer, scope = gate.asked[0]
            assert peer.startswith("ipv4:127.0.0.1:")
            assert scope is Scope.PREDICT

    run(act())


def test_a_cancelled_call_stops_its_handler():
    async def act():
        toy, begun, ended = Toy(), asyncio.Event(), []

        async def hang(message, call):
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(call)

        toy.extrapolate = hang
        async with serving(toy.service()) as server:
            call = unary(await server.channel())(REQUEST)
            waiting = asyncio.ensure_future(call.code())  # a call begins when it is awaited
            await begun.wait()
            call.cancel()
            assert await waiting == grpc.StatusCode.CANCELLED
            await until(lambda: server.ears.codes == ["CANCELLED"])
            assert len(ended) == 1
            assert server.ears.gone == [EXTRAPOLATE]
            assert server.ears.late == []

    run(act())


def test_a_missed_deadline_counts_as_one():
    async def act():
        toy = Toy()

        async def hang(message, call):
            await asyncio.sleep(60)

        toy.extrapolate = hang
        async with serving(toy.service()) as server:
            got = await refused(unary(await server.channel())(REQUEST, timeout=1))
            assert got.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            await until(lambda: server.ears.codes == ["DEADLINE_EXCEEDED"])
            assert server.ears.late == [EXTRAPOLATE]
            assert server.ears.gone == []

    run(act())


def test_an_absurd_deadline_is_a_day():
    async def act():
        toy = Toy()
        async with serving(toy.service()) as server:
            await unary(await server.channel())(REQUEST, timeout=1e8)
            assert math.isclose(toy.calls[0].terms.left, 86400, rel_tol=0.01)

    run(act())


def test_a_service_that_differs_from_its_definition_is_a_bug():
    async def answer(message, call):
        return message

    descriptor = service("foretoken/v1/curves.proto", "Curves")
    log = Log(fd=1)
    for methods, words in (
        ({"Extrapolate": Unary(answer)}, "Watch"),
        ({"Extrapolate": Unary(answer), "Watch": Unary(answer)}, "Watch is not"),
    ):
        with pytest.raises(ValueError, match=words):
            Handlers([Service(descriptor, methods)], OPEN, QUIET, log, Settings())
    log.close()
