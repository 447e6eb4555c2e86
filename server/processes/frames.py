"""Frames: binary messages between workers, one connection for many calls at once.

A frame is its length (uint32, of what follows), what it is (uint8), the number of the call that it
belongs to (uint64), all little-endian, and its contents.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import cast

__all__ = ["Frames", "What"]

_HEAD = struct.Struct("<IBQ")
_LENGTH = 4  # bytes of it that tell the length, which counts the other ones
LARGE = 1 << 16  # bytes from which contents are not copied behind their head


class What(IntEnum):
    """What a frame is."""

    ASK = 1  # a request: terms and the message
    DROP = 2  # end a sequence: terms and its key
    CANCEL = 3  # nobody waits for the answer any more
    ANSWER = 4
    REFUSE = 5  # an error
    MOVED = 6  # the sequence is not here, and nothing has been done


_KNOWN = frozenset(What)
Heard = Callable[["Frames", What, int, bytes], None]


class Frames(asyncio.Protocol):
    """One end of a connection.

    Args:
        most: bytes of a frame; whoever sends a longer one is cut off.
        heard: is told of every frame.
        gone: is told when the other end has gone.
    """

    def __init__(self, most: int, heard: Heard, gone: Callable[[Frames], None]) -> None:
        self._most = most
        self._heard = heard
        self._gone = gone
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._room = asyncio.Event()  # to write
        self._room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio's protocol."""
        self._transport = cast("asyncio.Transport", transport)  # or another loop's own class

    def data_received(self, data: bytes) -> None:
        """Part of asyncio's protocol."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _HEAD.size:
            length, what, call = _HEAD.unpack_from(buffer, at)
            too_long = length + _LENGTH > self._most
            if too_long or length < _HEAD.size - _LENGTH or what not in _KNOWN:
                self.close(at_once=True)
                break
            end = at + _LENGTH + length
            if end > len(buffer):
                break
            self._heard(self, What(what), call, bytes(buffer[at + _HEAD.size : end]))
            at = end
        del buffer[:at]

    def connection_lost(self, _exc: Exception | None) -> None:
        """Part of asyncio's protocol."""
        self._transport = None
        self._room.set()
        self._gone(self)

    def pause_writing(self) -> None:
        """Part of asyncio's protocol."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Part of asyncio's protocol."""
        self._room.set()

    @property
    def open(self) -> bool:
        """Whether the other end is there."""
        return self._transport is not None and not self._transport.is_closing()

    async def room(self) -> None:
        """Wait until the other end has read enough of what was written."""
        await self._room.wait()

    def write(self, what: What, call: int, contents: bytes = b"") -> None:
        """Send a frame; nothing happens if the other end has gone."""
        if self._transport is None:
            return
        head = _HEAD.pack(_HEAD.size - _LENGTH + len(contents), what, call)
        if len(contents) < LARGE:
            self._transport.write(head + contents)
        else:
            self._transport.write(head)
            self._transport.write(contents)

    def close(self, *, at_once: bool = False) -> None:
        """End the connection, once what was written is sent."""
        if self._transport is None:
            return
        if at_once:
            self._transport.abort()
        else:
            self._transport.close()
