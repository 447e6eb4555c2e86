"""Reflection: a tool that knows nothing of us finds everything it needs to call us."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2 as wire

from foretoken.server.doors.health import Health
from foretoken.server.doors.reflection import reflection
from tests.server.doors.serving import EXTRAPOLATE, Toy, serving, stream, unary, until
from tests.server.doors.test_health import FakePlane
from tests.server.doors.test_rpc import run

VERSIONS = ("v1", "v1alpha")


def services():
    ours = [Toy().service(), Health(FakePlane()).service()]
    return [*ours, *reflection(ours)]


async def ask(channel, version, **request):
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    call = stream(channel, path, wire.ServerReflectionResponse)()
    await call.write(wire.ServerReflectionRequest(**request))
    reply = await call.read()
    await call.done_writing()
    assert await call.code() == grpc.StatusCode.OK
    return reply


@pytest.mark.parametrize("version", VERSIONS)
def test_a_service_is_called_with_nothing_but_what_reflection_tells(version):
    async def act():
        async with serving(*services()) as server:
            channel = await server.channel()
            listed = await ask(channel, version, list_services="")
            assert [s.name for s in listed.list_services_response.service] == [
                "foretoken.v1.Curves",
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
            ]
            told = await ask(channel, version, file_containing_symbol="foretoken.v1.Curves")
            pool = DescriptorPool()
            for file in told.file_descriptor_response.file_descriptor_proto:
                pool.Add(FileDescriptorProto.FromString(file))
            method = pool.FindServiceByName("foretoken.v1.Curves").methods_by_name["Extrapolate"]
            request = GetMessageClass(method.input_type)(model="toy")
            reply = GetMessageClass(method.output_type)
            assert (await unary(channel, EXTRAPOLATE, reply)(request)).model == "toy"
            await until(lambda: not server.listener.streams)

    run(act())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["foretoken.v1.Curves", "grpc.health.v1.Health"])
def test_every_service_can_be_looked_up_in_either_version(version, name):
    async def act():
        async with serving(*services()) as server:
            reply = await ask(await server.channel(), version, file_containing_symbol=name)
            assert reply.file_descriptor_response.file_descriptor_proto

    run(act())


def test_what_is_not_there_is_not_found():
    async def act():
        async with serving(*services()) as server:
            reply = await ask(await server.channel(), "v1", file_containing_symbol="a.B")
            assert reply.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]

    run(act())
