"""Fixtures of the tests of the protocol."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from foretoken.models.artefact import Artefact
from foretoken.server.registry.registry import Registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory, tiny_lcpfn):
    """Versions 1, the champion, and 2 of "curves"; tests that change anything take ``changing``."""
    with opened(tmp_path_factory.mktemp("registry"), tiny_lcpfn) as registry:
        yield registry


@pytest.fixture
def changing(tmp_path, tiny_lcpfn):
    """The same, of the test alone."""
    with opened(tmp_path, tiny_lcpfn) as registry:
        yield registry


@contextmanager
def opened(folder, artefact):
    with Registry.open(folder / "data") as registry:
        for _ in range(2):
            registry.register("curves", Artefact.read(artefact))
        yield registry
