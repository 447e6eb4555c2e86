"""Who may do what with the registry: tokens, scopes, tenants, rates."""

from __future__ import annotations

import time
from datetime import timedelta

from foretoken.models.artefact import WEIGHTS
from foretoken.proto import registry as wire
from tests.server.doors.registry.house import LCPFN, House, opened, refusal

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
