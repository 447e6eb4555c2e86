"""The line between the supervisor and a worker: JSON objects, one a line, over a socket pair.

Its end tells each that the other is gone, however it went: the kernel closes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Lifeline", "Lines", "Message"]

Message = dict[str, Any]
CHUNK = 1 << 16
ABANDONED = 1  # exit status of a worker whose supervisor has gone before it served


class Lines:
    """Takes what has been read apart into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    @staticmethod
    def encode(message: Message) -> bytes:
        """A message as it goes over the line."""
        return json.dumps(message).encode() + b"\n"


class Lifeline:
    """A worker's end. A thread reads it, so that it is heard whatever the worker is doing.

    Args:
        fd: of the socket; this object owns it.
    """

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._gone = False
        self._on_end: Callable[[], None] | None = None
        threading.Thread(target=self._read, name="foretoken-lifeline", daemon=True).start()

    def next(self) -> Message:
        """The next message of the supervisor; waits for it, and ends the process if it goes."""
        return self._messages.get()

    def say(self, message: Message) -> None:
        """Tell the supervisor; it may be gone."""
        with contextlib.suppress(OSError):  # the thread hears of it too
            self._socket.sendall(Lines.encode(message))

    def on_end(self, stop: Callable[[], None]) -> None:
        """Have ``stop`` called, in another thread, when the supervisor goes.

        Until then its going ends the process at once: there is nothing that needs to be ended well.
        """
        with self._lock:
            self._on_end = stop
            gone = self._gone
        if gone:
            stop()

    def _read(self) -> None:
        lines = Lines()
        while data := self._receive():
            for message in lines.feed(data):
                self._messages.put(message)
        with self._lock:
            self._gone = True
            stop = self._on_end
        if stop is None:
            os._exit(ABANDONED)
        stop()

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(CHUNK)
        except OSError:
            return b""
