"""Calls of one message whose replies are many, on ``grpc.aio``."""

from __future__ import annotations

from typing import Any

import grpc

from foretoken.client.aio_transport import Stream
from foretoken.client.methods import Method
from foretoken.client.operations import Budget

__all__ = ["Responses"]


class Responses(Stream):
    """Replies to one message, in order.

    Args:
        called: the method.
        call: gRPC's, begun.
        address: of the server.
        budget: that all replies have together.
    """

    def __init__(self, called: Method, call: Any, address: str, budget: Budget) -> None:
        super().__init__(called, call, address)
        self._budget = budget
        self._closed = False

    async def following(self) -> Any | None:
        """The next reply; None after the last, or once it is closed."""
        if self._closed:
            return None
        try:
            async with self._ours(self._budget):
                data = await self._call.read()
        except BaseException:
            closed = self._closed
            self.end()
            if closed:  # by another task
                return None
            raise
        if data is grpc.aio.EOF:
            self._closed = True
            return None
        return self._called.read(data)

    def end(self) -> None:
        """End the call now; there are no more replies."""
        self._closed = True
        self.cancel()
