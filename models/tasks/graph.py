"""Graphs whose nodes are embedded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array

__all__ = ["GraphReply", "GraphRequest"]


@dataclass(frozen=True)
class GraphRequest:
    """A graph whose nodes are embedded, and nodes whose vectors to tell; to fit, the former alone.

    Nodes are numbered from 0. An edge of an undirected graph may be given from either end or, with
    one weight, from both.

    Args:
        sources, targets: the ends of each edge, int [E]; None when a context stands for the graph.
        weights: of the edges, float64 [E], above 0; None: all alike.
        count: of the graph's nodes; the default is the largest number of an end, and one more.
        directed: whether edges lead from source to target alone.
        self_loops: of edges from a node to itself: "refuse", "keep" (each once) or "drop" them.
        duplicates: of edges that are given more than once: "refuse" them, or "sum" their weights,
            of undirected ones from either end.
        nodes: whose vectors to tell, int [M]; None: all, in order, or none to fit.
        options: of the family, such as the number of dimensions.
        context: id of the fitted context that stands for the graph.
    """

    sources: Array | None = None
    targets: Array | None = None
    weights: Array | None = None
    count: int | None = None
    directed: bool = False
    self_loops: str = "refuse"
    duplicates: str = "refuse"
    nodes: Array | None = None
    options: Mapping[str, float | str] = field(default_factory=dict)
    context: str | None = None

    def __post_init__(self) -> None:
        if self.self_loops not in ("refuse", "keep", "drop"):
            raise InvalidInput(f"self_loops is 'refuse', 'keep' or 'drop', not {self.self_loops!r}")
        if self.duplicates not in ("refuse", "sum"):
            raise InvalidInput(f"duplicates is 'refuse' or 'sum', not {self.duplicates!r}")
        if self.nodes is not None:
            _expect_nodes("nodes", self.nodes, None)
        if (self.sources is None) != (self.targets is None):
            raise InvalidInput("sources and targets, the ends of each edge, go together")
        if self.sources is not None and self.targets is not None:
            self._expect_edges(self.sources, self.targets)
        elif self.weights is not None or self.count is not None:
            raise InvalidInput("weights and count go with the edges of a graph; give sources")

    def _expect_edges(self, sources: Array, targets: Array) -> None:
        if self.context is not None:
            raise InvalidInput("give either a context or a graph, not both")
        if self.count is not None and self.count < 1:
            raise InvalidInput(f"count is {self.count}; a graph has at least one node")
        _expect_nodes("sources", sources, self.count)
        _expect_nodes("targets", targets, self.count)
        if sources.shape != targets.shape:
            raise InvalidInput(
                f"sources {sources.shape} and targets {targets.shape} must have one length: an "
                "edge has two ends"
            )
        if self.weights is not None:
            _expect_weights(self.weights, len(sources))


def _expect_nodes(what: str, nodes: Array, count: int | None) -> None:
    if nodes.ndim != 1 or nodes.dtype.kind not in "iu":
        raise InvalidInput(
            f"{what} must be a list of integers, not {nodes.dtype} of shape {nodes.shape}: number "
            "the nodes from 0"
        )
    most = int(np.iinfo(np.int64).max) if count is None else count - 1
    if nodes.size and not 0 <= int(nodes.min()) <= int(nodes.max()) <= most:
        i = int(np.flatnonzero((nodes < 0) | (nodes > most))[0])
        there = "are numbered from 0" if count is None else f"are 0 to {most}"
        raise InvalidInput(f"entry {i} of {what} is {nodes[i]}, which is no node: these {there}")


def _expect_weights(weights: Array, edges: int) -> None:
    if weights.shape != (edges,) or weights.dtype.kind not in "fiu":
        raise InvalidInput(
            f"weights are {weights.dtype} of shape {weights.shape}; one number for each of the "
            f"{edges} edges is needed"
        )
    if edges and not (weights.min() > 0 and weights.max() < np.inf):
        i = int(np.flatnonzero(~((weights > 0) & (weights < np.inf)))[0])
        raise InvalidInput(
            f"the weight of edge {i} is {weights[i]}; weights are finite and above 0: leave out "
            "edges that are none"
        )


@dataclass(frozen=True)
class GraphReply:
    """Vectors of nodes.

    Args:
        vectors: float32 [M, D], in the order of the nodes that were asked for.
        count: of the graph's nodes.
        notes: choices that were made for the caller, such as what nodes without edges get.
    """

    vectors: Array
    count: int
    notes: tuple[str, ...] = ()
