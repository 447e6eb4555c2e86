"""Snapshots for tests."""

from __future__ import annotations

import numpy as np

from foretoken.server.sessions.state import Snapshot, to_bytes

__all__ = ["MANIFEST", "snapshot", "state"]

MANIFEST = "sha256:" + "a" * 64


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
