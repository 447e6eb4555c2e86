"""MCMC runs kept on disk: sampling takes hours, scoring a new model beside it seconds.

One JSON file per curve and cutoff. Its key covers everything that the run depends on, so a stale
file is sampled again, never used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.curves.chain import Run

__all__ = ["cached", "key_of"]


def key_of(**settings: Any) -> str:
    """A digest of everything that a run depends on; arrays count by their bytes."""
    plain = {
        name: hashlib.sha256(value.tobytes()).hexdigest()
        if isinstance(value, np.ndarray)
        else value
        for name, value in settings.items()
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def cached(path: Path, key: str, sample: Callable[[], Run] | None) -> Run | None:
    """The run in ``path`` if it is of ``key``; else ``sample()``, kept, or None without it."""
    if path.is_file():
        said = json.loads(path.read_text("utf-8"))
        if said.pop("key") == key:
            return Run(**{name: _array(value) for name, value in said.items()})
    if sample is None:
        return None
    run = sample()
    listed = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in asdict(run).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps({"key": key, **listed}), "utf-8")
    unfinished.replace(path)
    return run


def _array(value: Any) -> Any:
    return np.array(value, np.float64) if isinstance(value, list) else value
