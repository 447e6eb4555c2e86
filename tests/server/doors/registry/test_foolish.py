"""Whatever is asked is answered with a status that says why."""

from __future__ import annotations

import random

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from tests.wire import METHODS

WORDS = [
    "", "lcpfn", "lcpfn:1", "lcpfn:0", "champion@lcpfn", "nothing", "nothing:7", "a:b:c", "@", "\0",
    "../..", "x" * 100_000, "é" * 300, "lcpfn:" + "9" * 20, "' OR 1=1 --",
]  # fmt: skip
INTS = [0, 1, 2, 5, -1, (1 << 31) - 1, -(1 << 31)]
LONGS = [*INTS, (1 << 63) - 1, -(1 << 63)]
DOUBLES = [0.0, 50.0, 100.0, -1.0, float("nan"), float("inf"), 5e-324]


def random_message(kind, rng):
    """A message with values that are as often foolish as not."""
    made = kind()
    for field in kind.DESCRIPTOR.fields:
        if rng.random() < 0.25 or field.is_repeated:
            continue
        if field.message_type:
            part = random_message(GetMessageClass(field.message_type), rng)
            getattr(made, field.name).CopyFrom(part)
            continue
        values = {
            field.CPPTYPE_STRING: WORDS,
            field.CPPTYPE_INT32: INTS,
            field.CPPTYPE_INT64: LONGS,
            field.CPPTYPE_DOUBLE: DOUBLES,
            field.CPPTYPE_BOOL: [False, True],
        }[field.cpp_type]
        setattr(made, field.name, rng.choice(values))
    return made


@pytest.mark.parametrize("count", [600, pytest.param(50_000, marks=pytest.mark.slow)])
def test_whatever_is_asked_is_answered_with_a_status_that_says_why(house, root, count):
    rng = random.Random(count)
    methods = [method for method in METHODS.values() if method.name != "Register"]
    calls = {
        method.name: house.channel.unary_unary(
            f"/foretoken.v1.Registry/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
        )
        for method in methods
    }
    seen = set()
    for _ in range(count):
        method = rng.choice(methods)
        request = random_message(GetMessageClass(method.input_type), rng)
        try:
            calls[method.name](request, metadata=root._metadata, timeout=60)
        except grpc.RpcError as e:
            seen.add(e.code().name)
    assert seen <= {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNAVAILABLE"}
    assert {"INVALID_ARGUMENT", "NOT_FOUND"} <= seen
    assert root.code("List") == "OK"
