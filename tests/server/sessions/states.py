"""Snapshots for tests."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from foretoken.server.sessions.state import Snapshot, to_bytes
from foretoken.server.sessions.store import Budgets, Saved

__all__ = ["MANIFEST", "ROOMY", "change", "saved", "snapshot", "state"]

MANIFEST = "sha256:" + "a" * 64
ROOMY = Budgets(quota=1 << 30, ttl=3600.0)


def snapshot(seed: int = 0, **changes) -> Snapshot:
    """One of a small session; another seed is another state."""
    rng = np.random.default_rng(seed)
    arrays = {
        "m": rng.standard_normal(2).astype(np.float32),
        "w": rng.standard_normal((2, 3)).astype(np.float32),
    }
    said = {
        "model": "toy",
        "version": 3,
        "manifest": MANIFEST,
        "predictor": 1,
        "step": 7,
        "options": {"scale": 1.0},
        "arrays": arrays,
    }
    return Snapshot(**said | changes)


def state(seed: int = 0, **changes) -> bytes:
    """The bytes of one."""
    return to_bytes(snapshot(seed, **changes))


def saved(session: str = "s", step: int = 0, seed: int = 0, **changes) -> Saved:
    """The state of a session that has never been on the disk."""
    said = {
        "session": session,
        "tenant": None,
        "epoch": 0,
        "model": "toy",
        "version": 3,
        "manifest": MANIFEST,
        "step": step,
        "data": state(seed, step=step),
        "kind": "durable",
    }
    return Saved(**said | changes)


def change(path: Path, statement: str, *values) -> None:
    """Change a database of states behind its store's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)
