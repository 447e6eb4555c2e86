"""Requests of the Open Inference Protocol, serialised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foretoken.models.contract import Array
from foretoken.proto.grpc_service import ModelInferRequest

__all__ = ["INFER", "curve", "echo"]

INFER = "/inference.GRPCInferenceService/ModelInfer"
_DATATYPES = {"float32": "FP32", "float64": "FP64"}


def infer(model: str, **tensors: Array) -> ModelInferRequest:
    """A request with raw tensors."""
    request = ModelInferRequest(model_name=model, id="1")
    for name, array in tensors.items():
        datatype = _DATATYPES[array.dtype.name]
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


def echo(model: str = "echo") -> bytes:
    """64 bytes of tensor: one observation of sixteen numbers."""
    values = np.arange(16, dtype=np.float32).reshape(1, 16)
    return infer(model, values=values).SerializeToString()


def curve(values: NDArray[np.float64], at: NDArray[np.float64], model: str = "lcpfn") -> bytes:
    """One learning curve from its first step on."""
    steps = np.arange(1.0, len(values) + 1)
    return infer(model, values=values, steps=steps, at=at).SerializeToString()
