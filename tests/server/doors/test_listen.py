"""Ports, sockets and TLS."""

from __future__ import annotations

import asyncio
import datetime
import socket
from pathlib import Path

import grpc
import pytest
import trustme

from foretoken.errors import InvalidInput, Unavailable
from foretoken.proto import curves
from foretoken.server.doors.listen import listen
from foretoken.server.doors.rpc import OPEN, QUIET
from foretoken.server.log import Log
from foretoken.server.settings import Settings
from tests.server.doors.serving import Toy, serving, unary
from tests.server.doors.test_rpc import REQUEST, refused, run


def write(cert: trustme.LeafCert, folder: Path, name: str = "server") -> dict[str, Path]:
    cert.private_key_pem.write_to_path(folder / f"{name}.key")
    folder.joinpath(f"{name}.pem").write_bytes(b"".join(p.bytes() for p in cert.cert_chain_pems))
    return {"tls_cert": folder / f"{name}.pem", "tls_key": folder / f"{name}.key"}


def client(ca: trustme.CA, cert: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
    mine = (None, None)
    if cert is not None:
        mine = (cert.private_key_pem.bytes(), cert.cert_chain_pems[0].bytes())
    return grpc.ssl_channel_credentials(ca.cert_pem.bytes(), *mine)


OWN = (("grpc.use_local_subchannel_pool", 1),)  # a connection of its own


async def ask(server, secret=None, **options):
    channel = await server.channel(f"localhost:{server.port}", secret, options=OWN)
    return (await unary(channel)(REQUEST, timeout=20)).model


def test_tls_and_plaintext_do_not_mix(tmp_path):
    ca = trustme.CA()

    async def act():
        async with serving(
            Toy().service(), host="localhost", **write(ca.issue_cert("localhost"), tmp_path)
        ) as server:
            assert await ask(server, client(ca)) == "toy"
            for secret in (None, client(trustme.CA())):  # plaintext, and one who trusts another CA
                got = await refused(ask(server, secret))
                assert got.code() == grpc.StatusCode.UNAVAILABLE
            assert await ask(server, client(ca)) == "toy"

    run(act())


def test_an_expired_certificate_is_refused_and_a_renewed_one_taken_up(tmp_path):
    ca = trustme.CA()
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    before = past - datetime.timedelta(days=1)

    async def act():
        expired = ca.issue_cert("localhost", not_before=before, not_after=past)
        async with serving(Toy().service(), host="localhost", **write(expired, tmp_path)) as server:
            got = await refused(ask(server, client(ca)))
            assert got.code() == grpc.StatusCode.UNAVAILABLE
            write(ca.issue_cert("localhost"), tmp_path)
            assert await ask(server, client(ca)) == "toy"
            (tmp_path / "server.pem").write_text("half a file")  # the one in use stays
            assert await ask(server, client(ca)) == "toy"

    run(act())


def test_mutual_tls_needs_a_certificate_of_the_right_ca(tmp_path):
    ca, clients = trustme.CA(), trustme.CA()
    clients.cert_pem.write_to_path(tmp_path / "clients.pem")

    async def act():
        files = write(ca.issue_cert("localhost"), tmp_path)
        async with serving(
            Toy().service(), host="localhost", tls_client_ca=tmp_path / "clients.pem", **files
        ) as server:
            assert await ask(server, client(ca, clients.issue_cert("anna"))) == "toy"
            for mine in (None, ca.issue_cert("anna")):
                got = await refused(ask(server, client(ca, mine)))
                assert got.code() == grpc.StatusCode.UNAVAILABLE

    run(act())


def test_files_that_are_no_certificates_stop_the_start(tmp_path):
    good = write(trustme.CA().issue_cert("localhost"), tmp_path)
    (tmp_path / "bad").write_text("not PEM")

    async def act():
        for bad in (
            {"tls_cert": tmp_path / "bad"},
            {"tls_key": tmp_path / "absent"},
            {"tls_key": good["tls_cert"]},
        ):
            with pytest.raises((InvalidInput, Unavailable)):
                async with serving(Toy().service(), **(good | bad)):
                    pass

    run(act())


def test_a_port_that_is_taken_is_said_to_be():
    async def act():
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            log = Log(fd=1)
            listener = listen([Toy().service()], OPEN, QUIET, log, Settings())
            with pytest.raises(Unavailable, match=str(port)):
                await listener.start(port)
            await listener.stop(0)
            log.close()

    run(act())


def test_workers_share_a_port():
    async def act():
        async with serving(Toy().service()) as first:
            log = Log(fd=1)
            second = listen([Toy().service()], OPEN, QUIET, log, Settings())
            assert await second.start(first.port) == first.port
            await second.stop(0)
            log.close()
            assert (await unary(await first.channel())(REQUEST)).model == "toy"

    run(act())


def test_a_unix_socket_beside_the_port(tmp_path):
    unix = tmp_path / "worker.sock"
    unix.write_text("left by one that was killed")

    async def act():
        async with serving(Toy().service(), unix=unix) as server:
            assert unix.stat().st_mode & 0o777 == 0o600
            assert (await unary(await server.channel(f"unix:{unix}"))(REQUEST)).model == "toy"
            assert (await unary(await server.channel())(REQUEST)).model == "toy"
        assert not unix.exists()

    run(act())


def test_idle_connections_are_closed_and_come_back():
    async def act():
        async with serving(Toy().service(), idle=0.3) as server:
            channel = await server.channel()
            assert (await unary(channel)(REQUEST)).model == "toy"
            async with asyncio.timeout(20):
                await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            reply = await unary(channel)(curves.ExtrapolateRequest(model="again"))
            assert reply.model == "again"

    run(act())
