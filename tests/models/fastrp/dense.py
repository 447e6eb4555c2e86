"""FastRP as the paper has it, in dense float64 matrices. Letters: N nodes, D dimensions."""

from __future__ import annotations

import numpy as np

from foretoken.models.edges import canonical
from foretoken.models.fastrp.options import Options
from foretoken.models.fastrp.projection import projected
from foretoken.models.tasks import GraphRequest


def adjacency(request: GraphRequest) -> np.ndarray:
    """A [N, N]; a self-loop is there once."""
    graph = canonical(request)
    A = np.zeros((graph.count, graph.count))
    weights = np.ones(len(graph.sources)) if graph.weights is None else graph.weights
    for source, target, weight in zip(graph.sources, graph.targets, weights, strict=True):
        A[source, target] = weight
        if not graph.directed:
            A[target, source] = weight
    return A


def projection(options: Options, N: int) -> np.ndarray:
    """Rᵀ [N, D], before degrees scale it."""
    drawn = projected(
        options.projection, options.seed, range(options.dimensions), options.dimensions, np.ones(N)
    )
    return drawn if isinstance(drawn, np.ndarray) else drawn.toarray()


def embedding(request: GraphRequest, options: Options) -> np.ndarray:
    """U [N, D]; nodes that no edge leaves are zero, and count for nothing."""
    A = adjacency(request)
    degrees = A.sum(axis=1)
    walks = degrees > 0
    M = np.zeros_like(A)
    M[walks] = A[walks] / degrees[walks, None]
    with np.errstate(divide="ignore"):
        scale = np.where(walks | (options.alpha >= 0), degrees**options.alpha, 0.0)
    U = projection(options, len(A)) * scale[:, None]
    total = np.zeros_like(U)
    for weight in options.weights:
        U = M @ U
        lengths = np.linalg.norm(U, axis=1, keepdims=True)
        part = U / np.where(lengths > 0, lengths, 1.0) if options.normalize else U
        total += weight * part
    mean, spread = total[walks].mean(axis=0), total[walks].std(axis=0)
    made = np.zeros_like(total)
    made[walks] = (total[walks] - mean) / spread
    return made
