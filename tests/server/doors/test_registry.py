"""The registry's service over a real channel, by callers of every kind."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import grpc
import pytest

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.catalog import bundled
from foretoken.proto import registry as wire
from foretoken.server.admin import UPLOADS, Admin
from foretoken.server.doors.gate import QUIET
from foretoken.server.doors.listen import listen
from foretoken.server.doors.registry import registry as door
from foretoken.server.log import Log
from foretoken.server.plane import Plane
from foretoken.server.registry.bundled import register_bundled
from foretoken.server.registry.registry import Registry
from foretoken.server.security.gate import TokenGate
from foretoken.server.security.limiter import Limiter
from foretoken.server.security.tokens import Wanted, create
from foretoken.server.settings import Settings
from tests.wire import RegistryWire, opening, upload_of

LCPFN = Artefact.read(bundled()["lcpfn"])
LIMIT = 4 << 20  # bytes of an upload


class House:
    """A worker's gate, registry and door, without processes around it."""

    def __init__(self, data_dir, host="127.0.0.1"):
        self.settings = Settings(data_dir=data_dir, host=host, upload_bytes=LIMIT)
        self.registry = Registry.open(data_dir)
        register_bundled(self.registry)
        self.followed, self.log = 0, Log()

    async def _follow(self):
        await self.plane.follow()
        self.followed += 1

    async def start(self):
        self.plane = Plane(self.registry, self.settings)
        self.admin = Admin(self.plane, self._follow, self.settings.upload_bytes)
        self.limiter = Limiter(self.settings.data_dir / "run" / "limits")
        gate = TokenGate(self.registry, self.settings, self.limiter)
        self.listener = listen([door(self.admin)], gate, QUIET, self.log, self.settings)
        return await self.listener.start(0)

    async def stop(self):
        await self.listener.stop(5)
        self.admin.close()
        await self.plane.close()
        self.limiter.close()
        self.log.close()

    def as_(self, token=None) -> RegistryWire:
        return RegistryWire(self.channel, token)

    def token(self, name, *scopes, **others) -> RegistryWire:
        """A caller with a new token."""
        secret, _ = create(self.registry.tokens, Wanted(name, scopes, **others))
        return self.as_(secret)

    def incoming(self):
        return list((self.settings.data_dir / "blobs" / "incoming").iterdir())


