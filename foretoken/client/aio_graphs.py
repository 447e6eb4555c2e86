"""Graphs, by the client for asyncio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.client import graphs
from foretoken.client.graphs import Embedded, GraphLike
from foretoken.client.operations import Steps

__all__ = ["AsyncGraphs"]

R = TypeVar("R")


class AsyncGraphs(ABC):
    """The part of ``AsyncClient`` that is about graphs."""

    async def embed_graph(
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
        """See ``Client.embed_graph``."""
        said = graphs.graph_message(
            graph, directed=directed, count=count, self_loops=self_loops, duplicates=duplicates
        )
        return await self._run(graphs.embedded(model, said, options, key), timeout)

    async def node_vectors(
        self,
        context: Embedded | str | Any,
        nodes: ArrayLike | None = None,
        *,
        timeout: float | None = None,
    ) -> NDArray[np.float32]:
        """See ``Client.node_vectors``."""
        return await self._run(graphs.vectors(context, nodes), timeout)

    @abstractmethod
    async def _run(self, steps: Steps[R], timeout: float | None) -> R: ...
