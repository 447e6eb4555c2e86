"""Replies: which outputs a request asks for, and typed replies as tensors of a response."""

from __future__ import annotations

from collections.abc import Sequence

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.contract import Array
from foretoken.proto import grpc_service as oip
from foretoken.server.doors.oip.datatypes import encoded
from foretoken.server.doors.tasks.base import Asked, Codec
from foretoken.server.plane import Answers

__all__ = ["reply", "requested"]


def requested(request: oip.ModelInferRequest, codec: Codec) -> Sequence[str]:
    """The outputs that a request asks for, in its order.

    Raises:
        InvalidInput: if there is none of that name, or it is asked for in ways that mean nothing.
        Unsupported: if it is to be classified, or written to shared memory.
    """
    there = [tensor.name for tensor in codec.outputs]
    names = [output.name for output in request.outputs]
    for output in request.outputs:
        if output.parameters:
            _refuse_parameters(output)
        if there and output.name not in there:
            raise InvalidInput(f"no output {output.name!r}; there are {', '.join(there)}")
    if len(set(names)) < len(names):
        raise InvalidInput(f"an output is asked for twice: {', '.join(names)}")
    return names


def _refuse_parameters(output: oip.ModelInferRequest.InferRequestedOutputTensor) -> None:
    given = ", ".join(sorted(output.parameters))
    if "classification" in output.parameters or "shared_memory_region" in output.parameters:
        raise Unsupported(
            f"output {output.name!r} is asked for with {given}: this server neither classifies nor "
            "writes to shared memory; ask for the tensor itself"
        )
    raise InvalidInput(f"output {output.name!r} has parameters ({given}); outputs take none")


def reply(
    request_id: str, answers: Answers, codec: Codec, asked: Asked, names: Sequence[str]
) -> oip.ModelInferResponse:
    """The outputs ``names``, or all of them, as raw bytes."""
    version, replies, hits = answers.version, answers.replies, answers.hits
    response = oip.ModelInferResponse(
        model_name=version.name, model_version=str(version.number), id=request_id
    )
    if hits and None not in hits:
        response.parameters["cache"].string_param = "HIT" if all(hits) else "MISS"
    for name in names or codec.names(replies):
        array: Array = codec.encode(name, replies, asked)
        datatype, raw = encoded(array)
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(raw)
    return response
