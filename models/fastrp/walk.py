"""A graph as one step of a random walk. Letters: E edges, N nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from foretoken.errors import InvalidInput
from foretoken.models.edges import count_of
from foretoken.models.tasks import GraphRequest

__all__ = ["Walk", "walk_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Walk:
    """A step from each node.

    Args:
        matrix: M = D⁻¹A, float64 [N, N]; rows of nodes that no edge leaves are zero.
        degrees: float64 [N], sums of the weights of the edges that leave a node.
    """

    matrix: sparse.csr_array
    degrees: Floats

    @property
    def count(self) -> int:
        """Nodes N."""
        return len(self.degrees)

    def scale(self, alpha: float) -> Floats:
        """degreeᵃ of each node, [N]; 0 where that is infinite."""
        with np.errstate(divide="ignore"):
            powers = self.degrees**alpha
        powers[np.isinf(powers)] = 0.0
        return powers


def walk_of(request: GraphRequest) -> Walk:
    """The walk on a graph in canonical form.

    Raises:
        InvalidInput: if the weights are too large or small to be summed.
    """
    N = count_of(request)
    assert request.sources is not None
    assert request.targets is not None
    weights = np.ones(len(request.sources)) if request.weights is None else request.weights
    matrix = _adjacency(weights, request.sources, request.targets, N)
    if not request.directed:
        away = request.sources != request.targets
        matrix = matrix + _adjacency(weights[away], request.targets[away], request.sources[away], N)
    degrees = matrix @ np.ones(N)
    matrix.data /= np.repeat(degrees, np.diff(matrix.indptr))
    if not (np.isfinite(degrees).all() and np.isfinite(matrix.data).all()):
        raise InvalidInput(
            "the weights of a node's edges have a sum that a double cannot hold; scale them all"
        )
    return Walk(matrix, degrees)


def _adjacency(
    weights: Floats, rows: NDArray[np.int32], columns: NDArray[np.int32], N: int
) -> sparse.csr_array:
    made = sparse.csr_array((weights, (rows, columns)), shape=(N, N))
    made.sort_indices()
    return made
