"""Bundled weights against the user's champion."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

import pytest

from foretoken.models.artefact import Artefact
from foretoken.server.registry.bundled import bundled_name, register_bundled
from foretoken.server.registry.records import Origin, Target
from foretoken.server.registry.registry import Registry
from tests.server.registry.conftest import toy_signature, write_artefact


@pytest.fixture
def releases(tmp_path):
    """Artefact folders of three releases' bundled weights, by family."""
    folders = []
    for n in range(3):
        folder = tmp_path / "releases" / str(n)
        write_artefact(folder, float(n))
        folders.append({"toy": folder})
    return folders


def test_the_first_start_registers_what_is_bundled(registry, releases):
    (version,) = register_bundled(registry, releases[0], "1.0")
    assert version == registry.resolve("toy")
    assert (version.ref, version.origin, version.release) == ("toy:1", Origin.BUNDLED, "1.0")
    assert version.aliases == ("champion",)
    assert [event.actor for event in registry.history("toy")] == ["foretoken 1.0"]


def test_a_bundled_model_may_have_a_name_of_its_own(registry, releases):
    artefact = Artefact.read(releases[0]["toy"])
    assert bundled_name(artefact) == "toy"
    replace(artefact, training={"name": "toy-small"}).write(releases[0]["toy"])
    (version,) = register_bundled(registry, releases[0], "1.0")
    assert version == registry.resolve("toy-small")
    assert version.family == "toy"


def test_later_starts_of_the_same_release_change_nothing(registry, releases, data_dir):
    first = register_bundled(registry, releases[0], "1.0")
    files = {path: path.stat().st_mtime_ns for path in (data_dir / "blobs").rglob("*")}
    assert register_bundled(registry, releases[0], "1.0") == first
    assert {path: path.stat().st_mtime_ns for path in (data_dir / "blobs").rglob("*")} == files
    assert len(registry.versions("toy")) == 1


def test_a_newer_release_moves_a_bundled_champion(registry, releases):
    register_bundled(registry, releases[0], "1.0")
    (version,) = register_bundled(registry, releases[1], "1.1")
    assert version.number == 2
    assert registry.resolve("toy").number == 2
    assert registry.rollback("toy").target == Target(1)


def test_a_newer_release_leaves_the_users_champion_alone(registry, releases, make_artefact):
    register_bundled(registry, releases[0], "1.0")
    registry.register("toy", make_artefact(9.0))
    registry.set_alias("toy", "champion", 2)
    (version,) = register_bundled(registry, releases[1], "1.1")
    assert version.number == 3
    assert version.aliases == ()
    assert registry.resolve("toy").number == 2
    registry.set_alias("toy", "champion", 3)
    register_bundled(registry, releases[2], "1.2")
    assert registry.resolve("toy").number == 4, "it points at a bundled one again"


def test_a_canary_under_way_is_left_alone(registry, releases, make_artefact):
    register_bundled(registry, releases[0], "1.0")
    registry.register("toy", make_artefact(9.0))
    standing = registry.set_alias("toy", "champion", 2, canary=10)
    register_bundled(registry, releases[1], "1.1")
    assert registry.aliases("toy") == [standing]


def test_a_name_that_the_user_had_first_stays_the_users(registry, releases, make_artefact):
    registry.register("toy", make_artefact(9.0))
    register_bundled(registry, releases[0], "1.0")
    assert registry.resolve("toy").origin is Origin.USER


def test_the_users_own_copy_of_bundled_weights_is_the_users(registry, releases, make_artefact):
    registry.register("toy", make_artefact(0.0))
    (version,) = register_bundled(registry, releases[0], "1.0")
    assert (version.number, version.origin) == (2, Origin.BUNDLED)


def test_an_older_release_started_again_registers_nothing_twice(registry, releases):
    register_bundled(registry, releases[0], "1.0")
    register_bundled(registry, releases[1], "1.1")
    (version,) = register_bundled(registry, releases[0], "1.0")
    assert version.number == 1
    assert registry.resolve("toy").number == 2


def _start(data_dir, folders, barrier):
    with Registry.open(data_dir, signature=toy_signature) as registry:
        barrier.wait()
        register_bundled(registry, folders, "1.0")


def test_workers_that_start_at_once_register_once(registry, releases, data_dir):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    children = [
        context.Process(target=_start, args=(data_dir, releases[0], barrier)) for _ in range(4)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    assert [version.number for version in registry.versions("toy", unready=True)] == [1]
