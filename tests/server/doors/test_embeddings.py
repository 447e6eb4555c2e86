"""The door of texts, over a real plane and a real channel."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import numpy as np
import pytest

from foretoken.client.embeddings import embeddings_of
from foretoken.client.flow import WINDOW
from foretoken.errors import Cancelled, InvalidInput, NotFound, Overloaded, Unavailable
from foretoken.proto import embeddings as wire
from foretoken.server.doors.embeddings import embeddings
from foretoken.server.registry.registry import Registry
from tests.asynchronous import awaited
from tests.server.doors.answering import answering
from tests.server.doors.talk import Talk
from tests.toy_families import toy_families

TEXTS = ["one", "zw\u00f6lf", "", "one", "\u4e09\u5341", "a much longer text than these " * 2]
EMBED = "/foretoken.v1.Embeddings/Embed"
WIDTH, LIMIT = 16, 32  # of the toy


@pytest.fixture(scope="module")
def registry(tmp_path_factory, published):
    folder = tmp_path_factory.mktemp("embeddings")
    with toy_families(folder), Registry.open(folder / "data") as registry:
        registry.register("toy", published("stateless"))
        registry.register("curves", published("lcpfn"))
        yield registry


@contextlib.asynccontextmanager
async def door(registry, **given):
    """What ``answering`` gives, with a call of the wire's own messages."""
    async with (
        answering(embeddings, registry, **given) as ours,
        grpc.aio.insecure_channel(ours.address) as channel,
    ):
        ours.call = channel.unary_unary(
            EMBED, lambda message: message.SerializeToString(), wire.EmbedResponse.FromString
        )
        yield ours


def request(*texts, model="toy", **options):
    data = [text if isinstance(text, bytes) else text.encode() for text in texts]
    return wire.EmbedRequest(model=model, texts=data, options=wire.EmbedOptions(**options))


async def refused(ours, asked):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ours.call(asked)
    trailers = dict(caught.value.trailing_metadata())
    return caught.value.code().name, trailers["foretoken-error"], caught.value.details()


@awaited
async def test_texts_become_vectors_in_their_order(registry):
    async with door(registry) as ours:
        together = await ours.client.embed("toy", TEXTS)
        assert together.vectors.dtype == np.float32
        assert together.vectors.shape == (len(TEXTS), WIDTH)
        np.testing.assert_allclose(
            np.linalg.norm(together.vectors, axis=1), [1, 1, 0, 1, 1, 1], atol=1e-6
        )
        sizes = [len(text.encode()) for text in TEXTS]
        assert together.tokens.tolist() == [min(size, LIMIT) for size in sizes]
        assert together.cut.tolist() == [max(0, size - LIMIT) for size in sizes]
        assert (together.model, together.version, together.ref) == ("toy", 1, "toy:1")
        for text, vector in zip(TEXTS, together.vectors, strict=True):
            alone = await ours.client.embed("toy", [text])
            np.testing.assert_allclose(alone.vectors[0], vector, atol=1e-6)


@awaited
async def test_a_reply_is_little_endian_rows(registry):
    async with door(registry) as ours:
        said = await ours.call(request("one", "two", "three"))
        vectors = np.frombuffer(said.vectors, "<f4").reshape(3, said.dimensions)
        found = await ours.client.embed("toy", ["one", "two", "three"])
        np.testing.assert_array_equal(vectors, found.vectors)
        assert (list(said.tokens), list(said.cut)) == ([3, 3, 5], [0, 0, 0])
        assert (said.model, said.version) == ("toy", 1)


