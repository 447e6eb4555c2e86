"""OpenAI's API on the HTTP port, by raw requests."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import time

import numpy as np
import pytest

from foretoken.errors import DeadlineExceeded
from foretoken.server.doors.parts import MOST
from foretoken.server.log import Log
from foretoken.server.plane import Plane
from foretoken.server.security.gate import TokenGate
from foretoken.server.security.limiter import Limiter
from foretoken.server.security.tokens import Wanted, create
from foretoken.server.settings import load_settings
from tests.asynchronous import awaited
from tests.server.doors.http_port import Running
from tests.server.doors.openai_port import (
    LIMIT,
    PATH,
    WIDTH,
    Tokens,
    port,
    post,
    registered,
    request,
    vectors,
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory, published):
    with registered(tmp_path_factory.mktemp("openai"), published) as registry:
        yield registry


# -- replies --------------------------------------------------------------------------------------


@awaited
async def test_vectors_as_numbers_and_as_base64(registry):
    async with port(registry) as running:
        expected = await vectors(running, "one", "", "three")
        status, said, headers = await post(running, request(["one", "", "three"]))
        assert (status, headers["content-type"]) == (200, "application/json")
        assert list(said) == ["object", "data", "model", "usage"]
        assert (said["object"], said["model"]) == ("list", "toy:1")
        assert said["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
        assert [(each["object"], each["index"]) for each in said["data"]] == [
            ("embedding", i) for i in range(3)
        ]
        found = np.array([each["embedding"] for each in said["data"]], np.float32)
        np.testing.assert_array_equal(found, expected)
        asked = request(["one", "", "three"], encoding_format="base64", user="me")
        _, said, _ = await post(running, asked)
        raw = [base64.b64decode(each["embedding"]) for each in said["data"]]
        np.testing.assert_array_equal([np.frombuffer(each, "<f4") for each in raw], expected)


@awaited
async def test_one_string_many_texts_dimensions_and_prompts(registry):
    async with port(registry) as running:
        _, said, _ = await post(running, request("one"))
        assert len(said["data"]) == 1
        many = [f"text {i}" for i in range(100)]
        _, said, _ = await post(running, request(many))
        found = np.array([each["embedding"] for each in said["data"]])
        np.testing.assert_allclose(found, await vectors(running, *many), atol=1e-6)
        asked = request("one", dimensions=WIDTH // 2, prompt="query: ")
        _, said, _ = await post(running, asked)
        expected = await vectors(running, "one", dimensions=WIDTH // 2, prompt="query: ")
        np.testing.assert_allclose([said["data"][0]["embedding"]], expected, atol=1e-6)


@awaited
async def test_what_is_too_long_is_refused_unless_it_may_be_cut(registry):
    async with port(registry) as running:
        given = ["short", "x" * (LIMIT + 5)]
        status, said, _ = await post(running, request(given))
        assert status == 400
        assert "text 1 has 37 tokens, of which toy reads 32" in said["error"]["message"]
        status, said, _ = await post(running, request(given, truncate="end"))
        assert (status, said["cut"]) == (200, [0, 5])
        assert said["usage"]["prompt_tokens"] == 37


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "param", "told"),
    [
        (b"", None, "not JSON"),
        (b"{", None, "not JSON"),
        (b"[" * 100_000, None, "not JSON"),
        (b'"text"', None, "JSON object"),
        (b'{"model": "toy", "input": "\xff"}', None, "not UTF-8"),
        (rb'{"model": "toy", "input": "\ud800"}', None, "text 0 is not Unicode"),
        (rb'{"model": "toy", "input": "a", "prompt": "\ud800"}', None, "the prompt is not Unicode"),
        ({"input": "a"}, "model", "registered model"),
        ({"model": 3, "input": "a"}, "model", "registered model"),
        ({"model": "toy"}, "input", "string or a list of strings"),
        (request([]), "input", "at least one"),
        (request({"a": 1}), "input", "string or a list of strings"),
        (request([1, 2, 3]), "input", "token ids"),
        (request([[1, 2], [3]]), "input", "token ids"),
        (request(["a", None]), "input", "element 1 is neither"),
        (request(["a", True]), "input", "element 1 is neither"),
        (request(["a"] * 3000), None, "at most 2048 texts"),
        (request("a", encoding_format="int8"), "encoding_format", "float, base64"),
        (request("a", dimensions="8"), "dimensions", "1 or more"),
        (request("a", dimensions=0), "dimensions", "1 or more"),
        (request("a", dimensions=True), "dimensions", "1 or more"),
        (request("a", dimensions=5), None, "dimensions are 16 or 8, not 5"),
        (request("a", prompt=3), "prompt", "a string"),
        (request("a", truncate="start"), "truncate", "'end' or 'error'"),
        (request("a", inputs="b"), "inputs", "no field 'inputs'"),
        (rb'{"model": "toy", "\ud800": 1}', "\ud800", "no field"),
        ({"model": "curves", "input": "a"}, None, "answers curve requests"),
    ],
)
def test_what_is_not_acceptable(registry, said, param, told):
    async def answer():
        async with port(registry) as running:
            return await post(running, said)

    status, body, headers = asyncio.run(answer())
    assert status == 400
    error = body["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, None)
    assert told in error["message"]
    assert headers["x-should-retry"] == "false"


@awaited
async def test_a_million_texts_are_refused_with_what_would_do(registry):
    async with port(registry) as running:
        status, said, _ = await post(running, request(["text"] * 1_000_000))
        assert (status, said["error"]["type"]) == (400, "invalid_request_error")
        assert f"more than {MOST} values" in said["error"]["message"]
        status, said, _ = await post(running, request([""] * 50_000))
        assert "50000 texts are more than this server takes, 2048" in said["error"]["message"]


@awaited
async def test_small_values_are_counted_before_they_are_parsed(registry):
    async with port(registry) as running:
        long = json.dumps(request(['a, [b] and {c}\\", ' * 30_000, "d" * (1 << 20)])).encode()
        status, said, _ = await post(running, long)
        assert "text 0 has" in said["error"]["message"], "texts may hold what values are made of"
        for many in (b'{"input":[' + b"[]," * 400_000, b'{"input":[' + b"1," * 600_000):
            began = time.process_time()
            status, said, _ = await post(running, many)
            assert status == 400
            assert "values; send less at once" in said["error"]["message"]
            assert time.process_time() - began < 2.0


@awaited
async def test_the_size_of_a_body_is_bounded(registry):
    async with port(registry, message_bytes=2048, text_bytes=1000) as running:
        status, said, _ = await post(running, request("a" * 3000))
        assert status == 413
        assert said["error"]["message"] == "a body has at most 2048 bytes"
        assert said["error"]["type"] == "invalid_request_error"
        status, said, _ = await post(running, request("a" * 1001, truncate="end"))
        assert (status, "1000 (text_bytes)" in said["error"]["message"]) == (400, True)


@awaited
async def test_bodies_in_flight_are_bounded_together(registry):
    async with port(registry, inflight_bytes=20_000) as running:
        slow = await asyncio.open_connection("127.0.0.1", running.port)
        slow[1].write(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n")
        slow[1].write(b" " * 15_000)
        await slow[1].drain()
        await asyncio.sleep(0.2)
        status, said, headers = await post(running, request("a" * 10_000, truncate="end"))
        assert (status, said["error"]["code"]) == (429, "rate_limit_exceeded")
        assert float(headers["retry-after-ms"]) > 0
        slow[1].close()
        await slow[1].wait_closed()
        await asyncio.sleep(0.2)
        status, _, _ = await post(running, request("a" * 10_000, truncate="end"))
        assert status == 200, "what has ended is not counted any more"


@awaited
async def test_tokens_are_those_of_grpc(registry):
    async with port(registry) as running:
        theirs = {"model": "theirs", "input": "a"}
        status, said, _ = await post(running, theirs)
        assert (status, said["error"]["code"]) == (404, "model_not_found")
        status, said, _ = await post(running, theirs, authorization="Bearer ftk_good")
        assert (status, said["model"]) == (200, "theirs:1")
        status, said, headers = await post(running, request("a"), authorization="Bearer ftk_bad")
        assert (status, said["error"]["code"]) == (401, "invalid_api_key")
        assert headers["www-authenticate"] == "Bearer"
        status, said, headers = await post(running, request("a"), authorization="Bearer ftk_often")
        assert (status, said["error"]["code"]) == (429, "rate_limit_exceeded")
        assert (headers["retry-after"], headers["retry-after-ms"]) == ("1", "250")
        assert "x-should-retry" not in headers
        status, said, _ = await post(running, request("a"), authorization="Bearer ftk_other")
        assert status == 403
        for nobody in ("Bearer unused", "bearer EMPTY", "Bearer sk-123"):
            status, said, _ = await post(running, theirs, authorization=nobody)
            assert status == 404, "a key that is none of ours is as good as none"
        status, said, _ = await post(running, request("a"), authorization="Basic dTpw")
        assert status == 401


@awaited
async def test_real_tokens_open_a_server_that_requires_them(registry, tmp_path):
    settings = load_settings(require_tokens=True)
    secret, _ = create(registry.tokens, Wanted("openai", tenant="them"))
    admin, _ = create(registry.tokens, Wanted("admin", ["admin"]))
    plane, limiter = Plane(registry, settings), Limiter(tmp_path / "limits")
    gate = TokenGate(registry, settings, limiter)
    theirs = {"model": "theirs", "input": "a"}
    async with Running(settings, plane=plane, gate=gate) as running:
        for shown, expected in (
            (f"Bearer {secret}", 200),
            (f"Bearer {admin}", 403),
            (f"Bearer {secret}x", 401),
            ("Bearer unused", 401),
            (None, 401),
        ):
            headers = {} if shown is None else {"authorization": shown}
            status, said, _ = await post(running, theirs, **headers)
            assert (status, secret in json.dumps(said)) == (expected, False)
        assert gate.refusals == {"missing": 2, "unknown": 1, "scope": 1}
    await plane.close()
    limiter.close()


@awaited
async def test_models_are_those_that_the_caller_sees(registry):
    async with port(registry) as running:
        for headers, names in (
            ({}, ["curves", "toy"]),
            ({"authorization": "Bearer ftk_good"}, ["curves", "theirs", "toy"]),
        ):
            answer = await running.ask("/v1/models", **headers)
            said = json.loads(answer.text)
            assert said["object"] == "list"
            assert [model["id"] for model in said["data"]] == names
            assert {model["object"] for model in said["data"]} == {"model"}
            assert all(abs(model["created"] - time.time()) < 3600 for model in said["data"])
        assert said["data"][1]["owned_by"] == "them"
        refused = await running.ask("/v1/models", authorization="Bearer ftk_bad")
        assert refused.status == 401


@awaited
async def test_other_methods_are_not_answered(registry):
    async with port(registry) as running:
        answer = await running.ask(PATH)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert "POST" in json.loads(answer.text)["error"]["message"]


# -- what is told of calls ------------------------------------------------------------------------


@awaited
async def test_calls_are_logged_and_have_ids(registry, tmp_path):
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = Log(fd=fd, flush=0.01)
    async with port(registry, log=log) as running:
        _, _, headers = await post(running, request("secret"), **{"x-request-id": "mine"})
        assert headers["x-request-id"] == "mine"
        _, _, headers = await post(running, request(["secret", 1]))
        assert headers["x-request-id"]
    log.close()
    os.close(fd)
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["method"], first["code"], first["request_id"]) == (PATH, "OK", "mine")
    assert (first["model"], first["version"], first["caller"]) == ("toy", 1, "anonymous")
    assert (second["code"], second["error"]) == ("INVALID_ARGUMENT", "BadField")
    assert "secret" not in path.read_text()


@awaited
async def test_bugs_of_ours_are_told_by_an_id_that_the_log_has(tmp_path):
    class Broken:
        registry = None

        async def predict(self, model, requests, terms):
            raise ZeroDivisionError("nobody foresaw this")

    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = Log(fd=fd, flush=0.01)
    async with Running(plane=Broken(), gate=Tokens(), log=log) as running:
        status, said, _ = await post(running, request("a"))
    log.close()
    os.close(fd)
    assert (status, said["error"]["type"]) == (500, "server_error")
    assert "foresaw" not in said["error"]["message"]
    failure = json.loads(path.read_text().splitlines()[0])
    assert failure["id"] in said["error"]["message"]
    assert failure["kind"] == "builtins.ZeroDivisionError"


class Slow:
    """A plane that answers nothing."""

    registry = None

    def __init__(self):
        self.running = self.cancelled = 0

    async def predict(self, model, requests, terms):
        self.running += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@awaited
async def test_work_for_callers_who_have_gone_is_given_up():
    plane = Slow()
    async with Running(plane=plane, gate=Tokens()) as running:
        body = json.dumps(request("a")).encode()
        with socket.create_connection(("127.0.0.1", running.port)) as connection:
            head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            async with asyncio.timeout(10):
                while not plane.running:
                    await asyncio.sleep(0.01)
            assert plane.cancelled == 0
        async with asyncio.timeout(10):
            while not plane.cancelled:
                await asyncio.sleep(0.01)


@awaited
async def test_what_takes_too_long_is_told_in_openai_s_shape():
    class Late:
        registry = None

        async def predict(self, model, requests, terms):
            await asyncio.sleep(terms.left)
            raise DeadlineExceeded("the deadline passed before the answer was there")

    async with Running(load_settings(deadline=0.3), plane=Late(), gate=Tokens()) as running:
        status, said, _ = await post(running, request("a"))
        assert (status, said["error"]["type"]) == (504, "server_error")
        assert said["error"]["message"].startswith("the deadline passed")


@pytest.mark.parametrize("patient", [True, False])
@awaited
async def test_answers_under_way_may_end_when_the_port_is_closed(registry, patient):
    class Steady:
        def __init__(self, real):
            self.registry, self.real, self.asked = real.registry, real, asyncio.Event()

        async def predict(self, *given):
            self.asked.set()
            await asyncio.sleep(2.0 if patient else 60.0)
            return await self.real.predict(*given)

    real = Plane(registry, load_settings())
    async with Running(plane=Steady(real), gate=Tokens()) as running:
        answer = asyncio.ensure_future(post(running, request("a")))
        await running.plane.asked.wait()
        began = time.monotonic()
        stopping = asyncio.ensure_future(running.door.stop(30))
        if patient:
            assert (await answer)[0] == 200
            await stopping
        else:
            await asyncio.sleep(0.1)
            await running.door.stop(0)
            assert time.monotonic() - began < 20, "who asks again is in more of a hurry"
            await asyncio.wait({answer, stopping})
    await real.close()
