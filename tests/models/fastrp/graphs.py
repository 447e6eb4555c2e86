"""Graphs to embed, and how."""

from __future__ import annotations

import numpy as np

from foretoken.models.fastrp import FAMILY
from foretoken.models.fastrp.options import Options
from foretoken.models.fastrp.predict import NodePredictor
from foretoken.models.tasks import GraphRequest
from foretoken.server.engine.drive import alone

LOOSE = {"self_loops": "drop", "duplicates": "sum"}


def drawn(seed: int = 0, N: int = 60, E: int = 240, **said) -> GraphRequest:
    """A ring, so that no walk ends, and edges at random."""
    rng = np.random.default_rng(seed)
    ring = np.arange(N)
    sources = np.concatenate([ring, rng.integers(0, N, E)])
    targets = np.concatenate([(ring + 1) % N, rng.integers(0, N, E)])
    return GraphRequest(sources, targets, **{**LOOSE, **said})


def weighted(seed: int = 0, **said) -> GraphRequest:
    graph = drawn(seed, **said)
    weights = np.random.default_rng(seed + 1).uniform(0.1, 9, len(graph.sources))
    return GraphRequest(graph.sources, graph.targets, weights, **{**LOOSE, **said})


def predictor(**config) -> NodePredictor:
    return FAMILY.predictor({**FAMILY.small, **config}, {})


def answered(request: GraphRequest, **config):
    """The reply to a request with its graph."""
    (reply,) = alone([predictor(**config).predict(request)], {}, lambda *_: {}, 1)
    return reply


def options(**config) -> Options:
    return Options.of({**FAMILY.small, **config})
