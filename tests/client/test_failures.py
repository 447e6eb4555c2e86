"""Whatever a server does, what a caller sees is an error of the one tree."""

from __future__ import annotations

import asyncio
import os
import time

import grpc
import pytest

from foretoken import AsyncClient, Client, errors
from foretoken.client.failures import CLASSES
from foretoken.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    ForetokenError,
    InternalError,
    InvalidInput,
    Overloaded,
    StaleGeneration,
    Unavailable,
)
from foretoken.proto import curves
from foretoken.server.doors.status import status_of
from tests.client_server import aborting

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
TREE = [getattr(errors, name) for name in errors.__all__]
TREE = [kind for kind in TREE if issubclass(kind, ForetokenError)]


def test_every_status_has_a_class():
    assert set(CLASSES) == set(CODES)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_a_status_becomes_its_class(ask, fake, code):
    fake.answer = aborting(code)
    with pytest.raises(CLASSES[code], match="said so"):
        ask(fake.address, "load", "m")


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_a_class_that_the_server_names_comes_back(ask, fake, kind):
    fake.answer = aborting(status_of(kind).code, "said so", ("foretoken-error", kind.__name__))
    with pytest.raises(ForetokenError, match="said so") as caught:
        ask(fake.address, "load", "m")
    general = CLASSES[status_of(kind).code]
    assert type(caught.value) is (kind if issubclass(kind, general) else general)


def test_stale_generations_are_told_apart_by_name(ask, fake):
    fake.answer = aborting(
        grpc.StatusCode.FAILED_PRECONDITION, "moved", ("foretoken-error", "StaleGeneration")
    )
    with pytest.raises(StaleGeneration, match="moved"):
        ask(fake.address, "set_alias", "m", "champion", 1)


@pytest.mark.parametrize("name", ["NotFound", "Exception", "CallerError", "os", "Over"])
def test_a_name_that_does_not_fit_the_status_is_passed_over(ask, fake, name):
    fake.answer = aborting(grpc.StatusCode.DATA_LOSS, "gone", ("foretoken-error", name))
    with pytest.raises(errors.DataLoss):
        ask(fake.address, "load", "m")


def test_overload_says_when_to_come_back(ask, fake):
    fake.answer = aborting(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "full",
        ("foretoken-error", "Overloaded"),
        ("retry-after-ms", "2500"),
    )
    with pytest.raises(Overloaded) as caught:
        ask(fake.address, "load", "m")
    assert caught.value.retry_after == 2.5


def test_a_bug_keeps_the_id_under_which_it_is_logged(ask, fake):
    bug = InternalError("it failed")
    fake.answer = aborting(grpc.StatusCode.INTERNAL, str(bug), ("foretoken-error", "InternalError"))
    with pytest.raises(InternalError) as caught:
        ask(fake.address, "load", "m")
    assert (caught.value.id, str(caught.value)) == (bug.id, str(bug))


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("models", ()),
        ("model", ("m",)),
        ("extrapolate", ("m", [0.1, 0.2])),
        ("verify", ()),
        ("ready", ("m",)),
        ("rollback", ("m",)),
    ],
)
def test_replies_that_are_not_messages(ask, fake, method, args):
    fake.answer = lambda _method, _context: b"\xff\xff\xff"
    with pytest.raises(InternalError):
        ask(fake.address, method, *args)


@pytest.mark.parametrize(
    "posterior",
    [
        curves.Posterior(steps=[1, 2], bars=curves.Bars(logits=b"1234")),
        curves.Posterior(steps=[1], bars=curves.Bars(logits=b"123")),
        curves.Posterior(steps=[1], bars=curves.Bars(logits=b"1234" * 2, borders=3)),
        curves.Posterior(steps=[1], bars=curves.Bars(logits=b"1234" * 2)),
    ],
)
def test_posteriors_that_do_not_fit_together(ask, fake, posterior):
    reply = curves.ExtrapolateResponse(posteriors=[posterior], borders=[b"12345678" * 3])
    fake.answer = lambda _method, _context: reply.SerializeToString()
    with pytest.raises(ForetokenError, match=r"malformed|bounds"):
        ask(fake.address, "extrapolate", "m", [0.1])


