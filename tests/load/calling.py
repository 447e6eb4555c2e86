"""Calls of the Open Inference Protocol and of ``Watch``, with nothing of our client in between."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np

from foretoken.proto import curves
from foretoken.proto import grpc_service as oip

SERVICE = "/inference.GRPCInferenceService"
DATATYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "bool": "BOOL"}


def infer(model: str = "lcpfn", /, **tensors: Any) -> oip.ModelInferRequest:
    """A request with raw tensors."""
    request = oip.ModelInferRequest(model_name=model)
    for name, given in tensors.items():
        array = np.asarray(given)
        request.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


def large() -> bytes:
    """200 curves of 50 points with 100 steps each: about a second of work for one core."""
    values = np.tile(np.linspace(0.1, 0.8, 50), (200, 1))
    steps, at = np.arange(1.0, 51), np.arange(51.0, 151)
    return infer(values=values, steps=steps, at=at).SerializeToString()


def call(channel: grpc.Channel, method: str, request: Any, **options: Any) -> Any:
    """Answer of a unary method of the protocol; it is raised as ``grpc.RpcError`` if it is none."""
    made = channel.unary_unary(
        f"{SERVICE}/{method}",
        type(request).SerializeToString,
        getattr(oip, f"{method}Response").FromString,
    )
    return made(request, timeout=options.pop("timeout", 60), **options)


def outcome(channel: grpc.Channel, method: str, request: Any, **options: Any) -> tuple[str, str]:
    """Status and its text."""
    try:
        call(channel, method, request, **options)
    except grpc.RpcError as e:
        return e.code().name, e.details()
    return "OK", ""


def tensors(response: oip.ModelInferResponse) -> dict[str, np.ndarray]:
    """Outputs by name."""
    return {
        output.name: np.frombuffer(raw, np.float64).reshape(list(output.shape))
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def watching(channel: grpc.Channel, requests: Any, **options: Any) -> Any:
    """A ``Watch`` stream of raw calls."""
    method = channel.stream_stream(
        "/foretoken.v1.Curves/Watch",
        curves.WatchRequest.SerializeToString,
        curves.WatchResponse.FromString,
    )
    return method(requests, **options)


def opened(model: str = "lcpfn") -> curves.WatchRequest:
    return curves.WatchRequest(open=curves.WatchOpen(model=model, at=[50, 100], best=0.5))


def observed(step: float, value: float) -> curves.WatchRequest:
    return curves.WatchRequest(observe=curves.Observation(step=step, value=value))
