"""TLS on the HTTP port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from typing import Any

import pytest
import trustme

from foretoken.errors import InvalidInput
from foretoken.server.doors import http as door
from foretoken.server.settings import Settings
from tests.server.doors.http_port import ONE, Running, run, told

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
        second, end = first, time.monotonic() + 20
        while second == first and time.monotonic() < end:
            await asyncio.sleep(0.1)
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
