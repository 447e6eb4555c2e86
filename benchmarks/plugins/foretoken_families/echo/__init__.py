"""Echo: answers with the numbers it is asked with; what is left is the server's own cost.

A family like any other, brought by a package of its own. Letters: B sequences, T observations
(padded), D numbers in each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from foretoken.models.contract import Arrays, Call, Config, Graph, Kind, Predictor, Steps, Tensor
from foretoken.models.tasks import SequenceReply, SequenceRequest, Task

if TYPE_CHECKING:
    from torch import nn


class Predict:
    """Sends observations back as float32, by way of the runtime or not."""

    def __init__(self, graph: bool) -> None:
        self._graph = graph

    def predict(self, request: SequenceRequest, state: object = None) -> Steps:
        """See ``foretoken.models.contract.Predictor``."""
        del state
        values = request.values.astype(np.float32)
        if self._graph:
            (made,) = yield [Call("forward", {"x": values[None]})]
            values = made["y"][0]
        return SequenceReply({"values": values})


class Echo:
    """See ``foretoken.models.contract.Family``; ``graph`` says whether a graph runs at all."""

    name = "echo"
    task = Task.SEQUENCE
    kind = Kind.STATELESS
    summary = "Answers with what it is asked with"
    source = "none"
    small: Mapping[str, Any] = {"inputs": 16, "graph": True}
    recipe = None
    importers: Mapping[str, Any] = {}

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        """One that multiplies by one, or none."""
        dims = ("B", "T", config["inputs"])
        graph = Graph("forward", (Tensor("x", "float32", dims),), (Tensor("y", "float32", dims),))
        return (graph,) if config["graph"] else ()

    def module(self, config: Config) -> nn.Module:
        """With a single parameter, which is one."""
        del config
        from foretoken_families.echo.model import Scale  # noqa: PLC0415

        return Scale()

    def predictor(self, config: Config, weights: Arrays) -> Predictor:
        """Needs no weights."""
        del weights
        return Predict(config["graph"])

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        """Several shapes."""
        del graph
        rng = np.random.default_rng(0)
        for B, T in ((1, 1), (1, 7), (3, 2), (8, 1), (2, 31)):
            yield {"x": rng.standard_normal((B, T, config["inputs"]), np.float32)}


FAMILY = Echo()
