"""Graphs, by the client that waits for its answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.client import graphs
from foretoken.client.graphs import Embedded, GraphLike
from foretoken.client.operations import Steps

__all__ = ["Graphs"]

R = TypeVar("R")


class Graphs(ABC):
    """The part of ``Client`` that is about graphs."""

    def embed_graph(
        self,
        model: str,
        graph: GraphLike,
        *,
        directed: bool = False,
        count: int | None = None,
        self_loops: str = "refuse",
        duplicates: str = "refuse",
        options: Mapping[str, float | str] | None = None,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Embedded:
        """Embed the nodes of a graph; the server keeps their vectors, which ``node_vectors`` tells.

        Args:
            model: one version of it embeds the graph, and stays with it.
            graph: a tuple ``(sources, targets)`` or ``(sources, targets, weights)``, numbers of
                nodes from 0 and positive weights, each [E]; a list or array [E, 2] of pairs; a CSR
                matrix of SciPy; or a table with the columns source, target and perhaps weight, by
                name, as the bytes of an Arrow stream or of CSV, or as the path of a file of either.
            directed: edges lead from source to target alone; else each may be given from either end
                or, with one weight, from both.
            count: of nodes; the default is the largest number of an end, and one more.
            self_loops: of edges from a node to itself: "refuse", "keep" or "drop" them.
            duplicates: of edges that are given more than once: "refuse", or "sum" their weights.
            options: of the model's family, such as ``{"dimensions": 128}``.
            key: chooses the side of a canary; the same key is always on the same side.
            timeout: seconds.
        """
        said = graphs.graph_message(
            graph, directed=directed, count=count, self_loops=self_loops, duplicates=duplicates
        )
        return self._run(graphs.embedded(model, said, options, key), timeout)

    def node_vectors(
        self,
        context: Embedded | str | Any,
        nodes: ArrayLike | None = None,
        *,
        timeout: float | None = None,
    ) -> NDArray[np.float32]:
        """Vectors of nodes, float32 [M, D], in the order of ``nodes``.

        Args:
            context: what ``embed_graph`` returned, or its id.
            nodes: their numbers, [M], any of them more than once; None: all, in order.
            timeout: seconds.
        """
        return self._run(graphs.vectors(context, nodes), timeout)

    @abstractmethod
    def _run(self, steps: Steps[R], timeout: float | None) -> R: ...
