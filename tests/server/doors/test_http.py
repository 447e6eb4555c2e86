"""The HTTP port: metrics, health, the index page, errors, bounds, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import html
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from foretoken.errors import InvalidInput, NotFound, Overloaded, Unavailable
from foretoken.server.doors import http as door
from foretoken.server.doors.http import HttpDoor
from foretoken.server.doors.web import bounds
from foretoken.server.doors.web.app import application
from foretoken.server.doors.web.index import Listed, Overview, Shown
from foretoken.server.doors.web.page import duration, rendered
from foretoken.server.metrics import Metrics
from foretoken.server.registry.records import Model, Origin, Status, Version
from foretoken.server.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def version(name: str, number: int, *aliases: str, family: str = "lcpfn") -> Version:
    return Version(
        name, number, "sha256:0", Status.READY, "", family, "fp32", 1, NOW, Origin.USER,
        aliases=aliases,
    )  # fmt: skip


class Shelf:
    """A registry as far as the index page reads it."""

    def __init__(self, *versions: Version, owners: dict[str, str] | None = None) -> None:
        self._versions, self._owners = versions, owners or {}

    def models(self, after=None, limit=100, *, tenants=None) -> list[Model]:
        found = []
        for name in sorted({v.name for v in self._versions}):
            own = [v for v in self._versions if v.name == name]
            aliases = {alias: v.number for v in own for alias in v.aliases}
            owner = self._owners.get(name)
            if tenants is None or owner is None or owner in tenants:
                found.append(Model(name, len(own), own[-1].number, aliases, NOW, owner))
        return found[:limit]

    def versions(self, name, after=None, limit=100) -> list[Version]:
        return [v for v in reversed(self._versions) if v.name == name][:limit]

    def show(self, ref) -> Version:
        return next(v for v in self._versions if v.ref == ref)


class Running:
    """A door in this event loop, asked by threads."""

    def __init__(self, settings: Settings | None = None, shelf: Shelf | None = None) -> None:
        self.settings = settings or Settings()
        self.metrics = Metrics()
        self.ready = True
        self.plane: Any = SimpleNamespace(registry=shelf or Shelf(), loaded=[])
        self.door = HttpDoor(self.plane, self.metrics, self.settings, lambda: self.ready)
        self.port = 0

    async def __aenter__(self) -> Running:
        self.port = await self.door.start(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.door.stop()

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Any:
        return await asyncio.to_thread(self._ask, path, method, headers)

    def _ask(self, path: str, method: str, headers: dict[str, str]) -> Any:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port)) as connection:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return SimpleNamespace(
                status=answer.status, headers=answer.headers, text=answer.read().decode()
            )


def run(check, *args, **kwargs) -> None:
    async def whole() -> None:
        async with Running(*args, **kwargs) as running:
            await check(running)

    asyncio.run(whole())


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


# -- the index page -------------------------------------------------------------------------------


class Text(HTMLParser):
    """The words of a page, and the tags that are open or were never closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] != "style":
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def page(*args, **kwargs) -> Text:
    found = []

    async def check(running: Running) -> None:
        running.plane.loaded = [SimpleNamespace(version=version("lcpfn", 2))]
        answer = await running.ask("/", host="models.example:8101")
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        found.append(Text(answer.text))

    run(check, *args, **kwargs)
    assert found[0].open == []
    assert "script" not in found[0].tags
    return found[0]


def test_the_index_lists_models_versions_aliases_and_addresses():
    shelf = Shelf(version("lcpfn", 1), version("lcpfn", 2, "champion"), version("other", 1))
    text = page(shelf=shelf).text
    assert "2 champion loaded 1 on demand" in text
    assert "gRPC models.example:8100 HTTP models.example:8101" in text
    assert "foretoken extrapolate lcpfn" in text
    assert "curve stateless" in text


def test_examples_of_the_index_speak_tls_where_the_server_does():
    shown = Shown(1, ("champion",), loaded=True)
    model = Listed("lcpfn", "curve", "stateless", "what it does", True, (shown,), 0)
    plain = Overview("0.1.0", 1.0, False, "here:1", "here:2", (model,), False)
    text = html.unescape(rendered(dataclasses.replace(plain, secure=True)))
    assert "foretoken --ca ca.pem extrapolate lcpfn" in text
    assert 'server=Client("here:1", ca="ca.pem"))' in text
    assert 'InferenceServerClient("here:1", ssl=True, root_certificates="ca.pem")' in text
    assert 'CurveExtrapolator("lcpfn", server="here:1")' in html.unescape(rendered(plain))


def test_the_index_shows_few_versions_and_those_that_aliases_point_at():
    versions = [version("lcpfn", n, *(["champion"] if n == 2 else [])) for n in range(1, 20)]
    text = page(shelf=Shelf(*versions)).text
    assert "19 on demand 18 on demand 17 on demand 16 on demand 15 on demand 2 champion" in text
    assert "and 13 more" in text


