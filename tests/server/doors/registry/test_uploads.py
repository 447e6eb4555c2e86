"""Uploads that are refused or break off leave nothing behind."""

from __future__ import annotations

import hashlib
import threading
import time

import pytest

from foretoken.models.artefact import WEIGHTS
from foretoken.proto import registry as wire
from foretoken.server.admin import UPLOADS
from tests.server.doors.registry.house import LCPFN, LIMIT, House, opened, refusal
from tests.wire import opening, upload_of


def changed(**others):
    """An upload whose first message says something else."""
    return list(upload_of("mine", LCPFN, **others))


def renamed(name):
    messages = list(upload_of("mine", LCPFN))
    messages[0].open.files[0].name = name
    return messages


def sized(size):
    messages = list(upload_of("mine", LCPFN))
    messages[0].open.files[0].size = size
    return messages


def digested(digest):
    messages = list(upload_of("mine", LCPFN))
    messages[0].open.files[0].digest = digest
    return messages


def flipped():
    messages = list(upload_of("mine", LCPFN))
    data = bytearray(messages[-1].chunk)
    data[-1] ^= 1
    messages[-1].chunk = bytes(data)
    return messages


def other_bytes(file, data):
    """An artefact in which one file holds something else, announced truly."""
    said = opening("mine", LCPFN)
    parts = {name: path.read_bytes() for name, path in LCPFN.files.items()}
    parts[file] = data
    del said.open.files[:]
    for name, part in parts.items():
        digest = f"sha256:{hashlib.sha256(part).hexdigest()}"
        said.open.files.add(name=name, size=len(part), digest=digest)
    return [said, wire.RegisterRequest(chunk=b"".join(parts.values()))]


