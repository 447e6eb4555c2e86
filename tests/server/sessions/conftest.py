"""Stores in temporary folders."""

from __future__ import annotations

import pytest

from foretoken.server.sessions.store import DATABASE, SessionStore

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
