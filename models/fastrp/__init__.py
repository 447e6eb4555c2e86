"""FastRP: nodes of a graph as vectors, by random projection of random walks (Chen et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from foretoken.models.contract import Arrays, Config, Graph, Kind
from foretoken.models.recipes import Importer, Recipe
from foretoken.models.tasks import Task

if TYPE_CHECKING:
    from torch import nn

    from foretoken.models.fastrp.predict import NodePredictor


class FastRPFamily:
    """See ``foretoken.models.contract.Family``. Its configuration is its options' defaults."""

    name = "fastrp"
    task = Task.GRAPH
    kind = Kind.IN_CONTEXT  # the vectors of a graph's nodes, which are looked up later
    summary = "Embeds the nodes of a graph by random projection of random walks, without training"
    source = (
        "Chen et al. 2019, Fast and Accurate Network Embeddings via Very Sparse Random Projection"
    )
    small: Mapping[str, Any] = {
        "dimensions": 16,
        "weights": "0.5,1,0.25",
        "alpha": -0.628,
        "projection": "sparse",
        "normalize": "no",
        "seed": 0,
    }
    recipe: Recipe | None = None
    importers: Mapping[str, Importer] = {}

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        del config
        return ()  # sparse products on the host

    def module(self, config: Config) -> nn.Module:
        from torch import nn  # noqa: PLC0415

        del config
        return nn.Module()

    def predictor(self, config: Config, weights: Arrays) -> NodePredictor:
        from foretoken.models.fastrp.predict import NodePredictor  # noqa: PLC0415

        del weights
        return NodePredictor(config)

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        del config, graph
        yield from ()


FAMILY = FastRPFamily()
