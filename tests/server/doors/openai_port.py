"""A port that answers OpenAI's API, and what is sent to it."""

from __future__ import annotations

import contextlib
import json

from foretoken.errors import Overloaded, PermissionDenied, Unauthenticated
from foretoken.models.tasks import TextRequest
from foretoken.server.plane import Plane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from foretoken.server.terms import Caller, Scope
from tests.server.doors.http_port import Running
from tests.toy_families import toy_families

PATH = "/v1/embeddings"
WIDTH, LIMIT = 16, 32  # of the toy


@contextlib.contextmanager
def registered(folder, published):
    """A registry of toys."""
    with toy_families(folder), Registry.open(folder / "data") as registry:
        registry.register("toy", published("stateless"))
        registry.register("curves", published("lcpfn"))
        registry.register("theirs", published("stateless"), owner="them")
        yield registry


class Tokens:
    """A gate that knows one good token; of two others, one calls too often and one may nothing."""

    def caller(self, metadata, peer, scope):
        assert peer.startswith("ipv4:127.0.0.1:")
        assert scope is Scope.PREDICT
        match metadata.get("authorization"):
            case None:
                return Caller("anonymous", frozenset({Scope.PREDICT}))
            case "Bearer ftk_good":
                return Caller("them", frozenset({Scope.PREDICT}), "them")
            case "Bearer ftk_often":
                raise Overloaded("them may make 1 calls per second", retry_after=0.25)
            case "Bearer ftk_other":
                raise PermissionDenied("this call needs the scope 'predict'")
        raise Unauthenticated("no valid token")


@contextlib.asynccontextmanager
async def port(registry, *, log=None, **given):
    settings = load_settings(**given)
    plane = Plane(registry, settings)
    try:
        async with Running(settings, plane=plane, gate=Tokens(), log=log) as running:
            running.url = f"http://127.0.0.1:{running.port}/v1"
            yield running
    finally:
        assert plane.inflight == 0
        await plane.close()


async def post(running, said, path=PATH, **headers):
    answer = await sent(running, said, path, **headers)
    return answer.status, json.loads(answer.text), answer.headers


async def sent(running, said, path, **headers):
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    return await running.ask(path, "POST", body, **{"content-type": "application/json"} | headers)


async def streamed(running, said, path, **headers):
    """The events of an answer: their kinds and what they say."""
    answer = await sent(running, {**said, "stream": True}, path, **headers)
    assert (answer.status, answer.headers["content-type"]) == (
        200,
        "text/event-stream; charset=utf-8",
    )
    assert answer.text.endswith("\n\n")
    return [_event(each) for each in answer.text[:-2].split("\n\n")]


def _event(told):
    *kind, data = told.split("\n")
    data = data.removeprefix("data: ")
    said = data if data == "[DONE]" else json.loads(data)
    return "".join(kind).removeprefix("event: "), said


async def vectors(running, *texts, **fields):
    answers = await running.plane.predict("toy", [TextRequest(texts, **fields)])
    return answers.replies[0].vectors


def request(given, **fields):
    return {"model": "toy", "input": given, **fields}
