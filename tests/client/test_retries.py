"""What is tried again, when, and for how long."""

from __future__ import annotations

import itertools
import socket
import time

import grpc
import pytest

from foretoken.client.methods import METHODS
from foretoken.errors import DeadlineExceeded, Overloaded, Unavailable
from foretoken.proto.loading import service
from tests.client_server import Fake, aborting

BUSY = (
    ("foretoken-error", "Overloaded"),
    ("grpc-retry-pushback-ms", "250"),
    ("retry-after-ms", "250"),
)


def failing(fake, times, fail):
    """An answer that fails so many times."""
    return lambda method, context: fail(method, context) if len(fake.asked) <= times else b""


def test_what_changes_nothing_is_tried_again(ask, fake):
    fake.answer = failing(fake, 2, aborting(grpc.StatusCode.UNAVAILABLE))
    assert ask(fake.address, "models") == []
    assert len(fake.asked) == 3


@pytest.mark.parametrize("method", ["load", "unload", "rollback", "delete"])
def test_what_changes_something_is_not(ask, fake, method):
    fake.answer = aborting(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Unavailable):
        ask(fake.address, method, "m:1")
    assert len(fake.asked) == 1


def test_it_waits_as_long_as_the_server_says(ask, fake):
    fake.answer = failing(fake, 2, aborting(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", *BUSY))
    assert ask(fake.address, "models") == []
    times = [at for _, at in fake.asked]
    assert all(0.24 < b - a < 2 for a, b in itertools.pairwise(times))


def test_it_gives_up(ask, fake):
    fake.answer = aborting(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", *BUSY)
    with pytest.raises(Overloaded, match="full") as caught:
        ask(fake.address, "models")
    assert len(fake.asked) == 5
    assert caught.value.retry_after == 0.25


def test_other_failures_are_not_tried_again(ask, fake):
    fake.answer = aborting(grpc.StatusCode.DATA_LOSS)
    with pytest.raises(Exception, match="said so"):
        ask(fake.address, "models")
    assert len(fake.asked) == 1


def test_the_deadline_bounds_all_of_it(ask, fake):
    fake.answer = aborting(grpc.StatusCode.UNAVAILABLE)
    began = time.monotonic()
    with pytest.raises((DeadlineExceeded, Unavailable)):
        ask(fake.address, "models", timeout=0.3)
    assert time.monotonic() - began < 10


def test_a_server_that_comes_back_is_found(ask, free_port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))  # refuses connections, as it does not listen
        with pytest.raises(Unavailable):
            ask(f"127.0.0.1:{free_port}", "load", "m")
    with Fake() as fake:
        assert ask(fake.address, "models") == []


def test_every_method_of_ours_is_known_to_be_safe_or_not():
    services = (
        ("curves", "Curves"),
        ("embeddings", "Embeddings"),
        ("generation", "Generation"),
        ("registry", "Registry"),
        ("sequences", "Sequences"),
        ("tabular", "Tabular"),
    )
    for path, name in services:
        declared = service(f"foretoken/v1/{path}.proto", name).methods_by_name
        ours = {m.name for m in METHODS.values() if m.service == f"foretoken.v1.{name}"}
        assert ours <= set(declared)
    changing = {m.name for m in METHODS.values() if not m.safe}
    assert changing == {
        "Search",
        "Watch",
        "Stream",
        "PredictStream",
        "EmbedStream",
        "Register",
        "SetAlias",
        "DeleteAlias",
        "Rollback",
        "SetOptions",
        "Delete",
        "Load",
        "Unload",
    }