@awaited
async def test_dimensions_prompts_and_truncation(registry):
    async with door(registry) as ours:
        whole = await ours.client.embed("toy", ["text"])
        half = await ours.client.embed("toy", ["text"], dimensions=WIDTH // 2)
        cut = whole.vectors[:, : WIDTH // 2]
        np.testing.assert_allclose(half.vectors, cut / np.linalg.norm(cut), atol=1e-6)
        prompted = await ours.client.embed("toy", ["text"], prompt="query: ")
        written = await ours.client.embed("toy", ["query: text"])
        np.testing.assert_allclose(prompted.vectors, written.vectors, atol=1e-6)
        assert prompted.tokens.tolist() == [11]
        kept = await ours.client.embed("toy", ["a" * LIMIT], truncate="error")
        assert kept.cut.tolist() == [0]


@pytest.mark.parametrize(
    ("asked", "kind", "told"),
    [
        (request(), "InvalidInput", "texts must not be empty"),
        (request("fine", b"\xc3\x28"), "InvalidInput", "text 1 is not UTF-8: invalid continuation"),
        (request(b"\xed\xa0\x80"), "InvalidInput", "text 0 is not UTF-8"),
        (request("a", dimensions=WIDTH + 1), "InvalidInput", "dimensions are 16 or 8, not 17"),
        (request("a", dimensions=0), "InvalidInput", "dimensions must be 1 or more, not 0"),
        (request("a", truncate=7), "InvalidInput", "truncate is one of END, ERROR, not 7"),
        (
            request("short", "x" * (LIMIT + 3), truncate=wire.EmbedOptions.ERROR),
            "InvalidInput",
            "text 1 has 35 tokens, of which toy reads 32",
        ),
        (request("a", model="nobody"), "NotFound", "nobody"),
        (request("a", model="curves"), "InvalidInput", "'curves' answers curve requests, not text"),
    ],
)
def test_what_is_refused(registry, asked, kind, told):
    async def ended():
        async with door(registry) as ours:
            return await refused(ours, asked)

    code, error, details = asyncio.run(ended())
    assert code == ("NOT_FOUND" if kind == "NotFound" else "INVALID_ARGUMENT")
    assert error == kind
    assert told in details


@awaited
async def test_a_million_texts_in_one_call_are_refused_with_what_would_do(registry):
    async with door(registry) as ours:
        for texts in ([b""] * 1_000_000, [b"a text"] * 1_000_000, [b""] * 3000):
            asked = wire.EmbedRequest(model="toy", texts=texts)
            code, error, told = await refused(ours, asked)
            assert (code, error) == ("INVALID_ARGUMENT", "InvalidInput")
            assert "at most 2048 texts in a message; EmbedStream takes any number" in told


@awaited
async def test_limits_are_settings(registry):
    async with door(registry, texts=3, text_bytes=20) as ours:
        assert (
            "4 texts are more than this server takes, 3 (texts)"
            in (await refused(ours, request(*"abcd")))[2]
        )
        told = (await refused(ours, request("a" * 15, "b" * 6)))[2]
        assert "21 bytes of text" in told
        assert "20 (text_bytes)" in told
        told = (await refused(ours, request("a", "b", "c", prompt="query: ")))[2]
        assert "24 bytes of text, the prompt counted with each of 3 texts" in told
        assert len(await ours.client.embed("toy", ["a" * 10, "b" * 10])) == 2


@awaited
async def test_no_room_is_told_with_a_time_to_come_back(registry):
    async with door(registry) as ours:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ours.call(request("a"), timeout=1e-6)
        assert caught.value.code().name in ("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")


# -- streams --------------------------------------------------------------------------------------


def opening(model="toy", **options):
    opened = wire.EmbedOpen(model=model, options=wire.EmbedOptions(**options))
    return wire.EmbedStreamRequest(open=opened)


def chunk(*texts):
    data = [text if isinstance(text, bytes) else text.encode() for text in texts]
    return wire.EmbedStreamRequest(chunk=wire.EmbedChunk(texts=data))


@awaited
async def test_each_chunk_is_answered_in_order(registry):
    async with door(registry) as ours:
        chunks = [[f"text {i} {j}" for j in range(1 + i % 5)] for i in range(40)]
        flow = ours.client.embed_stream("toy", chunks, WIDTH // 2, "q: ")
        got = [found async for found in flow]
        assert len(got) == len(chunks)
        flat = [text for texts in chunks for text in texts]
        whole = await ours.client.embed("toy", flat, WIDTH // 2, "q: ")
        vectors = np.concatenate([found.vectors for found in got])
        np.testing.assert_allclose(vectors, whole.vectors, atol=1e-6)
        assert {found.ref for found in got} == {"toy:1"}


@awaited
async def test_a_stream_takes_any_number_of_texts(registry):
    async with door(registry, texts=10) as ours:
        chunks = ([f"{i} {j}" for j in range(10)] for i in range(300))
        got = [found async for found in ours.client.embed_stream("toy", chunks)]
        assert sum(map(len, got)) == 3000


@awaited
async def test_a_stream_stays_with_its_version(registry, published):
    async with door(registry) as ours:
        registry.register("moving", published("stateless"))

        async def chunks():
            for _ in range(WINDOW):  # then the first is answered
                yield ["one"]
            registry.register("moving", published("stateless"))
            registry.set_alias("moving", "champion", 2)
            await ours.plane.follow(everything=True)
            yield ["one"]

        flow = ours.client.embed_stream("moving", chunks())
        assert [found.version async for found in flow] == [1] * (WINDOW + 1)
        assert (await ours.client.embed("moving", ["one"])).version == 2


@awaited
async def test_a_stream_that_a_server_ends_is_opened_again(registry, monkeypatch):
    """Chunks that were not answered are sent again, to the same version."""
    async with door(registry) as ours:
        real, models = ours.plane.predict, []

        async def predict(model, *given):
            models.append(model)
            if len(models) in (3, 4):
                raise Unavailable("stops")
            return await real(model, *given)

        monkeypatch.setattr(ours.plane, "predict", predict)
        chunks = [[f"text {i}"] for i in range(8)]
        flow = ours.client.embed_stream("champion@toy", chunks)
        got = np.concatenate([found.vectors async for found in flow])
        monkeypatch.undo()
        whole = await ours.client.embed("toy", [text for texts in chunks for text in texts])
        np.testing.assert_allclose(got, whole.vectors, atol=1e-6)
        assert set(models) == {"toy:1"}
        assert len(models) >= 10, "two chunks were asked for again"


@awaited
async def test_a_caller_who_does_not_read_is_not_read(registry):
    async with door(registry) as ours:
        talk = Talk(opening(), *[chunk(f"text {i}") for i in range(40)])
        talk.gate.clear()
        task = asyncio.create_task(ours.methods["EmbedStream"].handler(talk, talk))
        await asyncio.sleep(0.5)
        assert talk.read_ <= 6
        talk.gate.set()
        await task
        assert (len(talk.written), talk.kept) == (40, 0)
        assert talk.most <= 6
        for message in talk.written:
            assert embeddings_of(message, 1).vectors.shape == (1, WIDTH)


@pytest.mark.parametrize(
    ("messages", "error", "written"),
    [
        ([wire.EmbedStreamRequest()], InvalidInput, 0),
        ([chunk("a")], InvalidInput, 0),
        ([opening("nobody")], NotFound, 0),
        ([opening("curves")], InvalidInput, 0),
        ([opening(), opening()], InvalidInput, 0),
        ([opening(dimensions=3), chunk("a")], InvalidInput, 0),
        ([opening(), chunk("a"), chunk(b"\xff")], InvalidInput, 1),
        ([opening(), chunk("a"), chunk()], InvalidInput, 1),
        ([opening(), chunk("a"), chunk(*["b"] * 3000)], InvalidInput, 1),
        ([opening(truncate=1), chunk("a"), chunk("b" * 40)], InvalidInput, 1),
        ([opening(), chunk("a"), Cancelled("gone")], Cancelled, None),
        ([opening(), chunk("a"), Overloaded("full")], Overloaded, 1),
        ([opening(), chunk("a"), wire.EmbedStreamRequest()], InvalidInput, 1),
    ],
)
def test_streams_that_end_badly_leave_nothing(registry, messages, error, written):
    async def ended():
        async with door(registry) as ours:
            talk = Talk(*messages)
            with pytest.raises(error):
                await ours.methods["EmbedStream"].handler(talk, talk)
            assert talk.kept == 0 or error is Cancelled  # a call that has ended keeps nothing
            if written is not None:
                assert len(talk.written) == written

    asyncio.run(ended())


@awaited
async def test_a_stream_without_messages_is_none(registry):
    async with door(registry) as ours:
        talk = Talk()
        await ours.methods["EmbedStream"].handler(talk, talk)
        assert talk.written == []
