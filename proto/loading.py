"""Message classes and services from descriptor sets, each in a pool of its own.

A pool of our own is what lets other definitions of the same symbols, such as tritonclient's of the
Open Inference Protocol, live in the same process.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

__all__ = ["descriptor_set", "module", "service"]

_HOME = Path(__file__).parent


@cache
def descriptor_set(package: str) -> FileDescriptorSet:
    """The compiled definitions of ``package``, "foretoken" or "inference"."""
    return FileDescriptorSet.FromString((_HOME / f"{package}.binpb").read_bytes())


@cache
def _pool(package: str) -> DescriptorPool:
    pool = DescriptorPool()
    for file in descriptor_set(package).file:
        pool.Add(file)
    return pool


def _file(path: str) -> FileDescriptor:
    return _pool(path.split("/", maxsplit=1)[0]).FindFileByName(path)


@cache
def module(path: str) -> Mapping[str, Any]:
    """What a generated module for the definitions at ``path`` would hold: messages and enums."""
    file = _file(path)
    made: dict[str, Any] = {"DESCRIPTOR": file}
    for name, message in file.message_types_by_name.items():
        made[name] = GetMessageClass(message)
    for name, enum in file.enum_types_by_name.items():
        made[name] = EnumTypeWrapper(enum)
        made.update({value.name: value.number for value in enum.values})
    return made


@cache
def service(path: str, name: str) -> ServiceDescriptor:
    """The service ``name`` that is defined at ``path``."""
    return _file(path).services_by_name[name]