def test_nobody_listens(ask, free_port):
    said = rf"no server answers at 127.0.0.1:{free_port}: .*refused.*`foretoken serve`"
    with pytest.raises(Unavailable, match=said) as caught:
        ask(f"127.0.0.1:{free_port}", "load", "m")
    assert "failed to connect" not in str(caught.value).lower()
    assert str(caught.value).count(str(free_port)) == 1


@pytest.mark.parametrize(
    "address", ["unix:/tmp/there-is-none-of-this-name", "no-such-host.invalid:8100"]
)
def test_nobody_is_there_to_listen(ask, address):
    with pytest.raises(Unavailable, match=rf"^no server answers at {address}: .*foretoken serve"):
        ask(address, "load", "m")


def test_a_server_without_tls_is_told_from_none(fake):
    with (
        Client(fake.address, tls=True) as client,
        pytest.raises(Unavailable, match=rf"{fake.address} was reached, but not with TLS.*--ca"),
    ):
        client.load("m")


def test_what_grpc_says_of_other_failures_stays(ask, fake):
    fake.answer = aborting(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    with pytest.raises(Unavailable, match=rf"^{fake.address}: Socket closed$"):
        ask(fake.address, "load", "m")


def test_a_reply_that_does_not_come(ask, fake):
    fake.answer = lambda _method, context: _wait(context)
    with pytest.raises(DeadlineExceeded):
        ask(fake.address, "models", timeout=0.2)


def _wait(context) -> bytes:
    while context.is_active():
        time.sleep(0.01)
    return b""


@pytest.mark.parametrize(
    ("method", "args", "kwargs"),
    [
        ("model", (5,), {}),
        ("model", ("\ud800",), {}),
        ("set_alias", ("m", "a", "one"), {}),
        ("set_alias", ("m", "a", 1 << 80), {}),
        ("extrapolate", ("m", "high"), {}),
        ("extrapolate", ("m", [[0.1]]), {}),
        ("extrapolate", ("m", [0.1]), {"bounds": (0, 1, 2)}),
        ("extrapolate", ("m", [0.1]), {"bounds": 3}),
        ("extrapolate_many", ("m", [[0.1]]), {"at": []}),
        ("set_options", ("m", {"threads": "many"}), {}),
        ("set_options", ("m", {"colour": 1}), {}),
        ("models", (), {"timeout": 0}),
        ("register", ("m", "/nowhere"), {}),
    ],
)
def test_arguments_that_no_message_takes(ask, fake, method, args, kwargs):
    with pytest.raises(InvalidInput):
        ask(fake.address, method, *args, **kwargs)


def test_a_closed_client_says_so():
    client = Client("localhost:1")
    client.close()
    with pytest.raises(FailedPrecondition, match="closed"):
        client.models()

    async def later() -> None:
        client = AsyncClient("localhost:1")
        await client.close()
        with pytest.raises(FailedPrecondition, match="closed"):
            await client.models()

    asyncio.run(later())


def test_an_async_client_belongs_to_one_loop(fake):
    fake.answer = lambda _method, _context: b""
    client = AsyncClient(fake.address)
    assert asyncio.run(client.models()) == []
    with pytest.raises(FailedPrecondition, match="another event loop"):
        asyncio.run(client.models())


def test_a_fork_needs_a_client_of_its_own(fake, monkeypatch):
    with Client(fake.address) as client:
        assert client.models() == []
        pid = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        with pytest.raises(FailedPrecondition, match="fork"):
            client.models()


def test_cancelling_the_task_cancels_the_call(fake):
    ended = []

    def slow(_method, context):
        context.add_callback(lambda: ended.append(True))
        return _wait(context)

    fake.answer = slow

    async def cancelled() -> None:
        async with AsyncClient(fake.address) as client:
            task = asyncio.create_task(client.models())
            while not fake.asked:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while not ended:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(cancelled(), 20))
    assert len(fake.asked) == 1