REFUSED = {
    "nothing": (list, "INVALID_ARGUMENT"),
    "no open": (lambda: list(upload_of("mine", LCPFN))[1:], "INVALID_ARGUMENT"),
    "empty message": (lambda: [wire.RegisterRequest()], "INVALID_ARGUMENT"),
    "open twice": (lambda: [opening("mine", LCPFN)] * 2, "INVALID_ARGUMENT"),
    "cut short": (lambda: list(upload_of("mine", LCPFN))[:-1], "INVALID_ARGUMENT"),
    "too long": (
        lambda: [*upload_of("mine", LCPFN), wire.RegisterRequest(chunk=b"x")],
        "INVALID_ARGUMENT",
    ),
    "model name": (lambda: list(upload_of("../mine", LCPFN)), "INVALID_ARGUMENT"),
    "tag": (lambda: changed(tags={"a/b": "x"}), "INVALID_ARGUMENT"),
    "long tag": (lambda: changed(tags={"a": "x" * 10_000}), "INVALID_ARGUMENT"),
    "many tags": (lambda: changed(tags={f"t{n}": "" for n in range(101)}), "INVALID_ARGUMENT"),
    "config no JSON": (lambda: changed(config="{"), "INVALID_ARGUMENT"),
    "config no object": (lambda: changed(config="[1]"), "INVALID_ARGUMENT"),
    "config too deep": (lambda: changed(config="[" * 200_000), "INVALID_ARGUMENT"),
    "config too long": (lambda: changed(config=" " * (2 << 20)), "INVALID_ARGUMENT"),
    "config not finite": (lambda: changed(training='{"x": NaN}'), "INVALID_ARGUMENT"),
    "config not the family's": (lambda: changed(config="{}"), "INVALID_ARGUMENT"),
    "unknown option": (lambda: changed(serving='{"threats": 1}'), "INVALID_ARGUMENT"),
    "family": (lambda: changed(family="nothing"), "NOT_FOUND"),
    "no graphs": (lambda: changed(export=""), "INVALID_ARGUMENT"),
    "foreign graphs": (lambda: changed(export='{"forward": 1}'), "INVALID_ARGUMENT"),
    "relation alone": (lambda: changed(relation="derived-from"), "INVALID_ARGUMENT"),
    "no relation": (
        lambda: changed(parent="lcpfn:1", relation="sister-of"),
        "INVALID_ARGUMENT",
    ),
    "path": (lambda: renamed("../../escape.md"), "INVALID_ARGUMENT"),
    "absolute path": (lambda: renamed("/tmp/escape.md"), "INVALID_ARGUMENT"),
    "pickle's name": (lambda: renamed("weights.pkl"), "INVALID_ARGUMENT"),
    "oversized": (lambda: sized(LIMIT + 1), "INVALID_ARGUMENT"),
    "huge": (lambda: sized(1 << 62), "INVALID_ARGUMENT"),
    "negative": (lambda: sized(-1), "INVALID_ARGUMENT"),
    "digest": (lambda: digested("sha256:" + "0" * 64), "DATA_LOSS"),
    "no digest": (lambda: digested("../../x"), "INVALID_ARGUMENT"),
    "flipped bit": (flipped, "DATA_LOSS"),
    "pickle": (lambda: other_bytes(WEIGHTS, b"\x80\x04" + bytes(100)), "INVALID_ARGUMENT"),
    "weights cut short": (
        lambda: other_bytes(WEIGHTS, LCPFN.files[WEIGHTS].read_bytes()[:-4]),
        "INVALID_ARGUMENT",
    ),
    "no graph": (lambda: other_bytes("forward.onnx", b"\x08\x0a" + bytes(64)), None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_uploads_that_are_refused_leave_nothing_behind(house, root, case):
    messages, expected = REFUSED[case]
    code, text = refusal(root.upload, iter(messages()))
    assert code in ((expected,) if expected else ("INVALID_ARGUMENT", "DATA_LOSS")), text
    assert str(house.settings.data_dir) not in text
    assert house.incoming() == []
    assert house.followed == 0
    assert [m.name for m in house.registry.models()] == ["lcpfn"]
    assert not (house.settings.data_dir.parent / "escape.md").exists()
    assert root.register("good", LCPFN).number == 1, "the server is as well as before"


def test_a_caller_who_goes_in_the_midst_leaves_nothing_behind(house, root):
    arrived = threading.Event()

    def messages():
        first, second, *_ = upload_of("mine", LCPFN, chunk=1 << 16)
        yield first
        yield second
        arrived.set()
        threading.Event().wait(2)

    call = house.channel.stream_unary(
        "/foretoken.v1.Registry/Register",
        request_serializer=lambda message: message.SerializeToString(),
    ).future(messages(), metadata=root._metadata)
    assert arrived.wait(10)
    end = time.monotonic() + 10
    while not house.incoming() and time.monotonic() < end:
        time.sleep(0.01)
    assert house.incoming()
    call.cancel()
    while house.incoming() and time.monotonic() < end:
        time.sleep(0.01)
    assert house.incoming() == []
    assert house.admin._uploads == 0
    assert [m.name for m in house.registry.models()] == ["lcpfn"]


def test_uploads_that_fall_silent_end_and_leave_their_places(tmp_path):
    silent = threading.Event()

    def messages(begun):
        yield from list(upload_of("mine", LCPFN, chunk=1 << 16))[:begun]
        silent.wait(20)

    with opened(House(tmp_path / "data", deadline=1.0)) as house:
        root = house.token("root", "predict", "admin")
        send = house.channel.stream_unary(
            "/foretoken.v1.Registry/Register",
            request_serializer=lambda message: message.SerializeToString(),
        )
        metadata = root._metadata
        calls = [send.future(messages(begun), metadata=metadata) for begun in range(UPLOADS)]
        for call in calls:
            assert call.exception(10).code().name == "DEADLINE_EXCEEDED"
            assert "nothing more of this upload came in 1 seconds" in call.exception().details()
        silent.set()
        assert house.admin._uploads == 0
        assert house.listener.inflight == 0
        assert house.incoming() == []
        assert root.register("mine", LCPFN).status == "READY"


def test_uploads_at_a_time_are_bounded(house, root):
    done, begun = threading.Event(), threading.Semaphore(0)

    def messages():
        first, second, *_ = upload_of("mine", LCPFN, chunk=1 << 16)
        yield first
        yield second
        begun.release()
        done.wait(30)

    send = house.channel.stream_unary(
        "/foretoken.v1.Registry/Register",
        request_serializer=lambda message: message.SerializeToString(),
    )
    calls = [send.future(messages(), metadata=root._metadata) for _ in range(UPLOADS)]
    for _ in calls:
        assert begun.acquire(timeout=10)
    end = time.monotonic() + 10
    while house.admin._uploads < UPLOADS and time.monotonic() < end:
        time.sleep(0.01)
    assert refusal(root.register, "mine", LCPFN)[0] == "RESOURCE_EXHAUSTED"
    done.set()
    for call in calls:
        assert call.exception(30).code().name == "INVALID_ARGUMENT", "they are cut short"
    assert root.register("mine", LCPFN).status == "READY"


def test_a_version_that_fails_its_check_stays_with_the_reason(house, root):
    wrong = other_bytes("forward.onnx", b"\x08\x0a" + bytes(64))
    _, text = refusal(root.upload, iter(wrong))
    assert root.code("Show", ref="mine") == "NOT_FOUND"
    (failed,) = root("Versions", name="mine", unready=True).versions
    assert (failed.status, failed.reason) == ("FAILED", text)
    shown = root("Show", ref="mine:1")
    assert (shown.version.status, shown.config) == ("FAILED", "")
