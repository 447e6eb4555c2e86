"""Messages on streams, from a process of its own: ``python -m benchmarks.load.talking``.

A talk comes as JSON on standard input, what came of it goes as JSON to standard output. Every
stream opens its sessions, then each of these has one message on its way at a time until the time is
over. Messages are bytes that were made before; replies are counted and looked at no closer, but for
the first of each session.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import grpc

from benchmarks.load.generator import WARM, percentiles

TIMES = 200_000  # latencies that are kept


@dataclass(frozen=True)
class Talk:
    """Load on streams.

    Args:
        target: host:port.
        method: "/package.Service/Method".
        openings: of the sessions of one stream, serialised.
        messages: of the same sessions, sent over and over.
        streams: how many there are at once.
        channels: connections that these share.
        seconds: that count; half a second goes before.
        metadata: of every stream.
    """

    target: str
    method: str
    openings: tuple[bytes, ...]
    messages: tuple[bytes, ...]
    streams: int = 32
    channels: int = 4
    seconds: float = 3.0
    metadata: tuple[tuple[str, str], ...] = ()

    def dumped(self) -> str:
        """As JSON."""
        coded = {
            name: [base64.b64encode(each).decode() for each in getattr(self, name)]
            for name in ("openings", "messages")
        }
        return json.dumps({**asdict(self), **coded})

    @classmethod
    def parsed(cls, text: str) -> Talk:
        """The inverse of ``dumped``."""
        said = json.loads(text)
        for name in ("openings", "messages"):
            said[name] = tuple(base64.b64decode(each) for each in said[name])
        said["metadata"] = tuple(map(tuple, said["metadata"]))
        return cls(**said)


@dataclass(frozen=True)
class Heard:
    """What came of a talk.

    Args:
        rate: messages that were answered, per second.
        p50, p99: milliseconds.
        cpu: processor seconds of this process, per second.
        size: bytes of the last reply.
        uncounted: messages of the time before.
    """

    rate: float
    p50: float
    p99: float
    cpu: float
    size: int
    uncounted: int


class Talker:
    """Talks, and counts."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._count = self._uncounted = self._size = 0
        self._taken: list[float] = []
        self._start = self._end = 0.0

    async def run(self) -> Heard:
        """Open the streams, warm up, and talk."""
        talk = self._talk
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        channels = [grpc.aio.insecure_channel(talk.target, options) for _ in range(talk.channels)]
        calls = [
            channels[i % talk.channels].stream_stream(talk.method)(metadata=talk.metadata)
            for i in range(talk.streams)
        ]
        for call in calls:
            await self._open(call)
        self._start = time.perf_counter() + WARM
        self._end = self._start + talk.seconds
        marks = asyncio.create_task(self._marked())
        talks = self._alone if len(talk.messages) == 1 else self._several
        await asyncio.gather(*map(talks, calls))
        seconds = time.perf_counter() - self._start
        cpu = (time.process_time() - await marks) / seconds
        for call in calls:
            call.cancel()
        await asyncio.gather(*(channel.close() for channel in channels))
        p50, p99 = percentiles(self._taken, 50, 99)
        return Heard(self._count / seconds, p50, p99, cpu, self._size, self._uncounted)

    async def _open(self, call: Any) -> None:
        for opening in self._talk.openings:
            await call.write(opening)
            self._expect(await call.read())
        for message in self._talk.messages:
            await call.write(message)
            self._expect(await call.read())

    def _expect(self, reply: Any) -> None:
        if reply is grpc.aio.EOF or b"foretoken-error" in reply or b"InvalidInput" in reply:
            raise RuntimeError(f"the server says {reply!r}")

    async def _marked(self) -> float:
        await asyncio.sleep(self._start - time.perf_counter())
        return time.process_time()

    async def _alone(self, call: Any) -> None:
        (message,) = self._talk.messages
        write, read = call.write, call.read
        while (began := time.perf_counter()) < self._end:
            await write(message)
            self._note(began, await read())

    async def _several(self, call: Any) -> None:
        """Of one stream: a message of every session is sent, then one for each that is answered."""
        messages = self._talk.messages
        order = {self._number(message): message for message in messages}
        sent: dict[int, float] = {}
        ready: asyncio.Queue[int] = asyncio.Queue()
        for number in order:
            ready.put_nowait(number)

        async def speak() -> None:
            while time.perf_counter() < self._end:
                number = await ready.get()
                sent[number] = time.perf_counter()
                await call.write(order[number])

        speaking = asyncio.create_task(speak())
        while not speaking.done():
            reply = await call.read()
            number = self._number(reply)
            self._note(sent[number], reply)
            ready.put_nowait(number)
        await speaking

    def _number(self, message: bytes) -> int:
        """The session's number: the first field of requests and responses alike."""
        number, shift = 0, 0
        for byte in message[1:6]:
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
        raise ValueError(f"no message of a session: {message[:8]!r}")

    def _note(self, began: float, reply: bytes) -> None:
        if reply is grpc.aio.EOF:
            raise RuntimeError("a stream has ended")
        if began < self._start:
            self._uncounted += 1
            return
        self._count += 1
        self._size = len(reply)
        if len(self._taken) < TIMES:
            self._taken.append(time.perf_counter() - began)


def opened(numbers: Sequence[int], message: Any) -> tuple[bytes, ...]:
    """The same request for each of these sessions, serialised."""
    made = []
    for number in numbers:
        message.session = number
        made.append(message.SerializeToString())
    return tuple(made)


def main() -> None:
    import uvloop  # noqa: PLC0415

    heard: Heard = uvloop.run(Talker(Talk.parsed(sys.stdin.read())).run())
    print(json.dumps(asdict(heard)))


if __name__ == "__main__":
    main()
