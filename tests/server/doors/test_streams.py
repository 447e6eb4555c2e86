"""Streams: live state is gone after every kind of end, and slow readers hold up nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap

import grpc
import pytest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from foretoken import errors
from foretoken.proto.loading import service
from foretoken.server.doors.reflection import reflection
from foretoken.server.doors.service import Service, Unary, Upload
from foretoken.server.terms import LOCAL, Scope
from tests.server.doors.serving import WATCH, Toy, observe, serving, stream, until
from tests.server.doors.test_rpc import refused, run

OWN = (("grpc.use_local_subchannel_pool", 1),)  # a channel with a connection of its own


def idle(server) -> bool:
    open_ = server.listener.streams or server.ears.open[WATCH]
    return not open_ and not server.listener.inflight


def test_messages_go_both_ways_in_order():
    async def act():
        async with serving(Toy().service()) as server:
            call = stream(await server.channel())()
            for step in range(3):
                await call.write(observe(step))
                assert (await call.read()).observed == step
                assert dict(server.listener.streams) == {WATCH: 1}
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert await call.code() == grpc.StatusCode.OK
            await until(lambda: idle(server))
            assert server.ears.codes == ["OK"]

    run(act())


class _Revoking:
    """A gate whose only token can be revoked."""

    def __init__(self) -> None:
        self.scopes: list[Scope | None] = []
        self.revoked = False

    def caller(self, metadata, peer, scope):
        self.scopes.append(scope)
        if self.revoked:
            raise errors.Unauthenticated("no valid token")
        return LOCAL


def test_a_stream_ends_with_the_token_that_began_it():
    async def act():
        gate = _Revoking()
        async with serving(Toy().service(), gate=gate) as server:
            call = stream(await server.channel())()
            for step in range(2):
                await call.write(observe(step))
                assert (await call.read()).observed == step
            assert gate.scopes == [Scope.PREDICT, None, None]  # it is counted as one call
            gate.revoked = True
            await call.write(observe(2))
            assert await call.code() == grpc.StatusCode.UNAUTHENTICATED
            await until(lambda: idle(server))

    run(act())


@pytest.mark.parametrize("end", ["cancel", "deadline", "error", "malformed", "bug"])
def test_nothing_is_live_after_any_end(end):
    async def act():
        toy = Toy()

        async def fail(stream, call):
            await stream.read()
            raise errors.NotFound("no such run") if end == "error" else ZeroDivisionError

        if end in ("error", "bug"):
            toy.watch = fail
        async with serving(toy.service()) as server:
            call = stream(await server.channel())(timeout=1 if end == "deadline" else None)
            await call.write(b"\xff\xff" if end == "malformed" else observe(1))
            if end == "cancel":
                await call.read()
                call.cancel()
            codes = {
                "cancel": "CANCELLED",
                "deadline": "DEADLINE_EXCEEDED",
                "error": "NOT_FOUND",
                "malformed": "INVALID_ARGUMENT",
                "bug": "INTERNAL",
            }
            assert (await call.code()).name == codes[end]
            await until(lambda: idle(server) and server.ears.codes)
            assert server.ears.codes == [codes[end]]

    run(act())


CLIENT = """
    import sys, grpc
    from foretoken.proto import curves
    channel = grpc.insecure_channel(sys.argv[1])
    def forever():
        yield curves.WatchRequest(observe=curves.Observation(step=1)).SerializeToString()
        import time; time.sleep(60)
    for reply in channel.stream_stream("/foretoken.v1.Curves/Watch")(forever()):
        print("here", flush=True)
