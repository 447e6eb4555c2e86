"""Reflection: tells tools such as grpcurl what can be called, in both versions of the protocol.

All definitions are put into one pool of our own, whichever pools their classes come from.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from foretoken.server.doors.service import Bidirectional, Call, Service, Stream

__all__ = ["reflection"]

_ALPHA = "grpc.reflection.v1alpha"
_METHOD = "ServerReflectionInfo"


def reflection(services: Sequence[Service]) -> list[Service]:
    """The reflection services, v1 and v1alpha, over ``services`` and themselves.

    Raises:
        TypeError: if two services disagree about a definition that both use: a bug.
    """
    pool = DescriptorPool()
    alpha = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
    every = [service.descriptor for service in services] + [_first_version(), alpha]
    seen: set[str] = set()
    for descriptor in every:
        _add(descriptor.file, pool, seen)
    answering = aio.ReflectionServicer([d.full_name for d in every], pool=pool)

    async def info(stream: Stream, _call: Call) -> None:
        async for reply in answering.ServerReflectionInfo(_messages(stream), None):
            await stream.write(reply)

    method = Bidirectional(info, scope=None)
    return [Service(descriptor, {_METHOD: method}) for descriptor in every[-2:]]


async def _messages(stream: Stream) -> AsyncIterator[Any]:
    # The versions differ in nothing but their package, so bytes of one are bytes of the other.
    while (message := await stream.read()) is not None:
        yield reflection_pb2.ServerReflectionRequest.FromString(message.SerializeToString())


def _first_version() -> ServiceDescriptor:
    """The service of ``grpc.reflection.v1``, which the library does not have: v1alpha, renamed."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    renamed = file.SerializeToString()  # for the copy below, which must not touch the original
    file = FileDescriptorProto.FromString(renamed)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = "grpc.reflection.v1"
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(f".{_ALPHA}.", ".grpc.reflection.v1.")
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(_ALPHA, "grpc.reflection.v1")
        method.output_type = method.output_type.replace(_ALPHA, "grpc.reflection.v1")
    pool = DescriptorPool()
    pool.Add(file)
    return pool.FindServiceByName("grpc.reflection.v1.ServerReflection")


def _add(file: FileDescriptor, pool: DescriptorPool, seen: set[str]) -> None:
    """Add a file after everything that it imports."""
    if file.name in seen:
        return
    seen.add(file.name)
    for dependency in file.dependencies:
        _add(dependency, pool, seen)
    definition = FileDescriptorProto()
    file.CopyToProto(definition)
    pool.Add(definition)