@contextmanager
def opened(house: House):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(house.start(), loop).result(30)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as house.channel:
            yield house
    finally:
        asyncio.run_coroutine_threadsafe(house.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
        house.registry.close()


@pytest.fixture
def house(tmp_path):
    with opened(House(tmp_path / "data")) as house:
        yield house


@pytest.fixture
def ann(house):
    return house.token("ann", "predict", "admin", tenant="a")


@pytest.fixture
def bob(house):
    return house.token("bob", "predict", "admin", tenant="b")


@pytest.fixture
def root(house):
    return house.token("root", "predict", "admin")


def refusal(call, *args, **kwargs) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as refused:
        call(*args, **kwargs)
    return refused.value.code().name, refused.value.details()


# -- what it does ---------------------------------------------------------------------------------


def test_an_upload_becomes_a_version_that_is_what_was_sent(house, root):
    made = root.register("mine", LCPFN, tags={"team": "x"}, parent="lcpfn:1",
                         relation="derived-from")  # fmt: skip
    assert (made.name, made.number, made.status, made.owner) == ("mine", 1, "READY", "")
    assert made.tags == {"team": "x"}
    assert (made.parent.name, made.parent.number, made.parent.relation) == (
        "lcpfn", 1, "derived-from")  # fmt: skip
    assert house.incoming() == []
    assert house.followed == 1
    kept = house.registry.artefact(house.registry.resolve("mine"))
    assert kept.config == LCPFN.config
    assert kept.training == LCPFN.training
    assert {name: path.read_bytes() for name, path in kept.files.items()} == {
        name: path.read_bytes() for name, path in LCPFN.files.items()
    }
    assert house.registry.history("mine")[0].actor == "root"
    assert made.manifest_digest == house.registry.resolve("lcpfn").manifest_digest


def test_show_tells_all_there_is_and_read_gives_the_bytes(root):
    shown = root("Show", ref="lcpfn")
    assert (shown.version.number, shown.task, shown.kind) == (1, "curve", "stateless")
    assert json.loads(shown.config) == LCPFN.config
    assert list(json.loads(shown.signature)) == ["forward"]
    for file in shown.files:
        data = b""
        while part := root("Read", ref="lcpfn:1", file=file.name, offset=len(data)).data:
            data += part
        assert len(data) == file.size
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == file.digest
        assert data == LCPFN.files[file.name].read_bytes()
    assert root.code("Read", ref="lcpfn", file="other.md") == "NOT_FOUND"
    assert root.code("Read", ref="lcpfn", file="../../registry.sqlite3") == "NOT_FOUND"
    assert root.code("Read", ref="lcpfn", file=WEIGHTS, offset=-1) == "INVALID_ARGUMENT"
    assert root.code("Read", ref="lcpfn", file=WEIGHTS, limit=1 << 30) == "INVALID_ARGUMENT"


def test_aliases_move_by_compare_and_set_and_back(house, root):
    root.register("lcpfn", LCPFN)
    moved = root("SetAlias", name="lcpfn", alias="champion", version=2, canary=10.0)
    assert (moved.target.version, moved.target.canary.version) == (1, 2)
    assert moved.target.canary.percent == 10.0
    stale = {"name": "lcpfn", "alias": "champion", "version": 2, "expect_generation": 1}
    assert refusal(root, "SetAlias", **stale)[0] == "FAILED_PRECONDITION"
    moved = root("SetAlias", **{**stale, "expect_generation": 2})
    assert (moved.target.version, moved.target.HasField("canary")) == (2, False)
    assert moved.generation == 3
    assert root("Rollback", name="lcpfn").target.canary.version == 2
    assert root("Rollback", name="lcpfn", alias="champion").target.version == 1
    events = root("History", name="lcpfn").events
    assert [e.action for e in events] == ["set", "set", "set", "rollback", "rollback"]
    assert [e.actor for e in events][1:] == ["root"] * 4
    assert not events[0].HasField("before")
    root("SetAlias", name="lcpfn", alias="shadow", version=2)
    assert [a.alias for a in root("Aliases", name="lcpfn").aliases] == ["champion", "shadow"]
    gone = {"name": "lcpfn", "alias": "shadow"}
    assert root.code("DeleteAlias", **gone, expect_generation=9) == "FAILED_PRECONDITION"
    root("DeleteAlias", **gone)
    assert root.code("DeleteAlias", **gone) == "NOT_FOUND"
    assert root.code("Delete", ref="lcpfn:1") == "FAILED_PRECONDITION"
    assert root("Delete", ref="lcpfn:2").number == 2
    assert house.followed == 8, "after each change and after nothing else"


def test_options_are_set_and_read(root):
    options = wire.ServingOptions(threads=2, batch_wait=0.5, runtime="onnx")
    assert root("SetOptions", name="lcpfn", options=options) == options
    assert root("GetOptions", name="lcpfn") == options
    assert root("Show", ref="lcpfn").options == options
    wrong = wire.ServingOptions(threads=0)
    assert root.code("SetOptions", name="lcpfn", options=wrong) == "INVALID_ARGUMENT"
    assert root("SetOptions", name="lcpfn") == wire.ServingOptions()


def test_pages_follow_one_another(house, root):
    for name in ("a", "b", "c"):
        root.register(name, LCPFN)
    root.register("b", LCPFN)
    seen, after = [], ""
    while True:
        page = root("List", after=after, limit=2)
        seen += [model.name for model in page.models]
        if not (after := page.next):
            break
    assert seen == ["a", "b", "c", "lcpfn"]
    first = root("Versions", name="b", limit=1)
    assert ([v.number for v in first.versions], first.next) == ([2], 2)
    assert [v.number for v in root("Versions", name="b", after=2).versions] == [1]
    for bad in ({"limit": -1}, {"limit": 1001}):
        assert root.code("List", **bad) == "INVALID_ARGUMENT"
    assert root.code("Versions", name="b", after=-1) == "INVALID_ARGUMENT"


def test_verify_goes_over_all_by_pages_and_finds_what_is_damaged(house, root, monkeypatch):
    monkeypatch.setattr("foretoken.server.admin.REPORTS", 3)
    root.register("z", LCPFN)
    path = house.registry.artefact(house.registry.resolve("z")).files["forward.onnx"]
    path.write_bytes(b"other")
    reports, after, pages = [], "", 0
    while True:
        page = root("Verify", after=after)
        reports, pages = [*reports, *page.reports], pages + 1
        if not (after := page.next):
            break
    bad = [(r.version, r.file) for r in reports if r.problem]
    assert bad == [("lcpfn:1", "forward.onnx"), ("z:1", "forward.onnx")], "they share the blob"
    assert pages == 3
    assert [r.problem for r in root("Verify", ref="z").reports] == [r.problem for r in reports[-3:]]


def test_load_and_unload_are_for_good(house, root):
    root("Unload", name="lcpfn")
    assert house.registry.unserved() == {"lcpfn"}
    assert root("List").models[0].served is False
    assert root("Show", ref="lcpfn").version.number == 1, "it can still be looked at"
    root("Load", name="lcpfn")
    assert house.registry.unserved() == frozenset()
    assert root.code("Load", name="other") == "NOT_FOUND"
    assert root.code("Unload", name="other") == "NOT_FOUND"


# -- who may --------------------------------------------------------------------------------------

LOOKS = {
    "List": {},
    "Versions": {"name": "lcpfn"},
    "Show": {"ref": "lcpfn"},
    "Aliases": {"name": "lcpfn"},
    "History": {"name": "lcpfn"},
    "GetOptions": {"name": "lcpfn"},
}
CHANGES = {
    "SetAlias": {"name": "lcpfn", "alias": "x", "version": 1},
    "DeleteAlias": {"name": "lcpfn", "alias": "champion"},
    "Rollback": {"name": "lcpfn"},
    "SetOptions": {"name": "lcpfn"},
    "Delete": {"ref": "lcpfn:1"},
    "Load": {"name": "lcpfn"},
    "Unload": {"name": "lcpfn"},
}
BYTES = {"Verify": {}, "Read": {"ref": "lcpfn", "file": WEIGHTS}}


def codes(caller, calls) -> set[str]:
    return {caller.code(name, **fields) for name, fields in calls.items()}


def test_without_a_token_on_the_loopback_all_goes(house):
    caller = house.as_()
    assert codes(caller, LOOKS) == codes(caller, BYTES) == {"OK"}
    assert caller.code("SetAlias", **CHANGES["SetAlias"]) == "OK"
    assert house.registry.history("lcpfn", "x")[0].actor == "local"


def test_without_a_token_on_other_hosts_there_is_only_looking(tmp_path):
    with opened(House(tmp_path / "data", host="0.0.0.0")) as house:
        caller = house.as_()
        assert codes(caller, LOOKS) == {"OK"}
        assert codes(caller, CHANGES | BYTES) == {"UNAUTHENTICATED"}
        assert refusal(caller.register, "mine", LCPFN)[0] == "UNAUTHENTICATED"
        assert house.token("boss", "admin").code("Verify") == "OK"
        assert [m.name for m in house.registry.models()] == ["lcpfn"]


def test_a_token_that_is_not_valid_opens_nothing(house):
    expired = house.token("expired", "predict", "admin", lifetime=timedelta(microseconds=1))
    revoked = house.token("revoked", "predict", "admin")
    assert revoked.code("List") == "OK"
    house.registry.tokens.revoke("revoked")
    time.sleep(0.15)
    told = set()
    for caller in (expired, revoked, house.as_("ftk_unknown"), house.as_("")):
        assert codes(caller, LOOKS | CHANGES | BYTES) == {"UNAUTHENTICATED"}
        told.add(refusal(caller, "List"))
        told.add(refusal(caller.register, "mine", LCPFN))
    assert len(told) == 1, "in the same words"


def test_a_scope_reaches_as_far_as_it_says(house):
    user, deployer = house.token("user", "predict"), house.token("deployer", "admin")
    assert codes(user, LOOKS) == {"OK"}
    assert codes(user, CHANGES | BYTES) == {"PERMISSION_DENIED"}
    assert refusal(user.register, "mine", LCPFN)[0] == "PERMISSION_DENIED"
    assert codes(deployer, LOOKS) == {"PERMISSION_DENIED"}
    assert codes(deployer, BYTES) == {"OK"}
    assert [v.number for v in house.registry.versions("lcpfn")] == [1]


def naming(calls, name):
    """The same calls of another model."""
    return {m: {k: v.replace("lcpfn", name) if k in ("name", "ref") else v for k, v in f.items()}
            for m, f in calls.items()}  # fmt: skip


def test_another_tenants_model_does_not_exist(house, ann, bob, root):
    assert ann.register("secret", LCPFN).owner == "a"
    asked = {**naming(LOOKS, "secret"), **naming(CHANGES, "secret"), **naming(BYTES, "secret")}
    del asked["List"], asked["Verify"]
    asked["Verify"] = {"ref": "secret"}
    strangers = [bob, house.token("user", "predict"), house.as_()]
    for method, fields in asked.items():
        nothing = {k: v.replace("secret", "nothing") if isinstance(v, str) else v
                   for k, v in fields.items()}  # fmt: skip
        hidden, missing = refusal(bob, method, **fields), refusal(bob, method, **nothing)
        assert hidden[0] == "NOT_FOUND", method
        assert hidden[1].replace("secret", "nothing") == missing[1], method
    for caller in strangers:
        assert [m.name for m in caller("List").models] == ["lcpfn"]
        assert caller.code("Show", ref="secret:1") == "NOT_FOUND"
        assert caller.code("Show", ref="secret:77") == "NOT_FOUND"
    assert {r.version for r in bob("Verify").reports} == {"lcpfn:1"}
    assert bob.code("Verify", after="secret:2") == "NOT_FOUND"
    assert refusal(bob.register, "mine", LCPFN, parent="secret:1", relation="derived-from")[0] == (
        "NOT_FOUND"
    )
    for caller in (ann, root):
        assert [m.name for m in caller("List").models] == ["lcpfn", "secret"]
        assert caller("Show", ref="secret").version.owner == "a"
    assert root("SetAlias", name="secret", alias="x", version=1).generation == 1
    assert ann("SetAlias", name="secret", alias="y", version=1).generation == 1
    assert house.registry.unserved() == frozenset()


def test_a_name_that_is_taken_is_not_given_again(house, ann, bob):
    ann.register("secret", LCPFN)
    before = house.followed
    code, text = refusal(bob.register, "secret", LCPFN)
    assert code == "ALREADY_EXISTS"
    assert text == "the name 'secret' is taken; register under another one"
    assert house.incoming() == []
    assert house.followed == before
    assert ann.register("secret", LCPFN).number == 2


def test_a_tenant_changes_nothing_that_is_everybodys(house, ann):
    assert codes(ann, LOOKS) == {"OK"}
    assert codes(ann, CHANGES) == {"PERMISSION_DENIED"}
    assert refusal(ann.register, "lcpfn", LCPFN)[0] == "PERMISSION_DENIED"
    assert ann("GetOptions", name="lcpfn") == wire.ServingOptions()
    assert [v.number for v in house.registry.versions("lcpfn")] == [1]


def test_a_family_s_name_is_kept_for_its_bundled_model(tmp_path):
    house = House(tmp_path / "data")
    house.registry.delete_alias("lcpfn", "champion")
    house.registry.delete("lcpfn:1")
    with opened(house):
        ann = house.token("ann", "admin", tenant="a")
        assert refusal(ann.register, "lcpfn", LCPFN)[0] == "PERMISSION_DENIED"


def test_a_rate_is_kept_and_says_when_to_come_back(house):
    slow = house.token("slow", "predict", rate=0.01, burst=3)
    assert [slow.code("List") for _ in range(5)] == ["OK"] * 3 + ["RESOURCE_EXHAUSTED"] * 2


# -- uploads that are refused ---------------------------------------------------------------------


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
    assert str(house.settings.data_dir / "blobs" / "incoming") not in text
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
