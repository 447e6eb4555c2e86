"""Streams of ``foretoken.v1.Sequences``, with nothing of our client in between."""

from __future__ import annotations

import queue
import sqlite3
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from foretoken.proto import sequences as wire

STREAM = "/foretoken.v1.Sequences/Stream"


class Talker:
    """A stream of several sessions, numbered from 1, each open and told an observation.

    Args:
        channel: to the server.
        count: sessions.
        how: fields of ``SequenceOpen``, beside the model.
        options: of the call.
    """

    def __init__(self, channel: grpc.Channel, count: int, how: dict[str, Any], **options) -> None:
        self._given: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        method = channel.stream_stream(STREAM, None, wire.SequenceResponse.FromString)
        self.stream = method(iter(self._given.get, None), **options)
        self.ids = []
        for number in range(1, count + 1):
            self.say(number, open=wire.SequenceOpen(model="toy", **how))
            self.ids.append(next(self.stream).opened.id)
        for number in range(1, count + 1):
            self.observe(number)
            assert next(self.stream).outputs.step == 1

    def say(self, number: int, **message: Any) -> None:
        """Tell a session something."""
        self.tell(wire.SequenceRequest(session=number, **message).SerializeToString())

    def tell(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._given.put(data)

    def observe(self, number: int, *values: float) -> None:
        """Tell a session one observation."""
        told = np.array(values or (0.5, -0.5)).tobytes()
        self.say(number, observe=wire.Observe(values=told, steps=1))

    def end(self) -> None:
        """Say no more, in order."""
        self._given.put(None)

    def code(self) -> str:
        """With what it ends, all answers read."""
        try:
            self.answers = list(self.stream)
        except grpc.RpcError as e:
            return e.code().name
        return "OK"


def rows(data_dir: Path) -> dict[str, str]:
    """Sessions of which a state is kept in a data dir, and of what kind it is."""
    path = data_dir / "sessions.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30) as database:
        return dict(database.execute("SELECT session, kind FROM sessions WHERE gone IS NULL"))
