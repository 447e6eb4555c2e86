"""Callers that hold on to the server, send too much, or do not speak its language."""

from __future__ import annotations

import contextlib
import datetime
import json
import resource
import socket
import time
from pathlib import Path

import grpc
import pytest
import trustme

from foretoken.proto import grpc_service as oip
from tests.load.calling import SERVICE, call, infer, large, outcome
from tests.load.watching import live, memory, until
from tests.serving import serving

RESULT = Path(__file__).resolve().parents[2] / "benchmarks/results/idle_connections.json"
MIB = 1 << 20
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # SETTINGS
BOUND = 64 << 10  # bytes of a message
OTHERS = 500  # files that this process may have open beside its connections


def answers(address: str, secret=None) -> str:
    options = [("grpc.use_local_subchannel_pool", 1)]
    opened = (
        grpc.insecure_channel(address, options)
        if secret is None
        else grpc.secure_channel(address, secret, options)
    )
    with opened as channel:
        return outcome(channel, "ModelInfer", infer(values=[0.1, 0.2, 0.3]), timeout=20)[0]


def test_idle_connections(server):
    idle(server, 500)


@pytest.mark.slow
def test_ten_thousand_idle_connections(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 10_000 + OTHERS:
        pytest.skip(f"this system lets a process have {hard} files open")
    try:
        grown = idle(server, 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    figures = {
        "connections": 10_000,
        "KiB of each": round(grown / 10_000 / 1024, 1),
        "answers": "OK",
    }
    RESULT.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


def idle(server, count: int) -> float:
    """Open connections that say hello and nothing else; others are answered all the same.

    Gives the bytes by which the workers grew.
    """
    before = sum(memory(pid) for pid in server.workers)
    workers = server.workers
    host, port = server.address.split(":")
    with contextlib.ExitStack() as held:
        for _ in range(count):
            connection = held.enter_context(socket.create_connection((host, int(port)), 30))
            connection.sendall(HELLO)
        grown = sum(memory(pid) for pid in server.workers) - before
        assert answers(server.address) == "OK"
        assert grown < count * 64 * 1024
    assert server.workers == workers
    assert answers(server.address) == "OK"
    return grown


def test_bytes_that_are_not_http_2(server):
    host, port = server.address.split(":")
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00" + bytes(512), bytes(4096)):
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(said)
            connection.settimeout(10)
            with contextlib.suppress(ConnectionError):
                while connection.recv(4096):
                    pass
    assert answers(server.address) == "OK"


def test_a_slow_reader_holds_up_nobody_and_leaves_nothing(server):
    """It asks for megabytes and does not read; the stream's window bounds what waits for it."""
    request = oip.ModelInferRequest.FromString(large())
    workers, before = server.workers, sum(memory(pid) for pid in server.workers)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.lookahead_bytes", 1)]
    with grpc.insecure_channel(server.address, options) as channel:
        method = channel.stream_stream(
            f"{SERVICE}/ModelStreamInfer", oip.ModelInferRequest.SerializeToString
        )
        stream = method(iter([request] * 100))
        assert until(lambda: live(server) > 0)
        time.sleep(1)
        assert answers(server.address) == "OK"
        grown = sum(memory(pid) for pid in server.workers) - before
        assert grown < 400 * MIB
        stream.cancel()
    assert until(lambda: live(server) == 0, 30)
    assert server.workers == workers


def test_a_message_beyond_the_bound_is_refused_before_it_is_kept():
    """It never is in memory as a whole, not even for a moment: the peak stays far below its size.

    What gRPC has read by the time it refuses, and what its allocator keeps, is a few MiB or tens.
    """
    big = bytes(256 * MIB)
    with serving(env={"FORETOKEN_MESSAGE_BYTES": str(BOUND)}) as server:
        (worker,) = server.workers
        options = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(server.address, options) as channel:
            call(channel, "ModelInfer", infer(values=[0.1, 0.2]))
            before = memory(worker, "VmHWM")
            for _ in range(3):
                with pytest.raises(grpc.RpcError) as refused:
                    channel.unary_unary(f"{SERVICE}/ModelInfer")(big, timeout=60)
                assert refused.value.code().name == "RESOURCE_EXHAUSTED"
                assert str(BOUND) in refused.value.details()
            assert memory(worker, "VmHWM") - before < len(big) / 2
            assert outcome(channel, "ModelInfer", infer(values=[0.1, 0.2]))[0] == "OK"


def issued(ca: trustme.CA, folder, **dates) -> tuple[str, ...]:
    leaf = ca.issue_cert("127.0.0.1", "localhost", **dates)
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return "--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")


def trusting(ca: trustme.CA) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(ca.cert_pem.bytes())


def test_plaintext_to_a_tls_port_is_turned_away(tmp_path):
    ca = trustme.CA()
    with serving(*issued(ca, tmp_path)) as server:
        assert answers(server.address) == "UNAVAILABLE"
        assert answers(server.address, trusting(trustme.CA())) == "UNAVAILABLE"
        assert answers(server.address, trusting(ca)) == "OK"


def test_an_expired_certificate_is_not_trusted(tmp_path):
    ca, now = trustme.CA(), datetime.datetime.now(datetime.UTC)
    past = {
        "not_before": now - datetime.timedelta(days=2),
        "not_after": now - datetime.timedelta(days=1),
    }
    with serving(*issued(ca, tmp_path, **past)) as server:
        assert answers(server.address, trusting(ca)) == "UNAVAILABLE"


def test_without_a_token_or_the_scope_or_the_tenants(tmp_path):
    """Through the whole server; what a caller may not see is not there for it."""
    from foretoken.models.artefact import Artefact
    from foretoken.models.catalog import bundled
    from foretoken.server.registry.registry import Registry
    from foretoken.server.security.tokens import Wanted, create
    from tests.wire import RegistryWire

    with Registry.open(tmp_path) as registry:
        tokens = {
            name: create(registry.tokens, Wanted(name, scopes, tenant))[0]
            for name, scopes, tenant in (
                ("anna", ("predict", "admin"), "red"),
                ("ben", ("predict", "admin"), "blue"),
                ("reader", ("predict",), None),
            )
        }
    with (
        serving("--require-tokens", data_dir=tmp_path, workers=2) as server,
        grpc.insecure_channel(server.address) as channel,
    ):

        def code(token: str | None, model: str) -> str:
            shown = () if token is None else (("authorization", f"Bearer {token}"),)
            good = infer(model, values=[0.1, 0.2, 0.3])
            return outcome(channel, "ModelInfer", good, metadata=shown)[0]

        anna, ben = (RegistryWire(channel, tokens[name]) for name in ("anna", "ben"))
        anna.register("mine", Artefact.read(bundled()["lcpfn"]))
        anna("SetAlias", name="mine", alias="champion", version=1)
        assert code(None, "lcpfn") == "UNAUTHENTICATED"
        assert code("ftk_guessed", "lcpfn") == "UNAUTHENTICATED"
        assert code(tokens["anna"], "mine") == "OK"
        assert code(tokens["ben"], "mine") == "NOT_FOUND"
        assert code(tokens["reader"], "mine") == "NOT_FOUND"
        assert code(tokens["reader"], "lcpfn") == "OK"
        move = {"name": "mine", "alias": "champion", "version": 1}
        assert ben.code("SetAlias", **move) == "NOT_FOUND"
        assert RegistryWire(channel, tokens["reader"]).code("SetAlias", **move) == (
            "PERMISSION_DENIED"
        )
        assert RegistryWire(channel).code("SetAlias", **move) == "UNAUTHENTICATED"
