"""Requests of each task that any family of that task must answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from foretoken.models.contract import Config, Family
from foretoken.models.tasks import (
    CurveRequest,
    GenerationRequest,
    GraphRequest,
    SequenceRequest,
    TabularRequest,
    Task,
    TextRequest,
)

PROMPTS = ([1], [3, 1, 2], [5, 5, 5, 5, 0, 7])


def requests(family: Family, config: Config) -> list[Any]:
    """Some requests of the family's task, of differing sizes."""
    rng = np.random.default_rng(1)
    match family.task:
        case Task.CURVE:
            return [curve(rng, n, q) for n, q in ((1, 1), (9, 3), (40, 60))]
        case Task.TABULAR:
            return [tabular(rng, n, m) for n, m in ((2, 1), (9, 5), (30, 3))]
        case Task.TEXT:
            return [TextRequest(("one",)), TextRequest(("a longer text", "b", "one more text"))]
        case Task.SEQUENCE:
            return [sequence(rng, family, config, T) for T in (1, 4, 11)]
        case Task.GRAPH:
            return [graph(rng, n, m) for n, m in ((2, 1), (9, 30), (40, 3))]
        case Task.GENERATION:
            return [GenerationRequest(np.array(p), max_tokens=n) for n, p in enumerate(PROMPTS, 1)]


def bare(request: Any) -> Any:
    """The request without its training set, for which a context is to stand."""
    if isinstance(request, GraphRequest):
        return GraphRequest(nodes=request.nodes)
    return replace(request, train={}, target=None)


def curve(rng: np.random.Generator, n: int, q: int) -> CurveRequest:
    values = np.sort(rng.uniform(0.1, 0.9, n))
    steps, at = np.arange(1.0, n + 1), np.arange(n + 1.0, n + q + 1)
    return CurveRequest(values, steps, at, np.array([0.1, 0.5, 0.9]))


def tabular(rng: np.random.Generator, n: int, m: int) -> TabularRequest:
    train = {f"x{i}": rng.standard_normal(n) for i in range(3)}
    test = {f"x{i}": rng.standard_normal(m) for i in range(3)}
    target = np.where(train["x0"] > np.median(train["x0"]), "yes", "no")
    target[:2] = ["yes", "no"]
    return TabularRequest(test, train, target)


def graph(rng: np.random.Generator, n: int, m: int) -> GraphRequest:
    """A ring with chords; M of its N nodes are asked for, some of them twice."""
    ring = np.arange(n - 1)
    sources = np.concatenate([ring, rng.integers(0, n, 2 * n)])
    targets = np.concatenate([ring + 1, rng.integers(0, n, 2 * n)])
    return GraphRequest(
        sources, targets, self_loops="keep", duplicates="sum", nodes=rng.integers(0, n, m)
    )


def sequence(rng: np.random.Generator, family: Family, config: Config, T: int) -> SequenceRequest:
    step = next(g for g in family.graphs(config) if g.name == "step")
    D = step.inputs[0].dims[1]
    assert isinstance(D, int)
    if np.dtype(step.inputs[0].dtype).kind == "i":  # tokens
        return SequenceRequest(rng.integers(0, config["vocab"], (T, D)).astype(np.float64))
    return SequenceRequest(rng.standard_normal((T, D)))