def test_the_index_shows_no_tenants_models():
    shelf = Shelf(version("mine", 1), version("ours", 1), owners={"mine": "acme"})
    text = page(shelf=shelf).text
    assert "ours" in text
    assert "mine" not in text


def test_the_index_shows_no_models_where_tokens_are_required():
    text = page(Settings(require_tokens=True), shelf=Shelf(version("lcpfn", 2))).text
    assert "lcpfn" not in text
    assert "those who show a token" in text


def test_the_index_escapes_what_it_shows():
    hostile = version("<script>alert(1)</script>", 1, "a&b", family="<i>")
    found = page(shelf=Shelf(hostile))
    assert "<script>alert(1)</script>" in found.text
    assert "a&b" in found.text
    assert "i" not in found.tags


def test_an_empty_registry_has_a_page():
    assert "There are none yet" in page().text


def test_a_model_of_an_unknown_family_and_one_that_is_not_served_are_listed():
    shelf = Shelf(version("foreign", 1, family="later"))
    served = shelf.models

    def unserved(*args, **kwargs):
        return [dataclasses.replace(model, served=False) for model in served(*args, **kwargs)]

    shelf.models = unserved
    text = page(shelf=shelf).text
    assert "family later, which this release does not have" in text
    assert "1 unloaded" in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.9, "0 seconds"),
        (61, "1 minute 1 second"),
        (7200, "2 hours"),
        (90061, "1 day 1 hour"),
        (-3, "0 seconds"),
    ],
)
def test_durations_are_said_in_two_units(seconds, said):
    assert duration(seconds) == said


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


def told(port: int, sent: bytes, then: bytes = b"", pause: float = 0.0) -> tuple[bytes, float]:
    """What the server answers to raw bytes until it closes, and after how many seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        began, answer = time.monotonic(), b""
        connection.sendall(sent)
        with contextlib.suppress(ConnectionError):
            if then:
                time.sleep(pause)
                connection.sendall(then)
            while data := connection.recv(4096):
                answer += data
        return answer, time.monotonic() - began


ONE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


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
        await asyncio.sleep(0.1)
        assert (await running.ask("/healthz")).status == 200

    run(check)


# -- TLS ------------------------------------------------------------------------------------------


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority, tmp_path) -> Settings:
    write(authority, tmp_path)
    return Settings(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")


def write(authority: trustme.CA, folder) -> None:
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")


def shaken(port: int, authority: trustme.CA, own: trustme.LeafCert | None = None) -> Any:
    """The serial number of the server's certificate, and its answer."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if own is not None:
        own.configure_cert(context)
    with (
        socket.create_connection(("localhost", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        shown = connection.getpeercert()
        assert shown is not None
        connection.sendall(ONE)
        return shown["serialNumber"], connection.recv(4096)


def test_tls_is_spoken_alone_where_it_is_asked_for(secure, authority):
    async def check(running: Running) -> None:
        _, answer = await asyncio.to_thread(shaken, running.port, authority)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        plain, _ = await asyncio.to_thread(told, running.port, ONE)
        assert b"200" not in plain

    run(check, secure)


def test_clients_without_a_certificate_are_refused_where_one_is_asked_for(
    secure, authority, tmp_path
):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = secure.model_copy(update={"tls_client_ca": tmp_path / "ca.pem"})

    async def check(running: Running) -> None:
        own = authority.issue_cert("client@example.org")
        _, answer = await asyncio.to_thread(shaken, running.port, authority, own)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        foreign = trustme.CA().issue_cert("client@example.org")
        for shown in (None, foreign):
            answer = b""  # a refusal is an error or, if it comes late, an end
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                _, answer = await asyncio.to_thread(shaken, running.port, authority, shown)
            assert answer == b""

    run(check, settings)


def test_a_renewed_certificate_is_shown_and_a_broken_one_is_not(
    monkeypatch, secure, authority, tmp_path
):
    monkeypatch.setattr(door, "RENEWAL", 0)  # uvicorn looks once a second

    async def check(running: Running) -> None:
        first, _ = await asyncio.to_thread(shaken, running.port, authority)
        write(authority, tmp_path)
        os.utime(tmp_path / "cert.pem", (1, 1))
        await asyncio.sleep(1.5)
        second, _ = await asyncio.to_thread(shaken, running.port, authority)
        (tmp_path / "cert.pem").write_text("broken")
        await asyncio.sleep(1.5)
        third, _ = await asyncio.to_thread(shaken, running.port, authority)
        assert first != second
        assert second == third

    run(check, secure)


@pytest.mark.parametrize("broken", ["missing", "not PEM"])
def test_a_certificate_that_is_no_good_stops_the_start(secure, tmp_path, broken):
    if broken == "missing":
        (tmp_path / "cert.pem").unlink()
    else:
        (tmp_path / "cert.pem").write_text("certificate")
    with pytest.raises(InvalidInput, match="tls_cert"):
        asyncio.run(Running(secure).door.start(0))
