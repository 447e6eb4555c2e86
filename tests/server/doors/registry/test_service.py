"""What the registry's service does, over a real channel."""

from __future__ import annotations

import hashlib
import json

from foretoken.models.artefact import WEIGHTS
from foretoken.proto import registry as wire
from tests.server.doors.registry.house import LCPFN, refusal


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
