"""A listener over a small service, on a free port of the loopback, and what it told."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from types import SimpleNamespace

import grpc

from foretoken.proto import curves
from foretoken.proto.loading import service
from foretoken.server.doors.listen import listen
from foretoken.server.doors.rpc import OPEN
from foretoken.server.doors.service import Bidirectional, Service, Unary
from foretoken.server.log import Log
from foretoken.server.settings import Settings

EXTRAPOLATE = "/foretoken.v1.Curves/Extrapolate"
WATCH = "/foretoken.v1.Curves/Watch"
ANSWERS = SimpleNamespace(version=SimpleNamespace(name="toy", number=2), seconds=0.0)


class Ears:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str, float, float]] = []
        self.open: Counter[str] = Counter()
        self.gone: list[str] = []
        self.late: list[str] = []

    def rpc(self, method, model, code, seconds, encode):
        self.calls.append((method, model, code, seconds, encode))

    def stream(self, method, delta):
        self.open[method] += delta

    def cancelled(self, method, model):
        self.gone.append(method)

    def deadline_missed(self, method, model):
        self.late.append(method)

    @property
    def codes(self) -> list[str]:
        return [call[2] for call in self.calls]


class Toy:
    """Curves whose handlers can be replaced; by default an answer of the plane, and an echo."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    async def extrapolate(self, message, call):
        self.calls.append(call)
        call.answered(ANSWERS)
        return curves.ExtrapolateResponse(model=message.model)

    async def watch(self, stream, call):
        self.calls.append(call)
        while (message := await stream.read()) is not None:
            await stream.write(curves.WatchResponse(observed=int(message.observe.step)))

    def service(self) -> Service:
        async def extrapolate(message, call):
            return await self.extrapolate(message, call)

        async def watch(stream, call):
            return await self.watch(stream, call)

        methods = {"Extrapolate": Unary(extrapolate), "Watch": Bidirectional(watch)}
        return Service(service("foretoken/v1/curves.proto", "Curves"), methods)


@contextlib.asynccontextmanager
async def serving(*services, gate=OPEN, unix=None, log_fd=None, log=None, **settings):
    """``listener``, ``port``, ``ears``; ``channel()`` opens one, closed at the end."""
    ears = Ears()
    null = os.open(os.devnull, os.O_WRONLY) if log_fd is None else log_fd
    log = log or Log(fd=null, flush=0.01)
    chosen = Settings(**settings)
    listener = listen(services, gate, ears, log, chosen)
    port = await listener.start(0, unix)
    async with contextlib.AsyncExitStack() as stack:

        async def channel(address=f"127.0.0.1:{port}", secret=None, options=()):
            made = (
                grpc.aio.insecure_channel(address, options=options)
                if secret is None
                else grpc.aio.secure_channel(address, secret, options=options)
            )
            return await stack.enter_async_context(made)

        try:
            yield SimpleNamespace(listener=listener, port=port, ears=ears, channel=channel, log=log)
        finally:
            await listener.stop(0)
            log.close()
            if log_fd is None:
                os.close(null)


def unary(channel, method=EXTRAPOLATE, reply=curves.ExtrapolateResponse):
    """A unary method; messages or bytes in."""
    return channel.unary_unary(method, _data, reply.FromString)


def stream(channel, method=WATCH, reply=curves.WatchResponse):
    """A bidirectional method; messages or bytes in."""
    return channel.stream_stream(method, _data, reply.FromString)


def _data(message) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


async def until(condition, seconds=20.0):
    """Wait for a condition to hold, and fail if it does not."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def observe(step):
    return curves.WatchRequest(observe=curves.Observation(step=step, value=0.5))
