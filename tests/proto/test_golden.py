"""No change of the definitions breaks those who were built against the ones before.

``python -m tests.proto.update`` writes today's definitions to ``tests/proto/golden``; additions
need it no sooner than they are to be kept.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet

from foretoken.proto.generate import packages
from foretoken.proto.loading import descriptor_set
from tests.proto.compatible import breaks

GOLDEN = Path(__file__).parent / "golden"


def golden(package):
    return FileDescriptorSet.FromString((GOLDEN / f"{package}.binpb").read_bytes())


@pytest.mark.parametrize("package", packages())
def test_nothing_that_was_defined_has_changed(package):
    assert breaks(golden(package), descriptor_set(package)) == [], (
        "this breaks clients; if no release has it yet: python -m tests.proto.update"
    )


def test_every_golden_package_is_still_defined():
    assert {path.stem for path in GOLDEN.iterdir()} == set(packages())


def _message(files, name):
    return next(m for file in files.file for m in file.message_type if m.name == name)


def _remove_field(files):
    del _message(files, "ModelInferRequest").field[0]


def _renumber(files):
    _message(files, "ModelInferRequest").field[0].number = 99


def _retype(files):
    _message(files, "ModelInferRequest").field[0].type = FieldDescriptorProto.TYPE_BYTES


def _rename(files):
    _message(files, "ModelInferRequest").field[0].name = "model"


def _leave_oneof(files):
    _message(files, "InferParameter").field[0].ClearField("oneof_index")


def _unrepeat(files):
    message = _message(files, "ModelInferResponse")
    field = next(f for f in message.field if f.name == "raw_output_contents")
    field.label = FieldDescriptorProto.LABEL_OPTIONAL


def _service(files):
    return next(file.service[0] for file in files.file if file.service)


def _remove_method(files):
    del _service(files).method[0]


def _stream(files):
    _service(files).method[0].server_streaming = True


def _retype_method(files):
    _service(files).method[0].output_type = ".inference.ServerReadyResponse"


def _renumber_enum(files):
    next(file for file in files.file if file.enum_type).enum_type[0].value[3].number = 77


BREAKING = (
    _remove_field,
    _renumber,
    _retype,
    _rename,
    _leave_oneof,
    _unrepeat,
    _remove_method,
    _stream,
    _retype_method,
    _renumber_enum,
)


@pytest.mark.parametrize("change", BREAKING, ids=lambda change: change.__name__.strip("_"))
def test_a_breaking_change_is_found(change):
    changed = FileDescriptorSet()
    changed.CopyFrom(golden("inference"))
    change(changed)
    assert breaks(golden("inference"), changed) != []


def test_additions_break_nothing():
    added = FileDescriptorSet()
    added.CopyFrom(golden("inference"))
    field = _message(added, "ModelInferRequest").field.add()
    field.name, field.number = "more", 100
    field.type, field.label = FieldDescriptorProto.TYPE_INT64, FieldDescriptorProto.LABEL_OPTIONAL
    added.file[0].message_type.add().name = "Another"
    _service(added).method.add().name = "Another"
    assert breaks(golden("inference"), added) == []
