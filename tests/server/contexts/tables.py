"""Tables to fit, and rows to predict for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.tasks import TabularRequest
from foretoken.server.plane import Answers
from foretoken.server.registry.registry import Registry

__all__ = ["blobs_of", "damage", "inline", "rows", "same", "table", "variant", "with_context"]

COLUMNS = 3


def table(seed: int = 0, n: int = 12, classes: int = 3) -> TabularRequest:
    """A training set of numbers."""
    rng = np.random.default_rng(seed)
    train = {f"x{i}": rng.standard_normal(n) for i in range(COLUMNS)}
    return TabularRequest(train=train, target=np.arange(n) % classes)


def rows(seed: int = 0, m: int = 4) -> dict[str, np.ndarray]:
    """Rows to predict for."""
    rng = np.random.default_rng(1000 + seed)
    return {f"x{i}": rng.standard_normal(m) for i in range(COLUMNS)}


def inline(fitted: TabularRequest, test: dict[str, np.ndarray]) -> TabularRequest:
    """The training set and the rows in one request."""
    return replace(fitted, test=test)


def with_context(context: str, test: dict[str, np.ndarray]) -> TabularRequest:
    """The rows, and a context in the place of the training set."""
    return TabularRequest(test=test, context=context)


def same(one: Answers, other: Answers) -> None:
    """Both say the same of every row."""
    for mine, theirs in zip(one.replies, other.replies, strict=True):
        np.testing.assert_array_equal(mine.classes, theirs.classes)
        np.testing.assert_allclose(mine.probabilities, theirs.probabilities, atol=1e-5)


def blobs_of(registry: Registry) -> list[Path]:
    """Files of contexts."""
    return sorted((registry.data_dir / "contexts").rglob("*/*"))


def damage(registry: Registry, digest: str, how: str) -> None:
    """Change a byte of a context's file, or remove it."""
    path = registry.data_dir / "contexts" / "sha256" / digest.removeprefix("sha256:")
    if how == "absent":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()  # a new file: whoever has mapped the old one keeps it
    path.write_bytes(data)


def variant(artefact: Artefact, folder: Path, factor: float) -> Artefact:
    """The same model with other weights."""
    path = folder / WEIGHTS
    weights = load_file(artefact.files[WEIGHTS])
    save_file({name: weight * factor for name, weight in weights.items()}, path)
    files = {**artefact.files, WEIGHTS: path}
    return Artefact(artefact.family, artefact.config, files, export=artefact.export)
