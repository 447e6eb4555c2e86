"""Texts by both clients, against a real server of two workers, and on a bad day."""

from __future__ import annotations

import asyncio
import itertools
import json
import urllib.request

import grpc
import numpy as np
import pytest

from foretoken import AsyncClient, Client
from foretoken.client import Embeddings, embeddings
from foretoken.client.flow import WINDOW
from foretoken.errors import InternalError, InvalidInput, InvalidType, NotFound, Unavailable
from foretoken.proto import embeddings as wire
from foretoken.server.registry.registry import Registry
from tests.client_server import aborting
from tests.serving import serving
from tests.toy_families import toy_families

TEXTS = ["one", "zw\u00f6lf", "", "a longer text than the toy reads, by a little"]
WIDTH = 16


@pytest.fixture(scope="module")
def served(tmp_path_factory, published):
    """A server that has a small model of texts."""
    folder = tmp_path_factory.mktemp("texts")
    with toy_families(folder) as env:
        with Registry.open(folder / "data") as registry:
            registry.register("toy", published("stateless"))
        with serving(workers=2, data_dir=folder / "data", env=env) as running:
            yield running


def test_texts_are_embedded_by_either_client(ask, served):
    found = ask(served.address, "embed", "toy", TEXTS)
    assert isinstance(found, Embeddings)
    assert (found.vectors.shape, found.vectors.dtype) == ((4, WIDTH), np.float32)
    assert (found.tokens.tolist(), found.cut.tolist()) == ([3, 6, 0, 32], [0, 0, 0, 13])
    assert (found.model, found.version, found.ref, len(found)) == ("toy", 1, "toy:1", 4)
    found.vectors[0] = 0  # the caller's own
    half = ask(served.address, "embed", "champion@toy", np.array(TEXTS), 8, "query: ")
    assert half.vectors.shape == (4, 8)
    assert half.tokens.tolist() == [10, 13, 7, 32]


def test_openai_s_path_of_the_same_server_gives_the_same(ask, served):
    expected = ask(served.address, "embed", "toy", TEXTS)
    said = {"model": "toy", "input": TEXTS, "truncate": "end"}
    asked = urllib.request.Request(
        f"{served.http}/v1/embeddings", json.dumps(said).encode(), {"authorization": "Bearer none"}
    )
    with urllib.request.urlopen(asked) as answer:
        made = json.loads(answer.read())
    found = [each["embedding"] for each in made["data"]]
    np.testing.assert_allclose(found, expected.vectors, atol=1e-6)
    assert made["usage"]["total_tokens"] == 41


def test_many_texts_go_in_parts_to_one_version(ask, served, monkeypatch):
    monkeypatch.setattr(embeddings, "TEXTS", 100)
    many = [f"text {i % 7} {'x' * (i % 20)}" for i in range(250)]
    found = ask(served.address, "embed", "toy", many)
    again = ask(served.address, "embed", "toy", many[::-1])
    np.testing.assert_allclose(found.vectors, again.vectors[::-1], atol=1e-6)
    with pytest.raises(InvalidInput, match="of the texts from 200 on: text 9 has 40 tokens"):
        ask(served.address, "embed", "toy", [*many[:209], "y" * 40], truncate="error")


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ("one text", InvalidType, r"give one text as \[text\]"),
        (b"bytes", InvalidType, r"give one text as \[text\]"),
        (3, InvalidType, "a list of str, not a int"),
        (["a", None], InvalidType, "text 1 is the NoneType None"),
        (["a", float("nan")], InvalidType, "text 1 is the float nan"),
        ([b"a"], InvalidType, "text 0 is the bytes"),
        (["a", "b\ud800"], InvalidInput, "text 1 is not Unicode: character 1"),
    ],
)
def test_what_is_refused_before_it_is_sent(ask, fake, given, kind, said):
    with pytest.raises(kind, match=said):
        ask(fake.address, "embed", "toy", given)
    assert fake.asked == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"truncate": "start"}, "'end' or 'error'"),
        ({"dimensions": -1}, "dimensions"),
        ({"dimensions": "many"}, "dimensions"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": 3}, "prompt"),
    ],
)
def test_options_that_cannot_be(ask, fake, options, said):
    with pytest.raises(InvalidInput, match=said):
        ask(fake.address, "embed", "toy", ["a"], **options)
    assert fake.asked == []


