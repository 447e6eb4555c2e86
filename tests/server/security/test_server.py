"""Security of a whole server: two workers behind one port, tokens made by the command line."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import grpc
import pytest

from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from tests.serving import Server, serving
from tests.wire import RegistryWire

LCPFN = Artefact.read(bundled()["lcpfn"])
MANY = 24  # connections, so that every worker has some


def tokens(server: Server, *words: str) -> str:
    command = [sys.executable, "-c", "from foretoken.cli import main; main()", "tokens"]
    done = subprocess.run(
        [*command, *words, "--data-dir", str(server.data_dir)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Listens on every address, as a server does that others are to reach."""
    with serving("--host", "0.0.0.0", workers=2) as server:
        yield server


@pytest.fixture
def channels(server):
    """Connections of their own, which the workers share out among themselves."""
    port = server.address.rpartition(":")[2]
    options = [("grpc.use_local_subchannel_pool", 1)]
    made = [grpc.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(MANY)]
    for channel in made:
        grpc.channel_ready_future(channel).result(30)
    yield made
    for channel in made:
        channel.close()


def test_without_a_token_nobody_administers(channels):
    for channel in channels:
        caller = RegistryWire(channel)
        assert caller.code("List") == "OK"
        assert caller.code("Unload", name="lcpfn") == "UNAUTHENTICATED"


def test_a_token_counts_in_all_workers_at_once_and_no_longer_once_revoked(server, channels):
    secret = tokens(server, "create", "ops", "--scope", "admin", "--scope", "predict")
    callers = [RegistryWire(channel, secret) for channel in channels]
    assert {caller.code("Verify") for caller in callers} == {"OK"}
    tokens(server, "revoke", "ops")
    time.sleep(0.3)
    assert {caller.code("Verify") for caller in callers} == {"UNAUTHENTICATED"}
    log = server.log.read_text("utf-8") + server.out.read_text("utf-8")
    assert secret not in log
    assert secret.removeprefix("ftk_") not in log


def test_a_rate_is_that_of_the_server_whatever_the_worker(server, channels):
    secret = tokens(server, "create", "slow", "--rate", "0.01", "--burst", "7")
    codes = [RegistryWire(channel, secret).code("List") for channel in channels]
    assert codes == ["OK"] * 7 + ["RESOURCE_EXHAUSTED"] * (MANY - 7)


def test_an_expired_token_is_refused(server, channels):
    secret = tokens(server, "create", "brief", "--expires", "1s")
    caller = RegistryWire(channels[0], secret)
    time.sleep(1.1)
    assert caller.code("List") == "UNAUTHENTICATED"


def test_a_change_is_known_to_all_workers_when_the_call_returns(server, channels):
    secret = tokens(server, "create", "both", "--scope", "admin", "--scope", "predict")
    first, *others = [RegistryWire(channel, secret) for channel in channels]
    for number in range(1, 4):
        assert first.register("mine", LCPFN).number == number
        assert {mine(caller).latest for caller in others} == {number}
    first("Unload", name="mine")
    assert {mine(caller).served for caller in others} == {False}
    first("Load", name="mine")
    assert {mine(caller).served for caller in others} == {True}


def mine(caller):
    (found,) = [model for model in caller("List").models if model.name == "mine"]
    return found


def test_tenants_are_strangers_in_all_workers(server, channels):
    scopes = ("--scope", "admin", "--scope", "predict")
    ann = tokens(server, "create", "ann", *scopes, "--tenant", "a")
    bob = tokens(server, "create", "bob", *scopes, "--tenant", "b")
    RegistryWire(channels[0], ann).register("of-a", LCPFN)
    for channel in channels:
        assert RegistryWire(channel, ann).code("Show", ref="of-a") == "OK"
        assert RegistryWire(channel, bob).code("Show", ref="of-a") == "NOT_FOUND"
        assert RegistryWire(channel, bob).code("Unload", name="of-a") == "NOT_FOUND"
        assert RegistryWire(channel).code("Show", ref="of-a") == "NOT_FOUND"


def test_where_tokens_are_required_there_is_none_without():
    env = {"FORETOKEN_REQUIRE_TOKENS": "true"}
    with serving(env=env) as server, grpc.insecure_channel(server.address) as channel:
        assert RegistryWire(channel).code("List") == "UNAUTHENTICATED"
        secret = tokens(server, "create", "user")
        assert RegistryWire(channel, secret).code("List") == "OK"
