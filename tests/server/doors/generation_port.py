"""What stands behind tests of the door of generation: models, calls of the wire, refusals."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from foretoken.proto import generation as wire
from foretoken.server.admin import Admin
from foretoken.server.doors.generation import generation
from foretoken.server.registry.registry import Registry
from tests.server.doors.answering import answering
from tests.toy_families import toy_families
from tests.toys import cola

SERVICE = "/foretoken.v1.Generation/"
LAYERS, POSITIONS = cola.CONFIG["shape"]["layers"], cola.CONFIG["positions"]
WHOLE = tuple(range(LAYERS))
PROMPT = "12+34="


@contextlib.contextmanager
def registered(tmp_path_factory, published):
    """A registry with a model that has a tokenizer, one that has none, and one of texts."""
    folder = tmp_path_factory.mktemp("generation")
    with toy_families(folder), Registry.open(folder / "data") as registry:
        registry.register("sums", cola.written(cola.made(), tmp_path_factory.mktemp("sums")))
        registry.register("mute", published("cola"))
        registry.register("texts", published("stateless"))
        yield registry


async def _nothing():
    return None


def served(plane, settings):
    return generation(plane, Admin(plane, _nothing, settings.upload_bytes), settings)


@contextlib.asynccontextmanager
async def door(registry, **given):
    """What ``answering`` gives, with calls of the wire's own messages."""
    async with (
        answering(served, registry, **given) as ours,
        grpc.aio.insecure_channel(ours.address) as channel,
    ):

        def method(kind, name, reply):
            return kind(SERVICE + name, lambda said: said.SerializeToString(), reply.FromString)

        ours.generate = method(channel.unary_stream, "Generate", wire.GenerateResponse)
        ours.search = method(channel.unary_stream, "Search", wire.SearchResponse)
        ours.score = method(channel.unary_unary, "Score", wire.ScoreResponse)
        ours.tokenize = method(channel.unary_unary, "Tokenize", wire.TokenizeResponse)
        yield ours


def text(prompt=PROMPT):
    return wire.Prompt(text=prompt if isinstance(prompt, bytes) else prompt.encode())


def ids(*given):
    return wire.Prompt(tokens=wire.Tokens(ids=given))


def request(prompt=None, model="sums", chain=None, **fields):
    if chain is not None:
        fields["chain"] = wire.Chain(layers=chain)
    return wire.GenerateRequest(model=model, prompt=prompt or text(), **fields)


async def _whole(call):
    if hasattr(call, "read"):
        return [each async for each in call]
    return await call


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _whole(call)
    trailers = dict(caught.value.trailing_metadata())
    return caught.value.code().name, trailers["foretoken-error"], caught.value.details()


async def freed(ours, model="sums"):
    """Wait until the model keeps nothing of any request."""
    generator = (await ours.plane.describe(model)).generator
    async with asyncio.timeout(20):
        while generator.busy or generator.blocks.free < generator.blocks.count:
            await asyncio.sleep(0.005)
