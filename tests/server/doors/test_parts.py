"""Messages of many parts are refused before they are parsed; long ones of few parts are not."""

from __future__ import annotations

import gc
import time

import grpc
import pytest

from foretoken.errors import InvalidInput
from foretoken.proto import curves
from foretoken.proto import grpc_service as oip
from foretoken.server.doors.parts import LARGE, MOST, expect_few
from tests.server.doors.serving import Toy, serving, stream, unary
from tests.server.doors.test_rpc import refused, run

INFER = oip.ModelInferRequest.DESCRIPTOR
CURVE = b"\x12\x00"  # an empty one of an ExtrapolateRequest
INPUT = b"\x2a\x00"  # an empty one of a ModelInferRequest


def field(number: int, data: bytes) -> bytes:
    size, length = len(data), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


MANY = {
    "messages": INPUT * MOST,
    "messages within one": field(5, field(4, b"\x0a\x00") * MOST),
    "parameters": field(4, b"") * MOST,
    "numbers one by one": field(5, field(5, b"\x10\x01" * MOST)),
    "what nobody knows": b"\x98\x06\x01" * MOST,
}


@pytest.mark.parametrize("name", MANY)
def test_many_parts_are_refused_in_little_time(name):
    many = MANY[name] * 16
    gc.freeze()  # what other tests of this process left is not looked through meanwhile
    began = time.thread_time()
    with pytest.raises(InvalidInput, match=f"more than {MOST} parts"):
        expect_few(many, INFER)
    taken = time.thread_time() - began
    gc.unfreeze()
    assert taken < 2.0


def test_long_arrays_are_one_part():
    made = oip.ModelInferRequest(model_name="m", raw_input_contents=[bytes(LARGE)])
    tensor = made.inputs.add(name="values", datatype="FP64", shape=[LARGE])
    tensor.contents.fp64_contents.extend([0.5] * LARGE)
    expect_few(made.SerializeToString(), INFER)


@pytest.mark.parametrize("data", [b"\x2a", b"\x2a\xff", b"\xff" * 20, b"\x2a\x7f\x2a", b"\x0b\x0c"])
def test_what_is_malformed_is_left_to_the_parser(data):
    expect_few(data, INFER)


def test_calls_of_all_kinds_refuse_them():
    data = CURVE * MOST + field(1, bytes(LARGE))

    async def act():
        toy = Toy()
        async with serving(toy.service()) as server:
            channel = await server.channel()
            got = await refused(unary(channel)(data))
            assert got.code() == grpc.StatusCode.INVALID_ARGUMENT
            call = stream(channel)()
            await call.write(data)
            assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert toy.calls[:-1] == []  # the stream's alone
            large = curves.ExtrapolateRequest(model="m" * (LARGE + 1))
            assert (await unary(channel)(large)).model == large.model

    run(act())
