"""Aliases: compare-and-set, history that only grows, rollback, canaries."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError

from foretoken.errors import FailedPrecondition, InvalidInput, NotFound, StaleGeneration
from foretoken.server.registry import schema
from foretoken.server.registry.records import Canary, Target


@pytest.fixture
def three(registry, make_artefact):
    """A registry whose model ``m`` has versions 1 (champion), 2 and 3."""
    for _ in range(3):
        registry.register("m", make_artefact())
    return registry


def test_an_alias_moves_and_resolves(three):
    assert three.resolve("m").number == 1
    moved = three.set_alias("m", "champion", 3, actor="ann")
    assert (moved.target, moved.generation) == (Target(3), 2)
    assert three.resolve("m").number == three.resolve("champion@m").number == 3
    assert three.resolve("m:2").number == 2
    three.set_alias("m", "shadow", 2)
    assert three.resolve("shadow@m").number == 2
    assert [(a.alias, a.target.version) for a in three.aliases("m")] == [
        ("champion", 3),
        ("shadow", 2),
    ]
    assert [v.aliases for v in three.versions("m")] == [("champion",), ("shadow",), ()]


@pytest.mark.parametrize("ref", ["x", "m:4", "shadow@m", "champion@x", "x:1"])
def test_what_is_not_there_is_not_found_and_the_message_says_what_to_do(three, ref):
    with pytest.raises(NotFound, match="foretoken models"):
        three.resolve(ref)
    with pytest.raises(NotFound, match="foretoken models"):
        three.show(ref)


def test_an_alias_points_at_versions_that_are_there(three):
    for name, version in (("m", 9), ("x", 1)):
        with pytest.raises(NotFound):
            three.set_alias(name, "champion", version)
    for alias in ("", "a b", "../x", "a@b"):
        with pytest.raises(InvalidInput, match="is not a name"):
            three.set_alias("m", alias, 1)
    assert len(three.history("m")) == 1


def test_compare_and_set(three):
    with pytest.raises(StaleGeneration, match="has generation 1, not 7"):
        three.set_alias("m", "champion", 2, expect_generation=7)
    assert three.resolve("m").number == 1
    assert three.set_alias("m", "champion", 2, expect_generation=1).generation == 2
    with pytest.raises(StaleGeneration):
        three.set_alias("m", "champion", 3, expect_generation=1)
    with pytest.raises(StaleGeneration):
        three.delete_alias("m", "champion", expect_generation=1)
    assert three.resolve("m").number == 2


def test_generation_zero_stands_for_an_alias_that_is_not_there(three):
    with pytest.raises(StaleGeneration):
        three.set_alias("m", "champion", 2, expect_generation=0)
    assert three.set_alias("m", "shadow", 2, expect_generation=0).generation == 1


def test_a_generation_never_comes_back_when_an_alias_is_made_again(three):
    three.set_alias("m", "shadow", 2)
    three.delete_alias("m", "shadow", expect_generation=1)
    assert three.set_alias("m", "shadow", 2, expect_generation=0).generation == 3


def test_of_many_that_race_one_wins(three):
    won, lost = [], []

    def race(version):
        try:
            won.append(three.set_alias("m", "champion", version, expect_generation=1))
        except StaleGeneration:
            lost.append(version)

    threads = [threading.Thread(target=race, args=(2 + n % 2,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 11)
    assert three.aliases("m") == won


def test_a_move_to_where_it_points_already_is_none(three):
    before = three.history("m")
    assert three.set_alias("m", "champion", 1, expect_generation=1).generation == 1
    assert three.history("m") == before


def test_history_tells_who_when_from_and_to(three):
    three.set_alias("m", "champion", 2, actor="ann")
    three.set_alias("m", "champion", 3, canary=25, actor="bob")
    three.rollback("m", actor="cy")
    three.set_alias("m", "shadow", 3)
    three.delete_alias("m", "champion", actor="dee")
    events = three.history("m")
    assert [(e.alias, e.actor, e.action, e.before, e.after, e.generation) for e in events] == [
        ("champion", "local", "set", None, Target(1), 1),
        ("champion", "ann", "set", Target(1), Target(2), 2),
        ("champion", "bob", "set", Target(2), Target(2, Canary(3, 25.0)), 3),
        ("champion", "cy", "rollback", Target(2, Canary(3, 25.0)), Target(2), 4),
        ("shadow", "local", "set", None, Target(3), 1),
        ("champion", "dee", "delete", Target(2), None, 5),
    ]
    assert [e.at for e in events] == sorted(e.at for e in events)
    assert all(e.at.utcoffset().total_seconds() == 0 for e in events)
    assert [e.generation for e in three.history("m", "shadow")] == [1]


@pytest.mark.parametrize(
    "statement", [update(schema.alias_events).values(actor="nobody"), delete(schema.alias_events)]
)
def test_history_is_append_only_in_the_database_itself(three, statement):
    before = three.history("m")
    with pytest.raises(IntegrityError, match="append-only"), three._database.write() as connection:
        connection.execute(statement)
    assert three.history("m") == before


def test_rollback_goes_back_step_by_step(three):
    three.set_alias("m", "champion", 2)
    three.set_alias("m", "champion", 3)
    assert three.rollback("m").target == Target(2)
    assert three.rollback("m").target == Target(1)
    with pytest.raises(FailedPrecondition, match="nothing before"):
        three.rollback("m")
    three.set_alias("m", "champion", 3)
    assert three.rollback("m").target == Target(1)


def test_rollback_brings_back_a_deleted_alias(three):
    three.set_alias("m", "champion", 2)
    three.delete_alias("m", "champion")
    with pytest.raises(NotFound, match="has no alias 'champion'"):
        three.resolve("m")
    assert three.rollback("m").target == Target(2)
    assert three.rollback("m").target == Target(1)
    three.delete_alias("m", "champion")
    three.set_alias("m", "champion", 1)
    with pytest.raises(FailedPrecondition, match="nothing before"):
        three.rollback("m")


def test_rollback_to_what_is_deleted_is_refused_with_a_cure(three):
    three.set_alias("m", "champion", 2)
    three.delete("m:1")
    with pytest.raises(FailedPrecondition, match=r"no version 1.*alias set champion@m VERSION"):
        three.rollback("m")
    assert three.resolve("m").number == 2


def test_rollback_of_what_never_was(three):
    with pytest.raises(NotFound, match="no alias 'shadow'"):
        three.rollback("m", "shadow")
    with pytest.raises(NotFound, match="no model"):
        three.rollback("x")


def test_a_canary_takes_its_share_and_the_same_key_the_same_side(three):
    three.set_alias("m", "champion", 3, canary=10)
    keys = [f"user-{n}" for n in range(2000)]
    sides = [three.resolve("m", key).number for key in keys[:1000]]
    assert set(sides) == {1, 3}
    assert 60 <= sides.count(3) <= 140  # 100 expected, 9.5 a standard deviation
    assert [three.resolve("m", key).number for key in keys[:50]] == sides[:50]
    assert three.resolve("m").number == 1, "without a key there is no canary"
    assert three.resolve("m", b"user-1").number == three.resolve("m", "user-1").number


def test_a_growing_canary_only_moves_keys_to_it(three):
    keys = [f"user-{n}" for n in range(200)]
    chosen: set[str] = set()
    for percent in (5, 20, 50, 99.9):
        three.set_alias("m", "champion", 2, canary=percent)
        now = {key for key in keys if three.resolve("m", key).number == 2}
        assert chosen <= now
        chosen = now
    assert len(chosen) >= 195
    three.set_alias("m", "champion", 2)
    assert all(three.resolve("m", key).number == 2 for key in keys[:20])


@pytest.mark.parametrize("percent", [0, -1, 100, 150, float("nan"), float("inf")])
def test_a_canary_is_a_share(three, percent):
    with pytest.raises(InvalidInput, match="between 0 and 100"):
        three.set_alias("m", "champion", 2, canary=percent)


def test_a_canary_needs_another_version_beside_it(three):
    with pytest.raises(FailedPrecondition, match="must point at another version"):
        three.set_alias("m", "champion", 1, canary=10)
    with pytest.raises(FailedPrecondition, match="must point at another version"):
        three.set_alias("m", "shadow", 1, canary=10)


def test_a_version_that_an_alias_points_at_is_not_deleted(three):
    three.set_alias("m", "champion", 2, canary=10)
    for ref in ("m:1", "m:2"):
        with pytest.raises(FailedPrecondition, match="champion@m points at; move that with"):
            three.delete(ref)
    three.delete("m:3")
    assert [v.number for v in three.versions("m")] == [2, 1]
    with pytest.raises(NotFound):
        three.delete("m:3")
    for ref in ("m", "champion@m"):
        with pytest.raises(InvalidInput, match="delete takes NAME:VERSION"):
            three.delete(ref)


def test_a_number_is_not_given_out_again(three, make_artefact):
    three.delete("m:3")
    assert three.register("m", make_artefact()).number == 4
    for ref in ("m:4", "m:2"):
        three.delete(ref)
    three.delete_alias("m", "champion")
    three.delete("m:1")
    assert three.models() == []
    with pytest.raises(NotFound, match="no model 'm'"):
        three.resolve("m")
    version = three.register("m", make_artefact())
    assert (version.number, version.aliases) == (5, ("champion",))


def test_a_deleted_champion_is_not_replaced_unasked(three, make_artefact):
    three.delete_alias("m", "champion")
    assert three.register("m", make_artefact()).aliases == ()
