"""Planes over a data dir with the toy that keeps contexts, and tables to fit."""

from __future__ import annotations

import pytest

from foretoken.server.local import LocalPlane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from tests.toy_families import toy_families


@pytest.fixture
def toys(tmp_path_factory):
    """Variables for subprocesses; the catalog of this process finds the toys meanwhile."""
    with toy_families(tmp_path_factory.mktemp("toys")) as env:
        yield env


@pytest.fixture
def data_dir(tmp_path, toys, published):
    """A data dir in which "toy" is registered."""
    with Registry.open(tmp_path / "data") as registry:
        registry.register("toy", published("in_context"))
    return tmp_path / "data"


@pytest.fixture
def registry(data_dir):
    with Registry.open(data_dir) as registry:
        yield registry


@pytest.fixture
def planes(data_dir):
    """``planes(**settings)`` is one more plane on the data dir, as another worker has it."""
    opened = []

    def open_one(**settings) -> LocalPlane:
        registry = Registry.open(data_dir)
        plane = LocalPlane(registry, load_settings(data_dir=data_dir, **settings))
        opened.append((plane, registry))
        return plane

    yield open_one
    for plane, registry in opened:
        plane.close()
        registry.close()


@pytest.fixture
def plane(planes):
    return planes()
