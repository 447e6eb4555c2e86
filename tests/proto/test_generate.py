"""What is committed beside the definitions is what they compile to."""

from __future__ import annotations

import importlib

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from foretoken.proto.generate import HOME, compiled, definitions, packages


@pytest.mark.parametrize("package", packages())
def test_generating_again_changes_nothing(package, tmp_path):
    pytest.importorskip("grpc_tools", reason="grpcio-tools, which compiles definitions, is absent")
    compiled(package, tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert f"{package}.binpb" in made
    for name in made:
        ours, again = (HOME / name).read_bytes(), (tmp_path / name).read_bytes()
        if name.endswith(".binpb"):
            assert FileDescriptorSet.FromString(ours) == FileDescriptorSet.FromString(again)
        else:
            assert ours.decode() == again.decode(), f"{name}: run python proto/generate.py"


@pytest.mark.parametrize("path", [p for package in packages() for p in definitions(package)])
def test_modules_hold_what_their_definitions_declare(path):
    module = importlib.import_module(f"foretoken.proto.{path.rsplit('/')[-1].split('.')[0]}")
    assert module.DESCRIPTOR.name == path
    for name in module.DESCRIPTOR.message_types_by_name:
        assert getattr(module, name)().ByteSize() == 0
