"""The HTTP port: metrics, health, errors and bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from foretoken.errors import NotFound, Overloaded, Unavailable
from foretoken.server.doors.http import HttpDoor
from foretoken.server.doors.web import bounds
from foretoken.server.doors.web.app import application
from foretoken.server.settings import Settings
from tests.server.doors.http_port import ONE, Running, run, told

# -- operations -----------------------------------------------------------------------------------


def test_metrics_are_shown_in_the_text_format():
    async def check(running: Running) -> None:
        running.metrics.shed("lcpfn", "queue")
        answer = await running.ask("/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert 'foretoken_sheds_total{model="lcpfn",reason="queue"} 1.0' in answer.text
        asked = await running.ask("/metrics", accept="application/openmetrics-text")
        assert asked.headers["content-type"].startswith("application/openmetrics-text")

    run(check)


def test_a_process_is_alive_before_it_is_ready_and_while_it_drains():
    async def check(running: Running) -> None:
        said = []
        for running.ready in (False, True, False):
            alive, ready = await running.ask("/healthz"), await running.ask("/readyz")
            said.append((alive.status, ready.status, ready.text))
        assert said == [
            (200, 503, "not ready: loading\n"),
            (200, 200, "ready\n"),
            (200, 503, "not ready: draining\n"),
        ]

    run(check)


def test_workers_share_a_port():
    async def check(running: Running) -> None:
        second = HttpDoor(running.plane, running.metrics, running.settings, lambda: False)
        assert await second.start(running.port) == running.port
        statuses = {(await running.ask("/readyz")).status for _ in range(60)}
        await second.stop()
        assert statuses == {200, 503}
        assert {(await running.ask("/readyz")).status for _ in range(5)} == {200}

    run(check)


def test_a_port_that_is_taken_is_refused():
    async def check() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            running = Running()
            with pytest.raises(Unavailable, match=r"cannot listen on 127\.0\.0\.1"):
                await running.door.start(other.getsockname()[1])
            await running.door.stop()

    asyncio.run(check())


def test_signals_stay_with_the_process():
    async def check() -> None:
        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        async with Running() as running:
            assert (await running.ask("/healthz")).status == 200
            assert {s: signal.getsignal(s) for s in before} == before

    asyncio.run(check())


def test_nothing_heavy_is_imported_before_the_port_is_opened():
    code = "import sys, foretoken.server.doors.http; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"uvicorn", "starlette", "prometheus_client", "torch"} & set(loaded)


# -- errors and bounds ----------------------------------------------------------------------------


def test_what_is_not_there_is_told_as_json():
    async def check(running: Running) -> None:
        missing = await running.ask("/nothing")
        assert missing.status == 404
        assert json.loads(missing.text)["error"]["type"] == "NotFound"
        wrong = await running.ask("/metrics", "DELETE")
        assert wrong.status == 405
        assert wrong.headers["allow"] == "GET, HEAD"
        assert "DELETE is not answered" in json.loads(wrong.text)["error"]["message"]
        assert (await running.ask("/healthz", "HEAD")).text == ""

    run(check)


async def asked(
    route: Any, *chunks: bytes, settings: Settings | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """What an application with one route answers to a POST."""
    app = application([Route("/", route, methods=["POST"])], settings or Settings())
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/", "raw_path": b"/",
        "query_string": b"", "root_path": "", "scheme": "http", "client": None, "server": None,
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip
    waiting = [{"type": "http.request", "body": c, "more_body": True} for c in chunks]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0) if waiting else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    told = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(m.get("body", b"") for m in sent[1:])


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


def test_errors_of_the_tree_have_their_status_and_their_words():
    async def missing(request: Request) -> None:
        raise NotFound("no model 'x'")

    async def busy(request: Request) -> None:
        raise Overloaded("the queue is full", retry_after=1.5)

    status, _, body = asyncio.run(asked(missing))
    assert status == 404
    assert json.loads(body) == {"error": {"type": "NotFound", "message": "no model 'x'"}}
    status, headers, _ = asyncio.run(asked(busy))
    assert (status, headers["retry-after"]) == (429, "2")


def test_bugs_have_an_id_that_stands_in_the_log_and_tell_nothing_else(caplog):
    async def broken(request: Request) -> None:
        raise RuntimeError("a secret")

    status, _, body = asyncio.run(asked(broken))
    message = json.loads(body)["error"]["message"]
    assert status == 500
    assert "secret" not in message
    assert message in caplog.text


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_is_bounded(declared):
    settings = Settings(message_bytes=1024)
    exactly = [b"x" * 1000, b"y" * 24]
    status, _, body = asyncio.run(asked(echo, *exactly, settings=settings))
    assert (status, body) == (200, b"".join(exactly))
    more = {"content_length": "1025"} if declared else {}
    status, headers, body = asyncio.run(asked(echo, *exactly, b"z", settings=settings, **more))
    assert (status, headers["connection"]) == (413, "close")
    assert "at most 1024 bytes" in json.loads(body)["error"]["message"]


def test_a_header_is_bounded_also_when_it_comes_at_once():
    fits = "x" * (bounds.HEADER_BYTES - 20)
    assert asyncio.run(asked(echo, big=fits))[0] == 200
    status, headers, body = asyncio.run(asked(echo, big=fits + "y" * 20))
    assert (status, headers["connection"]) == (431, "close")
    assert f"at most {bounds.HEADER_BYTES} bytes" in json.loads(body)["error"]["message"]


def test_an_answer_has_a_deadline():
    async def slow(request: Request) -> None:
        await asyncio.sleep(60)

    status, _, body = asyncio.run(asked(slow, settings=Settings(deadline=0.05)))
    assert status == 504
    assert json.loads(body)["error"]["type"] == "DeadlineExceeded"


def test_half_an_answer_does_not_pass_for_a_whole_one():
    async def stuck(request: Request) -> StreamingResponse:
        async def parts() -> Any:
            yield b"half"
            await asyncio.sleep(60)

        return StreamingResponse(parts())

    with pytest.raises(TimeoutError):
        asyncio.run(asked(stuck, settings=Settings(deadline=0.05)))


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nX-Slow: "])
def test_a_connection_without_a_whole_header_is_closed(monkeypatch, sent):
    monkeypatch.setattr(bounds, "HEADER_SECONDS", 0.2)

    async def check(running: Running) -> None:
        answer, seconds = await asyncio.to_thread(told, running.port, sent)
        assert answer == b""
        assert 0.15 < seconds < 3

    run(check)


def test_a_second_header_has_no_more_time_than_the_first(monkeypatch):
    monkeypatch.setattr(bounds, "HEADER_SECONDS", 0.3)

    async def check(running: Running) -> None:
        answer, seconds = await asyncio.to_thread(told, running.port, ONE, b"GET / HT", 0.6)
        assert answer.count(b"HTTP/1.1 200 OK") == 1
        assert 0.85 < seconds < 4

    run(check)


def test_a_long_header_is_refused():
    async def check(running: Running) -> None:
        long = b"GET / HTTP/1.1\r\nX-Long: " + b"x" * (bounds.HEADER_BYTES + 1)
        answer, _ = await asyncio.to_thread(told, running.port, long)
        assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""
        assert (await running.ask("/healthz")).status == 200

    run(check)


def test_connections_are_bounded_and_taken_again(monkeypatch):
    monkeypatch.setattr(bounds, "CONNECTIONS", 5)

    async def check(running: Running) -> None:
        with contextlib.ExitStack() as held:
            for _ in range(5):
                held.enter_context(socket.create_connection(("127.0.0.1", running.port)))
            await asyncio.sleep(0.1)
            assert (await asyncio.to_thread(told, running.port, ONE))[0] == b""
        answer, end = None, time.monotonic() + 20
        while answer is None and time.monotonic() < end:  # it may not have noticed yet
            with contextlib.suppress(ConnectionError):
                answer = await running.ask("/healthz")
        assert answer is not None
        assert answer.status == 200

    run(check)
