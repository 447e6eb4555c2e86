"""The door of sequences, over a real plane and a real channel."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from foretoken.proto import sequences as wire
from foretoken.proto import tabular
from foretoken.server.doors.sequences import sequences
from foretoken.server.plane import Plane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from tests.asynchronous import awaited
from tests.server.doors.serving import serving, stream, unary, until
from tests.toy_families import toy_families

STREAM = "/foretoken.v1.Sequences/Stream"
RNG = np.random.default_rng(2)
VALUES = RNG.normal(size=(40, 2))


@pytest.fixture(scope="module")
def registry(tmp_path_factory, published):
    folder = tmp_path_factory.mktemp("sequences")
    with toy_families(folder), Registry.open(folder / "data") as registry:
        registry.register("toy", published("recurrent"))
        registry.register("curves", published("lcpfn"))
        yield registry


@contextlib.asynccontextmanager
async def door(registry, **given):
    """A stream of its own, unless ``call`` opens another; nothing may be left of either."""
    settings = load_settings(data_dir=registry.data_dir, **given)
    plane = Plane(registry, settings)
    try:
        async with serving(sequences(plane, settings), **given) as listening:
            channel = await listening.channel()
            begin = stream(channel, STREAM, wire.SequenceResponse)
            yield SimpleNamespace(
                plane=plane,
                listening=listening,
                channel=channel,
                begin=begin,
                talk=Talk(begin()),
            )
            await listening.listener.stop(1)
            assert plane.sessions.live == 0
    finally:
        await plane.close()


class Talk:
    """A stream, spoken to by fields of its messages."""

    def __init__(self, call):
        self.call = call

    async def send(self, session, **message):
        await self.call.write(wire.SequenceRequest(session=session, **message))

    async def hear(self):
        async with asyncio.timeout(20):
            found = await self.call.read()
        assert found is not grpc.aio.EOF, await self.call.details()
        return found

    async def ask(self, session, **message):
        await self.send(session, **message)
        return await self.hear()

    async def status(self):
        async with asyncio.timeout(20):
            with contextlib.suppress(grpc.aio.AioRpcError):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            return await self.call.code()


def opening(**fields):
    return wire.SequenceOpen(model="toy", **fields)


def observe(values, **fields):
    values = np.atleast_2d(values)
    return wire.Observe(values=values.tobytes(), steps=len(values), **fields)


def y(response):
    assert response.WhichOneof("message") == "outputs", response
    (found,) = response.outputs.outputs
    return np.frombuffer(found.data, found.dtype).reshape(tuple(found.shape))


CLOSE = wire.CloseSequence()


@awaited
async def test_a_session_from_its_opening_to_its_end(registry):
    async with door(registry) as ours:
        talk = ours.talk
        opened = (await talk.ask(7, open=opening())).opened
        assert (opened.model, opened.version, opened.step, opened.width) == ("toy", 1, 0, 2)
        assert (opened.state_nbytes, opened.id[:4]) == (4 * (2 + 2 + 16), "ses-")
        assert opened.options["scale"].number == 1.0
        assert ours.plane.sessions.live == 1
        first = await talk.ask(7, observe=observe(VALUES[0]))
        assert (first.session, first.outputs.step, first.outputs.outputs[0].name) == (7, 1, "y")
        assert y(first).shape == (1, 16)
        many = await talk.ask(7, observe=observe(VALUES[1:9]))
        assert (many.outputs.step, y(many).shape) == (9, (8, 16))
        closed = await talk.ask(7, close=CLOSE)
        assert closed.closed.step == 9
        assert ours.plane.sessions.live == 0
        await talk.call.done_writing()
        assert await talk.status() is grpc.StatusCode.OK
        (call,) = ours.listening.ears.calls
        assert call[:3] == (STREAM, "toy", "OK")


@awaited
async def test_parts_and_wants(registry):
    async with door(registry) as ours:
        talk = ours.talk
        await talk.ask(1, open=opening())
        whole = y(await talk.ask(1, observe=observe(VALUES)))
        await talk.ask(2, open=opening())
        one = [y(await talk.ask(2, observe=observe(each)))[0] for each in VALUES[:5]]
        nothing = await talk.ask(2, observe=observe(VALUES[5:30], want=wire.NOTHING))
        last = y(await talk.ask(2, observe=observe(VALUES[30:], want=wire.LAST)))
        np.testing.assert_allclose(one, whole[:5], atol=1e-5)
        assert (nothing.outputs.step, len(nothing.outputs.outputs)) == (30, 0)
        np.testing.assert_allclose(last, whole[-1:], atol=1e-5)


@awaited
async def test_options_reach_the_model(registry):
    async with door(registry) as ours:
        scaled = opening(options={"scale": tabular.Option(number=2.0)})
        assert (await ours.talk.ask(1, open=scaled)).opened.options["scale"].number == 2.0
        await ours.talk.ask(2, open=opening())
        two = y(await ours.talk.ask(1, observe=observe(VALUES[0])))
        one = y(await ours.talk.ask(2, observe=observe(VALUES[0])))
        np.testing.assert_array_equal(two, 2 * one)


REFUSED = [
    ({"observe": wire.Observe()}, "InvalidInput", "0 bytes"),
    ({"observe": wire.Observe(values=b"1234567")}, "InvalidInput", "7 bytes"),
    ({"observe": wire.Observe(values=bytes(24), steps=2)}, "InvalidInput", "24 bytes"),
    ({"observe": wire.Observe(values=bytes(24))}, "InvalidInput", "[2]"),
    ({"observe": wire.Observe(values=bytes(16), steps=-1)}, "InvalidInput", "-1"),
    ({"observe": observe(np.zeros((9, 2)))}, "InvalidInput", "request_tokens"),
    ({"observe": wire.Observe(values=bytes(16), want=7)}, "InvalidInput", "EVERY"),
    ({"open": opening()}, "AlreadyExists", "session 1"),
    ({"fork": wire.Fork(into=1)}, "AlreadyExists", "session 1"),
    ({}, "InvalidInput", "observe"),
]


@pytest.mark.parametrize(("message", "error", "said"), REFUSED)
@pytest.mark.parametrize("others", [0, 1])
@awaited
async def test_a_refusal_changes_nothing(registry, message, error, said, others):
    async with door(registry, request_tokens=8) as ours:
        talk = ours.talk
        for number in range(1 + others):
            await talk.ask(1 + number, open=opening())
        before = y(await talk.ask(1, observe=observe(VALUES[0])))
        refused = await talk.ask(1, **message)
        assert (refused.session, refused.refusal.error) == (1, error)
        assert said in refused.refusal.message
        assert refused.refusal.resume == ""
        after = await talk.ask(1, observe=observe(VALUES[1]))
        assert after.outputs.step == 2
        await talk.ask(9, open=opening())
        y(await talk.ask(9, observe=observe(VALUES[0])))
        again = y(await talk.ask(9, observe=observe(VALUES[1])))
        np.testing.assert_allclose(y(after), again, atol=1e-6)
        assert np.abs(y(after) - before).max() > 1e-3


OPENINGS = [
    (wire.SequenceOpen(model="nobody"), "NotFound", "nobody"),
    (wire.SequenceOpen(model="curves"), "Unsupported", "curves"),
    (opening(options={"pace": tabular.Option(number=1)}), "InvalidInput", "pace"),
    (opening(options={"scale": tabular.Option()}), "InvalidInput", "scale"),
    (opening(checkpoint_every=-1), "InvalidInput", "checkpoint_every"),
    (opening(digest="snap-" + 64 * "0"), "NotFound", "snap-0"),
    (opening(digest=""), "InvalidInput", "resume.digest"),
    (opening(snapshot=b"nonsense"), "InvalidInput", "snapshot"),
    (opening(id="ses-none"), "NotFound", "ses-none"),
]


@pytest.mark.parametrize(("message", "error", "said"), OPENINGS)
@awaited
async def test_an_opening_that_is_refused_leaves_its_number_free(registry, message, error, said):
    async with door(registry) as ours:
        for _ in range(2):  # alone on the stream, then beside another session
            refused = await ours.talk.ask(1, open=message)
            assert refused.refusal.error == error
            assert said in refused.refusal.message
            assert (await ours.talk.ask(1, open=opening())).opened.step == 0
            assert (await ours.talk.ask(1, close=CLOSE)).closed.step == 0
            await ours.talk.ask(2, open=opening())


@awaited
async def test_what_is_not_open_is_not_found(registry):
    async with door(registry) as ours:
        for message in ({"observe": observe(VALUES[0])}, {"close": CLOSE}, {"fork": wire.Fork()}):
            refused = await ours.talk.ask(3, **message)
            assert (refused.session, refused.refusal.error) == (3, "NotFound")


@awaited
async def test_many_sessions_are_pipelined_and_answered_in_order(registry):
    sessions, steps = 300, 5
    async with door(registry) as ours:
        talk = ours.talk

        async def speak():
            for number in range(sessions):
                await talk.send(number, open=opening())
                for step in range(steps):
                    await talk.send(number, observe=observe(VALUES[step] + number))
                await talk.send(number, observe=wire.Observe())
                await talk.send(number, snapshot=wire.TakeSnapshot(bytes_only=True))
                await talk.send(number, close=CLOSE)
            await talk.call.done_writing()

        speaking = asyncio.create_task(speak())
        heard = {}
        for _ in range(sessions * (steps + 4)):
            response = await talk.hear()
            heard.setdefault(response.session, []).append(response)
        await speaking
        assert await talk.status() is grpc.StatusCode.OK
        kinds = ["opened", *["outputs"] * steps, "refusal", "snapshot", "closed"]
        for responses in heard.values():
            assert [each.WhichOneof("message") for each in responses] == kinds
            assert [each.outputs.step for each in responses[1:-3]] == [1, 2, 3, 4, 5]
        await talk.call.done_writing()
        other = Talk(ours.begin())
        await other.ask(1, open=opening())
        expected = [y(await other.ask(1, observe=observe(each + 7))) for each in VALUES[:steps]]
        np.testing.assert_allclose([y(each) for each in heard[7][1:-3]], expected, atol=1e-5)


@awaited
async def test_a_fork_goes_its_own_way(registry):
    async with door(registry) as ours:
        talk = ours.talk
        await talk.ask(1, open=opening())
        await talk.ask(1, observe=observe(VALUES[:4]))
        await talk.send(1, fork=wire.Fork(into=2))
        await talk.send(2, observe=observe(VALUES[4]))  # before the fork is known to be there
        await talk.send(1, observe=observe(-VALUES[4]))
        found = [await talk.hear() for _ in range(3)]
        (forked,) = [each for each in found if each.HasField("forked")]
        assert (forked.session, forked.forked.step) == (1, 4)
        outputs = {each.session: each for each in found if each.HasField("outputs")}
        assert (outputs[1].outputs.step, outputs[2].outputs.step) == (5, 5)
        await talk.ask(3, open=opening())
        await talk.ask(3, observe=observe(VALUES[:4]))
        np.testing.assert_allclose(
            y(await talk.ask(3, observe=observe(VALUES[4]))), y(outputs[2]), atol=1e-5
        )
        assert np.abs(y(outputs[1]) - y(outputs[2])).max() > 1e-3


@awaited
async def test_snapshots_from_their_taking_to_their_end(registry):
    async with door(registry) as ours:
        talk = ours.talk
        await talk.ask(1, open=opening())
        await talk.ask(1, observe=observe(VALUES[:9]))
        kept = (await talk.ask(1, snapshot=wire.TakeSnapshot(include_bytes=True))).snapshot
        assert (kept.model, kept.version, kept.step) == ("toy", 1, 9)
        assert kept.digest.startswith("snap-")
        bare = (await talk.ask(1, snapshot=wire.TakeSnapshot(bytes_only=True))).snapshot
        assert (bare.digest, bare.data, bare.step) == ("", kept.data, 9)
        expected = y(await talk.ask(1, observe=observe(VALUES[9])))
        for resume in ({"digest": kept.digest}, {"snapshot": kept.data}):
            opened = await talk.ask(2, open=wire.SequenceOpen(**resume))
            assert (opened.opened.step, opened.opened.model) == (9, "toy")
            again = await talk.ask(2, observe=observe(VALUES[9]))
            np.testing.assert_array_equal(y(again), expected)
            await talk.ask(2, close=CLOSE)

        def method(name, reply=wire.Snapshot):
            return unary(ours.channel, f"/foretoken.v1.Sequences/{name}", reply)

        asked = wire.DescribeSnapshotRequest(digest=kept.digest, include_bytes=True)
        described = await method("Describe")(asked)
        assert (described.digest, described.data) == (kept.digest, kept.data)
        restored = await method("Restore")(wire.RestoreRequest(data=kept.data))
        assert restored.digest == kept.digest
        pages = method("Snapshots", wire.SnapshotsResponse)
        listed = await pages(wire.SnapshotsRequest(model="toy", limit=1))
        assert kept.digest in {each.digest for each in listed.snapshots}
        assert not (await pages(wire.SnapshotsRequest(after=kept.digest))).snapshots
        with pytest.raises(grpc.aio.AioRpcError, match="limit"):
            await pages(wire.SnapshotsRequest(limit=-1))
        gone = wire.DeleteSnapshotRequest(digest=kept.digest)
        await method("Delete", wire.DeleteSnapshotResponse)(gone)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method("Describe")(asked)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@awaited
async def test_a_stream_has_a_bounded_number_of_sessions(registry):
    async with door(registry, stream_sessions=2) as ours:
        talk = ours.talk
        for number in (1, 2):
            await talk.ask(number, open=opening())
        refused = await talk.ask(3, open=opening())
        assert refused.refusal.error == "Overloaded"
        assert "stream_sessions" in refused.refusal.message
        assert (await talk.ask(1, fork=wire.Fork(into=3))).refusal.error == "Overloaded"
        await talk.ask(2, close=CLOSE)
        assert (await talk.ask(3, open=opening())).HasField("opened")


@awaited
async def test_a_stream_that_is_not_read_is_read_no_further(registry):
    async with door(registry, stream_sessions=2, inflight_bytes=1 << 20) as ours:
        talk = ours.talk
        for number in (1, 2):
            await talk.ask(number, open=opening())
        long = observe(np.zeros((2000, 2)))  # 32 kB, answered by 128

        async def flood():
            for _ in range(400):
                await talk.send(1, observe=long)

        flooding = asyncio.create_task(flood())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(flooding), 1.0)
        assert ours.listening.listener.inflight <= 3 * 33_000
        for _ in range(400):
            assert (await talk.hear()).HasField("outputs")
        await flooding


@pytest.mark.parametrize("sessions", [1, 3])
@pytest.mark.parametrize("end", ["cancelled", "broken", "ended", "malformed"])
@awaited
async def test_nothing_is_left_of_a_stream(registry, sessions, end):
    async with door(registry) as ours:
        talk = ours.talk
        for number in range(sessions):
            await talk.ask(number, open=opening(durable=number == 1))
        await talk.send(0, observe=observe(VALUES))
        assert ours.plane.sessions.live == sessions
        if end == "cancelled":
            talk.call.cancel()
        elif end == "broken":
            await ours.channel.close()
        elif end == "ended":
            await talk.call.done_writing()
            assert await talk.status() is grpc.StatusCode.OK
        else:
            await talk.call.write(b"\xff")
            assert await talk.status() is grpc.StatusCode.INVALID_ARGUMENT
        await until(lambda: ours.plane.sessions.live == 0)
        await until(lambda: not ours.listening.listener.streams)
        assert ours.listening.listener.inflight == 0


@pytest.mark.parametrize("sessions", [1, 2])
@awaited
async def test_a_message_has_the_default_deadline(registry, sessions):
    async with door(registry, deadline=0.5) as ours:
        for number in range(sessions):
            await ours.talk.ask(number, open=opening())
        await asyncio.sleep(0.6)  # of the message, not of the stream
        terms, step = [], ours.plane.sessions.step
        ours.plane.sessions.step = lambda *given: (terms.append(given[2]), step(*given))[1]
        y(await ours.talk.ask(0, observe=observe(VALUES[0])))
        assert 0.3 < terms[0].left <= 0.51


@pytest.mark.parametrize("sessions", [1, 3])
@pytest.mark.parametrize("durable", [False, True])
@awaited
async def test_a_server_that_stops_says_how_to_go_on(registry, sessions, durable):
    async with door(registry) as ours:
        talk = ours.talk
        ids, expected = {}, {}
        for number in range(sessions):
            ids[number] = (await talk.ask(number, open=opening(durable=durable))).opened.id
            await talk.ask(number, observe=observe(VALUES[:8] + number))
        await ours.plane.sessions.drain()
        refused = await talk.ask(0, observe=observe(VALUES[8]))
        assert (refused.refusal.error, refused.refusal.resume) == ("Unavailable", ids[0])
        stopping = asyncio.create_task(ours.listening.listener.stop(5))
        told = [await talk.hear() for _ in range(sessions)]
        assert {each.session: each.refusal.resume for each in told} == ids
        assert await talk.status() is grpc.StatusCode.UNAVAILABLE
        await stopping
        assert ours.plane.sessions.live == 0
    async with door(registry) as ours:
        opened = (await ours.talk.ask(5, open=wire.SequenceOpen(id=ids[0]))).opened
        assert (opened.id, opened.step) == (ids[0], 0 if durable else 8)
        await ours.talk.ask(5, observe=observe(VALUES[opened.step : 8]) if durable else None)
        after = y(await ours.talk.ask(5, observe=observe(VALUES[8])))
        await ours.talk.ask(6, open=opening())
        await ours.talk.ask(6, observe=observe(VALUES[:8]))
        expected = y(await ours.talk.ask(6, observe=observe(VALUES[8])))
        np.testing.assert_allclose(after, expected, atol=1e-5)


@pytest.mark.parametrize("sessions", [1, 2])
@awaited
async def test_a_durable_state_is_not_ahead_of_what_has_arrived(registry, sessions):
    async with door(registry) as ours:
        talk = ours.talk
        for number in range(sessions):
            opened = (await talk.ask(number, open=opening(durable=True, checkpoint_every=2))).opened
        number = sessions - 1
        for step in range(1, 9):
            said = await talk.ask(number, observe=observe(VALUES[step], delivered=0))
            assert (said.outputs.step, said.outputs.durable_step) == (step, 0)
        await talk.ask(number, observe=observe(VALUES[9], delivered=8))
        await until(
            lambda: {each.durable_step for each in ours.plane.sessions._sessions.values()} != {0}
        )
        said = await talk.ask(number, observe=observe(VALUES[10]))
        assert said.outputs.durable_step == 2  # the first that was due
        talk.call.cancel()
        await until(lambda: ours.plane.sessions.live == 0)
        again = Talk(ours.begin())
        resumed = (await again.ask(1, open=wire.SequenceOpen(id=opened.id))).opened
        assert (resumed.step, resumed.durable_step) == (2, 2)
