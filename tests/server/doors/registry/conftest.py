"""A house, and callers of every kind."""

from __future__ import annotations

import pytest

from tests.server.doors.registry.house import House, opened


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
