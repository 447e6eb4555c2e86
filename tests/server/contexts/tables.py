"""Tables to fit, and rows to predict for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from foretoken.models.tasks import TabularRequest

__all__ = ["inline", "rows", "table", "with_context"]

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
