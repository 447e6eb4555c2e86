"""Load for a gRPC server, from a process of its own: ``python -m benchmarks.load.generator``.

A job comes as JSON on standard input, its result goes as JSON to standard output. Closed loop: so
many callers, each asking again when it is answered. Open loop: calls arrive by a Poisson process
whatever becomes of the earlier ones; latency counts from when a call was due, so that a stalled
server hides nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
import numpy as np

BUCKET = 0.1  # seconds of the trace
PUSHBACK = ("grpc-retry-pushback-ms", "retry-after-ms")
WARM = 0.5  # seconds before anything counts


@dataclass(frozen=True)
class Job:
    """One run of load.

    Args:
        target: host:port.
        method: "/package.Service/Method".
        payloads: serialised requests, sent in turn.
        seconds: that count; half a second goes before.
        callers: of a closed loop; each has one call in flight.
        phases: of an open loop, each calls per second and seconds; then there are no callers, and
            ``seconds`` is what the phases take together.
        channels: connections, each a socket of its own.
        metadata: sent with every call.
        timeout: of every call, in seconds.
        wait: calls wait for a connection instead of failing at once while there is none.
        seed: of the arrivals of an open loop; jobs that run side by side have different ones.
    """

    target: str
    method: str
    payloads: tuple[bytes, ...]
    seconds: float = 3.0
    callers: int = 32
    phases: tuple[tuple[float, float], ...] = ()
    channels: int = 4
    metadata: tuple[tuple[str, str], ...] = ()
    timeout: float | None = 10.0
    wait: bool = False
    seed: int = 0

    def dumped(self) -> str:
        """As JSON."""
        payloads = [base64.b64encode(p).decode() for p in self.payloads]
        return json.dumps({**asdict(self), "payloads": payloads})

    @classmethod
    def parsed(cls, text: str) -> Job:
        """The inverse of ``dumped``."""
        said = json.loads(text)
        payloads = tuple(base64.b64decode(p) for p in said.pop("payloads"))
        for pairs in ("phases", "metadata"):
            said[pairs] = tuple(map(tuple, said[pairs]))
        return cls(payloads=payloads, **said)

    @property
    def length(self) -> float:
        """Seconds that count."""
        return sum(seconds for _, seconds in self.phases) or self.seconds


@dataclass(frozen=True)
class Result:
    """What became of a job.

    Args:
        seconds: from the first call that counts to the last one's end.
        codes: calls by status code.
        p50, p90, p99: milliseconds of answered calls; NaN without any.
        cpu: processor seconds of this process, per second.
        late: 99th percentile of the milliseconds by which calls of an open loop left too late.
        pushback: calls answered RESOURCE_EXHAUSTED that said when to come back.
        details: an example of the text for each code but OK.
        uncounted: calls made while warming up.
        trace: status codes by the bucket (``BUCKET`` seconds) in which the calls were due.
        refused: as p50 and p99, milliseconds of calls answered RESOURCE_EXHAUSTED.
    """

    seconds: float
    codes: dict[str, int]
    p50: float
    p90: float
    p99: float
    cpu: float
    late: float = 0.0
    pushback: int = 0
    uncounted: int = 0
    details: dict[str, str] = field(default_factory=dict)
    trace: list[dict[str, int]] = field(default_factory=list)
    refused: tuple[float, float] = (float("nan"), float("nan"))

    def between(self, start: float, end: float) -> dict[str, int]:
        """Status codes of the calls that were due in this part of the trace, in seconds."""
        found: Counter[str] = Counter()
        for bucket in self.trace[round(start / BUCKET) : round(end / BUCKET)]:
            found.update(bucket)
        return dict(found)

    @property
    def rate(self) -> float:
        """Answered calls per second."""
        return self.codes.get("OK", 0) / self.seconds

    @property
    def calls(self) -> int:
        """Answered or not."""
        return sum(self.codes.values())

    @property
    def failed(self) -> int:
        """Not answered."""
        return self.calls - self.codes.get("OK", 0)


class Load:
    """Sends the calls of a job and notes what becomes of them."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._codes: Counter[str] = Counter()
        self._taken: list[float] = []
        self._refused: list[float] = []
        self._late: list[float] = []
        self._details: dict[str, str] = {}
        self._trace: list[Counter[str]] = []
        self._pushback = self._uncounted = 0
        self._start = 0.0  # what was due before does not count
        self._end = 0.0

    async def run(self) -> Result:
        """Open the channels, warm up, and send."""
        job = self._job
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        channels = [grpc.aio.insecure_channel(job.target, options) for _ in range(job.channels)]
        calls = [channel.unary_unary(job.method) for channel in channels]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        self._start = time.perf_counter() + WARM
        self._end = self._start + job.length
        marks = asyncio.create_task(self._marked())
        await (self._open(calls) if job.phases else self._closed(calls))
        seconds = time.perf_counter() - self._start
        cpu = (time.process_time() - await marks) / seconds
        await asyncio.gather(*(channel.close() for channel in channels))
        return self._result(seconds, cpu)

    async def _marked(self) -> float:
        await asyncio.sleep(self._start - time.perf_counter())
        return time.process_time()

    async def _closed(self, calls: list[Callable[..., Awaitable[bytes]]]) -> None:
        async def caller(number: int) -> None:
            while (now := time.perf_counter()) < self._end:
                await self._call(calls[number % len(calls)], number, now)
                number += self._job.callers

        await asyncio.gather(*(caller(i) for i in range(self._job.callers)))

    async def _open(self, calls: list[Callable[..., Awaitable[bytes]]]) -> None:
        rng, number = random.Random(self._job.seed), 0
        due, flying = time.perf_counter(), set[asyncio.Task[None]]()
        while due < self._end:
            if (ahead := due - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            if due >= self._start:
                self._late.append(time.perf_counter() - due)
            task = asyncio.create_task(self._call(calls[number % len(calls)], number, due))
            flying.add(task)
            task.add_done_callback(flying.discard)
            number += 1
            due += rng.expovariate(self._rate(due - self._start))
        await asyncio.gather(*flying)

    def _rate(self, at: float) -> float:
        for rate, seconds in self._job.phases:
            if at < seconds:
                return rate
            at -= seconds
        return self._job.phases[-1][0]

    async def _call(self, call: Callable[..., Awaitable[bytes]], number: int, due: float) -> None:
        job = self._job
        payload = job.payloads[number % len(job.payloads)]
        error: grpc.aio.AioRpcError | None = None
        try:
            await call(payload, metadata=job.metadata, timeout=job.timeout, wait_for_ready=job.wait)
        except grpc.aio.AioRpcError as e:
            error = e
        if due >= self._start:
            self._note(due, time.perf_counter() - due, error)
        else:
            self._uncounted += 1

    def _note(self, due: float, taken: float, error: grpc.aio.AioRpcError | None) -> None:
        code = "OK" if error is None else error.code().name
        self._codes[code] += 1
        bucket = int((due - self._start) / BUCKET)
        while len(self._trace) <= bucket:
            self._trace.append(Counter())
        self._trace[bucket][code] += 1
        if error is None:
            self._taken.append(taken)
            return
        self._details.setdefault(code, str(error.details()))
        if code == "RESOURCE_EXHAUSTED":
            self._refused.append(taken)
            said = {key for key, _ in error.trailing_metadata() or ()}
            self._pushback += all(key in said for key in PUSHBACK)

    def _result(self, seconds: float, cpu: float) -> Result:
        p50, p90, p99 = percentiles(self._taken, 50, 90, 99)
        return Result(
            seconds=seconds,
            codes=dict(self._codes),
            p50=p50,
            p90=p90,
            p99=p99,
            cpu=cpu,
            late=percentiles(self._late, 99)[0],
            pushback=self._pushback,
            uncounted=self._uncounted,
            details=self._details,
            trace=[dict(bucket) for bucket in self._trace],
            refused=(percentiles(self._refused, 50)[0], percentiles(self._refused, 99)[0]),
        )


def percentiles(seconds: list[float], *levels: float) -> list[float]:
    """In milliseconds; NaN of nothing."""
    if not seconds:
        return [float("nan")] * len(levels)
    return [1e3 * float(p) for p in np.percentile(seconds, levels)]


def main() -> None:
    import uvloop  # noqa: PLC0415

    result: Result = uvloop.run(Load(Job.parsed(sys.stdin.read())).run())
    said: dict[str, Any] = asdict(result)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
