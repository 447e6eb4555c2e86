"""Whose a model is, who may see and change it, and whether it is served."""

from __future__ import annotations

import multiprocessing

import pytest

from foretoken.errors import AlreadyExists, NotFound, PermissionDenied
from foretoken.server.registry.registry import Registry
from foretoken.server.terms import LOCAL, Caller, Scope
from tests.server.registry.conftest import toy_signature

BOTH = frozenset(Scope)
ANN = Caller("ann", BOTH, "a")
BOB = Caller("bob", BOTH, "b")
USER = Caller("user", frozenset({Scope.PREDICT}))


@pytest.fixture
def owned(registry, make_artefact):
    """A model of tenant a, one of tenant b, one of everybody."""
    for name, owner in (("of-a", "a"), ("of-b", "b"), ("of-all", None)):
        registry.register(name, make_artefact(), owner=owner)
    return registry


def names(registry, tenants):
    return [model.name for model in registry.models(tenants=tenants)]


def test_models_and_versions_say_whose_they_are(owned, make_artefact):
    assert {m.name: m.owner for m in owned.models()} == {"of-a": "a", "of-all": None, "of-b": "b"}
    assert owned.resolve("of-a").owner == "a"
    second = owned.register("of-a", make_artefact(), actor="root")
    assert second.owner == "a", "whoever registers a version, the model stays its owner's"
    assert [v.owner for v in owned.versions("of-a")] == ["a", "a"]
    assert owned.register("of-a", make_artefact(), owner="a").number == 3


def test_a_listing_for_tenants(owned):
    assert names(owned, None) == ["of-a", "of-all", "of-b"]
    assert names(owned, frozenset()) == ["of-all"]
    assert names(owned, frozenset({"b"})) == ["of-all", "of-b"]
    assert [m.name for m in owned.models("of-all", 1, tenants=frozenset({"b"}))] == ["of-b"]
    assert [v.name for v in owned.all_versions(tenants=frozenset({"a"}))] == ["of-a", "of-all"]


def test_a_name_belongs_to_who_had_it_first(owned, make_artefact):
    for name in ("of-b", "of-all"):
        with pytest.raises(AlreadyExists, match=f"the name '{name}' is taken"):
            owned.register(name, make_artefact(), owner="a")
        assert len(owned.versions(name)) == 1
    owned.delete_alias("of-b", "champion")
    owned.delete("of-b:1")
    with pytest.raises(AlreadyExists):
        owned.register("of-b", make_artefact(), owner="a")
    assert owned.register("of-b", make_artefact(), owner="b").number == 2


def test_what_is_not_seen_is_worded_as_what_is_not_there(owned):
    with pytest.raises(NotFound) as hidden:
        owned.expect_reach("of-b", ANN)
    with pytest.raises(NotFound) as absent:
        owned.expect_reach("of-c", ANN)
    assert str(hidden.value).replace("of-b", "of-c") == str(absent.value)
    for name in ("of-a", "of-b"):
        with pytest.raises(NotFound):
            owned.expect_reach(name, USER)
    for name in ("of-a", "of-b", "of-all"):
        owned.expect_reach(name, LOCAL, change=True)
    owned.expect_reach("of-all", USER)
    owned.expect_reach("of-a", ANN, change=True)


def test_what_is_everybodys_is_nobodys_to_change(owned):
    with pytest.raises(PermissionDenied, match="'of-all' is everybody's"):
        owned.expect_reach("of-all", ANN, change=True)
    with pytest.raises(NotFound):
        owned.expect_reach("of-b", ANN, change=True)


def test_what_is_served_is_kept_and_every_registry_hears_of_it(owned, data_dir):
    with Registry.open(data_dir, signature=toy_signature) as other:
        assert other.unserved() == frozenset()
        owned.set_served("of-a", False, caller=ANN)
        assert other.unserved() == owned.unserved() == {"of-a"}
        assert {m.name: m.served for m in other.models()}["of-a"] is False
        other.set_served("of-a", True)
        assert owned.unserved() == frozenset()
    for caller, wrong in ((BOB, NotFound), (USER, NotFound)):
        with pytest.raises(wrong):
            owned.set_served("of-a", False, caller=caller)
    with pytest.raises(PermissionDenied):
        owned.set_served("of-all", False, caller=BOB)
    with pytest.raises(NotFound):
        owned.set_served("of-c", False)
    assert owned.unserved() == frozenset()


def test_unserved_costs_no_look_into_the_catalogue_while_nothing_changes(owned, monkeypatch):
    owned.set_served("of-a", False)
    assert owned.unserved() == {"of-a"}
    monkeypatch.setattr(owned._database, "read", lambda: pytest.fail("looked again"))
    assert owned.unserved() == {"of-a"}


def _claim(data_dir, artefact, owner, barrier, claimed):
    with Registry.open(data_dir, signature=toy_signature) as registry:
        barrier.wait()
        try:
            registry.register("contested", artefact, owner=owner)
        except AlreadyExists:
            return
        claimed.put(owner)


def test_of_tenants_that_claim_a_name_at_once_one_has_it(registry, data_dir, make_artefact):
    context = multiprocessing.get_context("fork")
    barrier, claimed = context.Barrier(4), context.Queue()
    artefact = make_artefact()
    children = [
        context.Process(target=_claim, args=(data_dir, artefact, f"t{n}", barrier, claimed))
        for n in range(4)
    ]
    for child in children:
        child.start()
    winner = claimed.get(timeout=60)
    for child in children:
        child.join(60)
    assert claimed.empty()
    assert [v.owner for v in registry.versions("contested")] == [winner]