"""


def test_a_killed_client_leaves_nothing():
    async def act():
        async with serving(Toy().service()) as server:
            address = f"127.0.0.1:{server.port}"
            client = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(CLIENT), address], stdout=subprocess.PIPE
            )
            assert await asyncio.to_thread(client.stdout.readline) == b"here\n"
            assert dict(server.listener.streams) == {WATCH: 1}
            client.send_signal(signal.SIGKILL)
            await until(lambda: idle(server) and server.ears.codes)
            assert server.ears.codes == ["CANCELLED"]
            client.wait()
            client.stdout.close()

    run(act())


def test_streams_beyond_the_bound_are_refused_until_one_ends():
    async def act():
        async with serving(Toy().service(), streams=2) as server:
            # A connection of its own each, for the bound also holds within one, where gRPC waits.
            opened = []
            for _ in range(2):
                call = stream(await server.channel(options=OWN))()
                await call.write(observe(1))
                await call.read()
                opened.append(call)
            other = await server.channel(options=OWN)
            call = stream(other)()
            assert await call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "retry-after-ms" in dict(await call.trailing_metadata())
            opened[0].cancel()
            await until(lambda: dict(server.listener.streams) == {WATCH: 1})
            call = stream(other)()
            await call.write(observe(5))
            assert (await call.read()).observed == 5

    run(act())


def test_streams_that_need_no_token_leave_the_others_their_places():
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    asks = ServerReflectionRequest(list_services="").SerializeToString()

    async def act():
        toy = Toy().service()
        async with serving(toy, *reflection([toy]), streams=64) as server:
            channel = await server.channel()
            opened = [channel.stream_stream(path)() for _ in range(16)]
            for call in opened:
                await call.write(asks)
                await call.read()
            call = channel.stream_stream(path)()
            assert await call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "16 streams that need no token" in await call.details()
            watches = [stream(await server.channel(options=OWN))() for _ in range(64)]
            for call in watches:
                await call.write(observe(1))
                await call.read()
            call = stream(await server.channel(options=OWN))()
            assert await call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert server.listener.streams == {path: 16, WATCH: 64}
            opened[0].cancel()
            await until(lambda: server.listener.streams[path] == 15)
            call = channel.stream_stream(path)()
            await call.write(asks)
            assert await call.read()

    run(act())


def test_a_slow_reader_holds_up_its_own_writes_only():
    async def act():
        toy, written = Toy(), []

        async def flood(stream, call):
            from foretoken.proto import curves

            reply = curves.WatchResponse(model="x" * (1 << 16))
            for n in range(1000):
                await stream.write(reply)
                written.append(n)

        toy.watch = flood
        async with serving(toy.service()) as server:
            call = stream(await server.channel())()
            await until(lambda: len(written) > 0)
            stuck = 0
            while stuck < len(written):  # until it writes no more
                stuck = len(written)
                await asyncio.sleep(0.5)
            assert stuck < 500  # of 64 MB, a few are in buffers
            call.cancel()
            await until(lambda: idle(server))

    run(act())


def test_a_drain_ends_idle_streams_and_lets_answers_arrive():
    async def act():
        toy = Toy()
        working, done = asyncio.Event(), asyncio.Event()

        async def slow(message, call):
            from foretoken.proto import curves

            working.set()
            await done.wait()
            return curves.ExtrapolateResponse(model="late")

        toy.extrapolate = slow
        async with serving(toy.service()) as server:
            from tests.server.doors.serving import unary

            channel = await server.channel()
            watch = stream(channel)()
            await watch.write(observe(1))
            await watch.read()
            answer = asyncio.ensure_future(unary(channel)(b""))
            await working.wait()
            stopping = asyncio.create_task(server.listener.stop(10))
            assert await watch.code() == grpc.StatusCode.UNAVAILABLE
            assert idle(server)
            fresh = await server.channel(options=OWN)
            got = await refused(unary(fresh)(b"", timeout=10))
            assert got.code() == grpc.StatusCode.UNAVAILABLE
            done.set()
            assert (await answer).model == "late"
            async with asyncio.timeout(20):
                await stopping

    run(act())


def test_what_does_not_end_in_time_is_cut_off():
    async def act():
        toy, ended = Toy(), []

        async def hang(stream, call):
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(call)

        toy.watch = hang
        async with serving(toy.service()) as server:
            call = stream(await server.channel())()
            await until(lambda: not idle(server))
            async with asyncio.timeout(20):
                await server.listener.stop(0.3)
            assert await call.code() == grpc.StatusCode.UNAVAILABLE
            assert len(ended) == 1
            assert idle(server)

    run(act())


def uploads(handler) -> Service:
    """The registry's service with one upload of it; the rest refuses."""
    descriptor = service("foretoken/v1/registry.proto", "Registry")
    kinds = {
        name: Upload(handler) if method.client_streaming else Unary(handler)
        for name, method in descriptor.methods_by_name.items()
    }
    return Service(descriptor, kinds)


@pytest.mark.parametrize("end", ["whole", "cancelled", "killed"])
def test_an_upload_that_breaks_off_is_not_taken_for_a_whole_one(end):
    descriptor = service("foretoken/v1/registry.proto", "Registry")
    name = next(n for n, m in descriptor.methods_by_name.items() if m.client_streaming)

    async def act():
        seen = []

        async def take(reader, call):
            while await reader.read() is not None:
                seen.append("chunk")
            seen.append("end")
            from google.protobuf.message_factory import GetMessageClass

            return GetMessageClass(descriptor.methods_by_name[name].output_type)()

        async with serving(uploads(take)) as server:
            path = f"/foretoken.v1.Registry/{name}"
            channel = await server.channel()
            call = channel.stream_unary(path)()
            for _ in range(3):
                await call.write(b"")
            await until(lambda: len(seen) == 3)
            if end == "whole":
                await call.done_writing()
                await call
            elif end == "cancelled":
                call.cancel()
            else:
                await channel.close(grace=0)
            await until(lambda: server.ears.codes)
            assert server.ears.codes == ["OK" if end == "whole" else "CANCELLED"]
            assert ("end" in seen) == (end == "whole")
            assert not server.listener.streams

    run(act())


def test_many_cancelled_streams_leave_nothing():
    async def act():
        async with serving(Toy().service()) as server:
            channel = await server.channel()
            for _ in range(200):
                call = stream(channel)()
                await call.write(observe(1))
                call.cancel()
            await until(lambda: idle(server))
            assert len(os.listdir("/proc/self/fd")) < 200

    run(act())