@pytest.mark.parametrize(
    ("model", "given", "options", "kind", "said"),
    [
        ("toy", [], {}, InvalidInput, "must not be empty"),
        ("toy", ["a"], {"dimensions": 5}, InvalidInput, "16 or 8"),
        ("toy", TEXTS, {"truncate": "error"}, InvalidInput, "text 3 has 45 tokens"),
        ("lcpfn", ["a"], {}, InvalidInput, "answers curve requests"),
        ("nobody", ["a"], {}, NotFound, "nobody"),
    ],
)
def test_what_the_server_refuses(ask, served, model, given, options, kind, said):
    with pytest.raises(kind, match=said):
        ask(served.address, "embed", model, given, **options)


def test_parts_are_bounded_by_bytes_as_well(ask, fake):
    def answer(_method, _context):
        return wire.EmbedResponse(
            vectors=bytes(4), dimensions=1, tokens=[1], cut=[0], model="m", version=1
        ).SerializeToString()

    fake.answer = answer
    found = ask(fake.address, "embed", "m", ["a" * (1 << 19)] * 4, prompt="p" * (1 << 19))
    assert (len(fake.asked), len(found)) == (4, 4)


@pytest.mark.parametrize(
    "said",
    [
        wire.EmbedResponse(vectors=bytes(7), dimensions=1, tokens=[1, 1], cut=[0, 0]),
        wire.EmbedResponse(vectors=bytes(8), dimensions=2, tokens=[1, 1], cut=[0, 0]),
        wire.EmbedResponse(vectors=bytes(8), dimensions=1, tokens=[1], cut=[0, 0]),
        wire.EmbedResponse(vectors=bytes(4), dimensions=1, tokens=[1], cut=[0]),
        wire.EmbedResponse(),
    ],
)
def test_replies_that_are_malformed(ask, fake, said):
    fake.answer = lambda *_: said.SerializeToString()
    with pytest.raises(InternalError, match="malformed"):
        ask(fake.address, "embed", "m", ["a", "b"])


def test_calls_are_tried_again(ask, fake):
    def answer(name, context):
        if len(fake.asked) < 3:
            aborting(grpc.StatusCode.UNAVAILABLE)(name, context)
        return wire.EmbedResponse(
            vectors=bytes(4), dimensions=1, tokens=[1], cut=[0], model="m", version=1
        ).SerializeToString()

    fake.answer = answer
    ask(fake.address, "embed", "m", ["a"])
    assert len(fake.asked) == 3


# -- streams --------------------------------------------------------------------------------------


def test_a_stream_is_read_as_fast_as_it_is_answered(served):
    read = []

    def chunks():
        for i in itertools.count():
            read.append(i)
            yield [f"text {i}", "same"]

    with Client(served.address) as client:
        stream = client.embed_stream("toy", chunks())
        got = list(itertools.islice(stream, 30))
        stream.close()
        whole = client.embed("toy", [text for i in range(30) for text in (f"text {i}", "same")])
    assert len(read) <= 30 + WINDOW
    found = np.concatenate([reply.vectors for reply in got])
    np.testing.assert_allclose(found, whole.vectors, atol=1e-6)


def test_chunks_may_come_asynchronously(served):
    async def chunks():
        for i in range(4):
            await asyncio.sleep(0)
            yield [f"{i}"] * (i + 1)

    async def streamed():
        async with AsyncClient(served.address) as client:
            return [reply async for reply in client.embed_stream("toy", chunks(), dimensions=8)]

    replies = asyncio.run(streamed())
    assert [reply.vectors.shape for reply in replies] == [(i + 1, 8) for i in range(4)]


def test_a_chunk_that_is_refused_ends_the_stream_after_those_before_it(served):
    with Client(served.address) as client:
        stream = client.embed_stream("toy", [["a"], ["b"], ["c" * 40]], truncate="error")
        assert [len(next(stream)) for _ in range(2)] == [1, 1]
        with pytest.raises(InvalidInput, match="text 0 has 40 tokens"):
            next(stream)
        with pytest.raises(InvalidInput, match="must not be empty"):
            list(client.embed_stream("toy", [[]]))
        with pytest.raises(InvalidType, match="text 1"):
            list(client.embed_stream("toy", [["a", 3]]))
        with pytest.raises(InvalidInput, match="'end' or 'error'"):
            client.embed_stream("toy", [["a"]], truncate="start")


def test_a_stream_gives_up_when_the_server_stays_away(fake):
    fake.answer = aborting(grpc.StatusCode.UNAVAILABLE)
    with Client(fake.address) as client, pytest.raises(Unavailable):
        list(client.embed_stream("m", [["a"]], timeout=30))
    assert len(fake.asked) == 5
