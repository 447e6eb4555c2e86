"""A server that speaks the protocol over a real channel, and requests for it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import grpc
import numpy as np
from google.protobuf.message_factory import GetMessageClass

from foretoken.proto import grpc_service as oip
from foretoken.proto.loading import service
from foretoken.server.doors.gate import OPEN, QUIET
from foretoken.server.doors.listen import listen
from foretoken.server.doors.oip import oip as door
from foretoken.server.doors.oip.datatypes import encoded
from foretoken.server.log import Log
from foretoken.server.metrics import Metrics
from foretoken.server.plane import Plane
from foretoken.server.sessions.owners import Owners
from foretoken.server.sessions.sequences import Sequences
from foretoken.server.settings import load_settings
from foretoken.server.statistics import Statistics

DESCRIPTOR = service("inference/grpc_service.proto", "GRPCInferenceService")


class Stub:
    """``stub.ModelInfer(request)`` and so on, for each method of the service."""

    def __init__(self, channel, address):
        self.address = address
        for method in DESCRIPTOR.methods:
            kind = "stream_stream" if method.server_streaming else "unary_unary"
            call = getattr(channel, kind)(
                f"/{DESCRIPTOR.full_name}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            setattr(self, method.name, call)


async def _alone():
    """A worker without peers has nobody to wait for."""


@asynccontextmanager
async def connected(plane, settings, statistics, gate=OPEN, follow=_alone, sequences=None):
    """A stub of a server of ``plane``."""
    service = door(plane, statistics, settings, follow, sequences)
    listener = listen([service], gate, QUIET, Log("errors"), settings)
    port = await listener.start(0)
    try:
        address = f"{settings.host}:{port}"
        async with grpc.aio.insecure_channel(address) as channel:
            yield Stub(channel, address)
    finally:
        await listener.stop(0)


@asynccontextmanager
async def serving(registry, gate=OPEN, follow=_alone, **options):
    """A stub of a server of ``registry``."""
    settings = load_settings(**options)
    metrics = Metrics()
    plane = Plane(registry, settings, metrics)
    sequences = Sequences(plane.sessions, plane.describe, settings.session_ttl, Owners())
    given = (Statistics(metrics), gate, follow, sequences)
    try:
        async with connected(plane, settings, *given) as stub:
            stub.plane = plane
            yield stub
    finally:
        await plane.close()


def request(tensors, model="curves", *, outputs=(), raw=True, **fields):
    """A request of arrays by name; parameters are given as ``parameters``."""
    parameters = fields.pop("parameters", {})
    made = oip.ModelInferRequest(model_name=model, **fields)
    for name, array in tensors.items():
        datatype, data = encoded(array)
        tensor = made.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            made.raw_input_contents.append(data)
        else:
            field = {"FP64": "fp64_contents", "FP32": "fp32_contents", "INT64": "int64_contents"}
            getattr(tensor.contents, field[datatype]).extend(array.ravel().tolist())
    for name in outputs:
        made.outputs.add(name=name)
    set_parameters(made, parameters)
    return made


def set_parameters(made, parameters):
    """As clients do: by the type of the value."""
    fields = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    for name, value in parameters.items():
        setattr(made.parameters[name], fields[type(value)], value)


def arrays(response):
    """The outputs of a response by name; all must be raw."""
    assert len(response.outputs) == len(response.raw_output_contents)
    dtypes = {"FP64": "<f8", "FP32": "<f4", "INT64": "<i8"}
    found = {}
    for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        assert not tensor.HasField("contents")
        found[tensor.name] = np.frombuffer(raw, dtypes[tensor.datatype]).reshape(tensor.shape)
    return found
