"""Health of the server and of its models."""

from __future__ import annotations

from types import SimpleNamespace

import grpc
import pytest

from foretoken.errors import DataLoss, InvalidInput, NotFound
from foretoken.proto import health as wire
from foretoken.server.doors.health import Health
from tests.server.doors.serving import serving, stream, unary, until
from tests.server.doors.test_rpc import refused, run

CHECK, LIST, WATCH = (f"/grpc.health.v1.Health/{name}" for name in ("Check", "List", "Watch"))
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


class FakePlane:
    """Models by name: ready, not ready, or an error."""

    def __init__(self, **models) -> None:
        self.models = models
        self.owners: dict[str, str] = {}

    @property
    def loaded(self):
        return [
            SimpleNamespace(version=SimpleNamespace(name=name, owner=self.owners.get(name)))
            for name in self.models
        ]

    async def ready(self, model, terms, *, load=True):
        assert not load, "to ask for health loads nothing"
        found = self.models.get(model)
        if found is None or not terms.caller.sees(self.owners.get(model)):
            raise NotFound(f"no model {model!r}")
        if isinstance(found, Exception):
            raise found
        return found


class _Strangers:
    def caller(self, metadata, peer, scope):
        from foretoken.server.terms import Caller

        assert scope is None  # no token is needed
        return Caller("anonymous", frozenset())


async def check(channel, name):
    return (await unary(channel, CHECK, wire.HealthCheckResponse)(request(name))).status


def request(name):
    return wire.HealthCheckRequest(service=name)


def test_the_server_and_each_model_are_asked_by_name():
    async def act():
        plane = FakePlane(good=True, bad=False, broken=DataLoss("weights"))
        async with serving(Health(plane).service(), gate=_Strangers()) as server:
            channel = await server.channel()
            assert [await check(channel, n) for n in ("", "good", "bad", "broken")] == [
                SERVING,
                SERVING,
                NOT_SERVING,
                NOT_SERVING,
            ]
            plane.models["../x"] = InvalidInput("not a name")
            for name in ("absent", "../x"):
                assert (await refused(check(channel, name))).code() == grpc.StatusCode.NOT_FOUND

    run(act())


def test_tenants_models_are_not_there_for_strangers():
    async def act():
        plane = FakePlane(shared=True, private=True)
        plane.owners["private"] = "anna"
        async with serving(Health(plane).service(), gate=_Strangers()) as server:
            channel = await server.channel()
            got = await refused(check(channel, "private"))
            assert got.code() == grpc.StatusCode.NOT_FOUND
            listed = await unary(channel, LIST, wire.HealthListResponse)(wire.HealthListRequest())
            assert set(listed.statuses) == {"", "shared"}

    run(act())


def test_draining_is_not_serving():
    async def act():
        health = Health(FakePlane(good=True))
        async with serving(health.service()) as server:
            channel = await server.channel()
            health.draining()
            assert [await check(channel, n) for n in ("", "good")] == [NOT_SERVING] * 2
            listed = await unary(channel, LIST, wire.HealthListResponse)(wire.HealthListRequest())
            assert {n: s.status for n, s in listed.statuses.items()} == {"": 2, "good": 2}

    run(act())


@pytest.mark.parametrize("name", ["", "good"])
def test_who_watches_is_told_of_the_drain_and_does_not_hold_it_up(name):
    async def act():
        health = Health(FakePlane(good=True))
        async with serving(health.service()) as server:
            call = stream(await server.channel(), WATCH, wire.HealthCheckResponse)()
            await call.write(request(name))
            await call.done_writing()
            assert (await call.read()).status == SERVING
            health.draining()
            assert (await call.read()).status == NOT_SERVING
            assert await call.code() == grpc.StatusCode.UNAVAILABLE
            await until(lambda: not server.listener.streams)

    run(act())


def test_who_watches_is_told_of_a_drain_that_begins_while_the_model_is_asked():
    class Ending(FakePlane):
        async def ready(self, *args, **options):
            made = await super().ready(*args, **options)
            health.draining()
            return made

    health = Health(Ending(good=True))

    async def act():
        async with serving(health.service()) as server:
            call = stream(await server.channel(), WATCH, wire.HealthCheckResponse)()
            await call.write(request("good"))
            assert (await call.read()).status == SERVING
            assert (await call.read()).status == NOT_SERVING
            assert await call.code() == grpc.StatusCode.UNAVAILABLE

    run(act())


def test_who_watches_a_model_is_told_of_every_change_and_of_nothing_else():
    async def act():
        plane = FakePlane()
        async with serving(Health(plane).service()) as server:
            call = stream(await server.channel(), WATCH, wire.HealthCheckResponse)()
            await call.write(request("new"))
            told = []
            for change in ({"new": True}, {"new": False}, {"new": True}):
                told.append((await call.read()).status)
                plane.models = change
            told.append((await call.read()).status)
            assert told == [UNKNOWN, SERVING, NOT_SERVING, SERVING]
            call.cancel()
            await until(lambda: not server.listener.streams)

    run(act())


def test_a_watch_without_a_request_is_refused():
    async def act():
        async with serving(Health(FakePlane()).service()) as server:
            call = stream(await server.channel(), WATCH, wire.HealthCheckResponse)()
            await call.done_writing()
            assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT

    run(act())


def test_a_watch_holds_nothing_of_its_request():
    async def act():
        async with serving(Health(FakePlane(good=True)).service()) as server:
            call = stream(await server.channel(), WATCH, wire.HealthCheckResponse)()
            await call.write(request("good"))
            assert (await call.read()).status == SERVING
            assert server.listener.inflight == 0
            call = stream(await server.channel(), WATCH, wire.HealthCheckResponse)()
            await call.write(request("x" * 1001))
            assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
            await until(lambda: not server.listener.inflight)

    run(act())


def test_the_wire_is_that_of_the_official_definition():
    official = pytest.importorskip("grpc_health.v1.health_pb2")
    ours = wire.HealthCheckResponse(status=2).SerializeToString()
    assert official.HealthCheckResponse.FromString(ours).status == 2
    assert official.DESCRIPTOR.package == wire.DESCRIPTOR.package
