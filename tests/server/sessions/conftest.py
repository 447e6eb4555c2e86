"""Stores in temporary folders, and sessions of a recurrent toy over a registry."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.models.tasks import SequenceRequest
from foretoken.server.local import LocalPlane
from foretoken.server.registry.registry import Registry
from foretoken.server.sessions.store import DATABASE, SessionStore
from foretoken.server.settings import load_settings
from tests.toy_families import toy_families

SECRET = b"s" * 32


@pytest.fixture
def open_store(tmp_path):
    """``open_store()`` is one more store over the same file, as another worker has it."""
    opened = []

    def open_one(secret: bytes = SECRET) -> SessionStore:
        opened.append(SessionStore.open(tmp_path / DATABASE, lambda: secret))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture
def registry(tmp_path, published):
    with toy_families(tmp_path), Registry.open(tmp_path / "data") as registry:
        registry.register("toy", published("recurrent"))
        yield registry


@pytest.fixture
def planes(registry):
    """Makes planes over one data dir, as several workers have them."""
    made = []

    def make(**settings):
        made.append(LocalPlane(registry, load_settings(**settings)))
        return made[-1]

    yield make
    for plane in made:
        plane.close()


@pytest.fixture
def plane(planes):
    return planes()


@pytest.fixture
def reference(plane):
    """``reference(values)``: the toy's outputs over a whole sequence, by its predictor alone."""
    loaded = plane.run(plane.plane.describe("toy"))
    graph = loaded.lanes["step"].graph

    def outputs(values):
        state = dict(loaded.predictor.start())
        made = []
        for row in values:
            (call,) = next(loaded.predictor.predict(SequenceRequest(row[None]), state))
            done = loaded.executable.run("step", {**call.inputs, **state})
            state = {tensor.name: done[tensor.name] for tensor in graph.writes}
            made.append(done["y"])
        return np.concatenate(made)

    return outputs


@pytest.fixture
def series():
    return np.random.default_rng(7).standard_normal((400, 2))
