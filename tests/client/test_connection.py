"""Addresses, credentials, and what does not go together."""

from __future__ import annotations

import pickle

import pytest

from foretoken import AsyncClient, Client
from foretoken.client.connection import Connection
from foretoken.errors import InvalidInput, NotFound


@pytest.mark.parametrize(
    ("address", "target", "local"),
    [
        ("localhost", "dns:///localhost:8100", True),
        ("localhost:1", "dns:///localhost:1", True),
        ("127.0.0.9:81", "dns:///127.0.0.9:81", True),
        ("[::1]:81", "dns:///[::1]:81", True),
        ("models.example.org:443", "dns:///models.example.org:443", False),
        ("127.example.org:1", "dns:///127.example.org:1", False),
        ("unix:/run/f.sock", "unix:/run/f.sock", True),
    ],
)
def test_addresses(address, target, local):
    connection = Connection(address)
    assert (connection.target, connection.local) == (target, local)


@pytest.mark.parametrize(
    "address", ["", "http://a:1", "a:b", "a:0", "a:65536", "::1", "a b:1", "unix:", None, 8100]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InvalidInput, match="host:port"):
        Client(address)


def test_a_token_goes_to_another_machine_encrypted_only():
    with pytest.raises(InvalidInput, match="unencrypted"):
        Client("models.example.org", token="t")
    Client("models.example.org", token="t", tls=True).close()
    Client("models.example.org", token="t", allow_plaintext_token=True).close()
    Client("127.0.0.1", token="t").close()


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "ü", 5])
def test_tokens_that_no_header_takes_are_refused(token):
    with pytest.raises(InvalidInput, match="token"):
        Client("localhost", token=token)


def test_files_go_together_and_are_there(tmp_path):
    with pytest.raises(InvalidInput, match="both"):
        AsyncClient("localhost", cert=tmp_path / "c.pem")
    with pytest.raises(NotFound, match=r"ca\.pem"):
        Client("localhost", ca=tmp_path / "ca.pem")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "soon"])
def test_a_timeout_is_a_positive_number(timeout):
    with pytest.raises(InvalidInput, match="positive"):
        Client("localhost", timeout=timeout)


def test_the_token_is_not_shown():
    assert "secret" not in repr(Connection("localhost", "secret"))
    assert "secret" not in repr(Client("localhost", token="secret"))


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_can_be_pickled(kind):
    made = pickle.loads(pickle.dumps(kind("localhost:7", token="t", timeout=3)))
    assert made.__getstate__() == Connection("localhost:7", "t", timeout=3)
