"""A plain grpc.aio server that echoes tensors: ``python -m benchmarks.load.bare PORT [--uvloop]``.

What a Python server costs at the least: the same messages, parsed and made, and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator

import grpc

from foretoken.proto.grpc_service import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)


async def infer(request: ModelInferRequest, _context: object) -> ModelInferResponse:
    return echoed(request)


async def stream(
    requests: AsyncIterator[ModelInferRequest], _context: object
) -> AsyncIterator[ModelStreamInferResponse]:
    async for request in requests:
        yield ModelStreamInferResponse(infer_response=echoed(request))


def echoed(request: ModelInferRequest) -> ModelInferResponse:
    response = ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    for tensor in request.inputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    response.raw_output_contents.extend(request.raw_input_contents)
    return response


async def serve(port: int) -> None:
    server = grpc.aio.server()
    handlers = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(
            infer, ModelInferRequest.FromString, ModelInferResponse.SerializeToString
        ),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
            stream, ModelInferRequest.FromString, ModelStreamInferResponse.SerializeToString
        ),
    }
    service = "inference.GRPCInferenceService"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("port", type=int)
    parser.add_argument("--uvloop", action="store_true")
    args = parser.parse_args()
    if args.uvloop:
        import uvloop  # noqa: PLC0415

        uvloop.run(serve(args.port))
    else:
        asyncio.run(serve(args.port))


if __name__ == "__main__":
    main()
