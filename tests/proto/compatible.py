"""Whether one set of definitions can replace another without breaking those who use the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

Members = dict[str, Any]


def breaks(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """Every change from ``old`` to ``new`` that breaks the wire or what is written against it.

    Whatever is only in ``new`` is an addition and breaks nothing.
    """
    before, after = _members(old), _members(new)
    return [
        f"{name}: was {was}, is {after.get(name, 'gone')}"
        for name, was in before.items()
        if after.get(name) != was
    ]


def _members(files: FileDescriptorSet) -> Members:
    """What must stay as it is, by full name: the fields' numbers and types, and so on."""
    found: Members = {}
    for file in files.file:
        for message in file.message_type:
            found.update(_of_message(f"{file.package}.{message.name}", message))
        for enum in file.enum_type:
            found.update(_of_enum(f"{file.package}.{enum.name}", enum))
        for service in file.service:
            found.update(_of_service(f"{file.package}.{service.name}", service))
    return found


def _of_message(name: str, message: DescriptorProto) -> Iterator[tuple[str, Any]]:
    yield name, "message"
    for field in message.field:
        yield f"{name}.{field.name}", _field(field, message)
    for nested in message.nested_type:
        yield from _of_message(f"{name}.{nested.name}", nested)
    for enum in message.enum_type:
        yield from _of_enum(f"{name}.{enum.name}", enum)


def _field(field: FieldDescriptorProto, message: DescriptorProto) -> tuple[Any, ...]:
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    kind = FieldDescriptorProto.Type.Name(field.type)
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    return field.number, kind, field.type_name, repeated, oneof


def _of_enum(name: str, enum: EnumDescriptorProto) -> Iterator[tuple[str, Any]]:
    yield name, "enum"
    for value in enum.value:
        yield f"{name}.{value.name}", value.number


def _of_service(name: str, service: ServiceDescriptorProto) -> Iterator[tuple[str, Any]]:
    yield name, "service"
    for method in service.method:
        streams = method.client_streaming, method.server_streaming
        yield f"{name}.{method.name}", (method.input_type, method.output_type, *streams)
