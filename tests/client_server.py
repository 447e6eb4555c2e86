"""A server that answers as a test tells it to, for what a real one does only on a bad day."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc

__all__ = ["Fake", "aborting"]

Answer = Callable[[str, grpc.ServicerContext], bytes]


class Fake(grpc.GenericRpcHandler):
    """Answers every method with ``answer``, and keeps when it was asked.

    Attributes:
        answer: from a method's name and a context to the bytes of a reply; may abort.
        asked: name of each method that was called, with the time.
    """

    def __init__(self) -> None:
        self.answer: Answer = lambda _method, _context: b""
        self.asked: list[tuple[str, float]] = []
        self._server = grpc.server(ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler:
        name = handler_call_details.method.rpartition("/")[2]

        def unary(_data: bytes, context: grpc.ServicerContext) -> bytes:
            self.asked.append((name, time.monotonic()))
            return self.answer(name, context)

        def upload(messages: Any, context: grpc.ServicerContext) -> bytes:
            for _ in messages:
                pass
            return unary(b"", context)

        def stream(messages: Any, context: grpc.ServicerContext) -> Any:
            for message in messages:
                yield unary(message, context)

        if name in ("Watch", "PredictStream", "EmbedStream", "Stream", "Generate", "Search"):
            return grpc.stream_stream_rpc_method_handler(stream)
        if name == "Register":
            return grpc.stream_unary_rpc_method_handler(upload)
        return grpc.unary_unary_rpc_method_handler(unary)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()


def aborting(code: grpc.StatusCode, details: str = "said so", *trailers: tuple[str, str]) -> Answer:
    """An answer that ends the call with a status."""

    def answer(_method: str, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata(trailers)
        context.abort(code, details)
        raise AssertionError("abort raises")

    return answer
