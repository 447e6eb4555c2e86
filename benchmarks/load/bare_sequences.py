"""A plain grpc.aio server of streams: ``python -m benchmarks.load.bare_sequences PORT BYTES``.

It answers each message of ``foretoken.v1.Sequences.Stream`` with outputs of BYTES bytes, made anew:
what such a stream costs in Python at the least, without a model, sessions or anybody's rights.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import grpc

from foretoken.proto.sequences import SequenceRequest, SequenceResponse

SERVICE = "foretoken.v1.Sequences"


class Plain:
    """Answers streams.

    Args:
        size: bytes of the outputs.
    """

    def __init__(self, size: int) -> None:
        self._data = bytes(size)

    async def stream(self, _requests: object, context: Any) -> None:
        """Answer every message of one stream."""
        step = 0
        while (request := await context.read()) is not grpc.aio.EOF:
            step += 1
            response = SequenceResponse(session=request.session)
            response.outputs.step = step
            response.outputs.outputs.add(
                name="quantiles", dtype="float64", shape=(1, len(self._data) // 8), data=self._data
            )
            await context.write(response)


async def serve(port: int, size: int) -> None:
    server = grpc.aio.server()
    handlers = {
        "Stream": grpc.stream_stream_rpc_method_handler(
            Plain(size).stream, SequenceRequest.FromString, SequenceResponse.SerializeToString
        )
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("port", type=int)
    parser.add_argument("size", type=int)
    parser.add_argument("--uvloop", action="store_true")
    args = parser.parse_args()
    work = serve(args.port, args.size)
    if args.uvloop:
        import uvloop  # noqa: PLC0415

        uvloop.run(work)
    else:
        asyncio.run(work)


if __name__ == "__main__":
    main()
