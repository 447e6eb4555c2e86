"""Calls of one message whose replies are many, on ``grpc``."""

from __future__ import annotations

from typing import Any

import grpc

from foretoken.client.failures import failure
from foretoken.client.methods import Method

__all__ = ["Responses"]


class Responses:
    """Replies to one message, in order, read by whoever asks for the next.

    Args:
        called: the method.
        call: gRPC's, begun.
        address: of the server.
    """

    def __init__(self, called: Method, call: Any, address: str) -> None:
        self._called = called
        self._call = call
        self._address = address
        self._closed = False

    def __iter__(self) -> Responses:
        return self

    def __next__(self) -> Any:
        if self._closed:
            raise StopIteration
        try:
            return self._called.read(next(self._call))
        except StopIteration:
            self._closed = True
            raise
        except grpc.RpcError as e:
            closed, self._closed = self._closed, True
            if closed:  # by another thread
                raise StopIteration from e
            raise failure(e, self._address) from e
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the call now; there are no more replies."""
        self._closed = True
        self._call.cancel()
