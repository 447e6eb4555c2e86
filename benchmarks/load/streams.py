"""Streams that are begun and cancelled: ``python -m benchmarks.load.streams TARGET METHOD COUNT``.

A first request comes on standard input and metadata, as JSON, in the variable ``METADATA``. Each
stream is answered once before it is cancelled, so that every one has lived.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

import grpc

AT_ONCE = 16


async def cancelled(target: str, method: str, request: bytes, count: int) -> None:
    """Begin and cancel ``count`` streams over a few connections."""
    metadata = tuple(map(tuple, json.loads(os.environ.get("METADATA", "[]"))))
    options = [("grpc.use_local_subchannel_pool", 1)]
    left = iter(range(count))

    async def work() -> None:
        async with grpc.aio.insecure_channel(target, options) as channel:
            begin = channel.stream_stream(method)
            for _ in left:
                call = begin(metadata=metadata, timeout=60)
                await call.write(request)
                if await call.read() is grpc.aio.EOF:
                    raise RuntimeError(f"a stream ended: {await call.details()}")
                call.cancel()

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target")
    parser.add_argument("method")
    parser.add_argument("count", type=int)
    args = parser.parse_args()
    request = sys.stdin.buffer.read()
    asyncio.run(cancelled(args.target, args.method, request, args.count))


if __name__ == "__main__":
    main()
