"""Graphs as tensors. Letters: E edges, N nodes, M nodes that are asked for, D dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import GraphReply, GraphRequest
from foretoken.server.doors.tasks.base import (
    CONTEXT,
    INTEGERS,
    REALS,
    Asked,
    Kept,
    Limits,
    Parameter,
    Tensor,
    context_of,
    floats,
    options,
)

__all__ = ["CODEC", "GraphCodec"]

EDGES = ("sources", "targets", "weights")
LONGEST = 4096  # dimensions that a vector may have
TOLD = ("count", "directed", "self_loops", "duplicates")  # parameters that are no options


class GraphCodec:
    """``sources`` and ``targets`` [E] of a graph's edges to a request to fit, answered by an id.

    With that id as context, ``nodes`` [M] are looked up.
    """

    inputs = (
        Tensor("sources", INTEGERS, (1,), optional=True),
        Tensor("targets", INTEGERS, (1,), optional=True),
        Tensor("weights", REALS + INTEGERS, (1,), optional=True),
        Tensor("nodes", INTEGERS, (1,), optional=True),
        Tensor(CONTEXT, ("BYTES",), (1,), optional=True),
    )
    outputs = (
        Tensor("vectors", ("FP32",), (2,)),
        Tensor(CONTEXT, ("BYTES",), (1,)),
    )

    def decode(
        self, tensors: Mapping[str, Array], parameters: Mapping[str, Parameter], limits: Limits
    ) -> Asked:
        """Parameters are ``count``, ``directed``, ``self_loops``, ``duplicates`` and options."""
        context = context_of(tensors, parameters)
        nodes = tensors.get("nodes")
        given = {n: value for n, value in parameters.items() if n != CONTEXT}
        if context is not None:
            if extra := [*(set(EDGES) & set(tensors)), *given]:
                raise InvalidInput(f"a context has its own graph; leave out {', '.join(extra)}")
            if nodes is None:
                raise InvalidInput("tensor 'nodes' is missing: those to look up by the context")
            most = max(1, limits.reply_bytes // (4 * LONGEST))
            if len(nodes) > most:
                raise InvalidInput(
                    f"tensor 'nodes' has {len(nodes)} of them; a call may have {most}"
                )
            return Asked([GraphRequest(nodes=nodes, context=context)], context)
        if nodes is not None or not {"sources", "targets"} <= set(tensors):
            raise InvalidInput(
                f"input tensors are {', '.join(tensors)}; give sources and targets to fit a graph, "
                "and then context_id and nodes"
            )
        weights = tensors.get("weights")
        request = GraphRequest(
            tensors["sources"],
            tensors["targets"],
            None if weights is None else floats(weights),
            options=options({n: value for n, value in given.items() if n not in TOLD}),
            **_told(given),
        )
        return Asked([request], "", fit=True)

    def encode(self, name: str, replies: Sequence[GraphReply | Kept], asked: Asked) -> Array:
        """``vectors`` [M, D]; ``context_id`` [1]."""
        reply = replies[0]
        if name == CONTEXT:
            return np.array([reply.context if isinstance(reply, Kept) else asked.layout], object)
        if isinstance(reply, Kept):
            raise InvalidInput(
                f"output {name!r} needs nodes; without them the graph is fitted, and the output is "
                "context_id"
            )
        return reply.vectors

    def names(self, replies: Sequence[GraphReply | Kept]) -> Sequence[str]:
        """The id of what was fitted, or vectors; the id must be asked for beside these."""
        return (CONTEXT,) if isinstance(replies[0], Kept) else ("vectors",)

    def work(self, asked: Asked) -> int:
        """Vectors are sent as they are."""
        return 1


def _told(given: Mapping[str, Parameter]) -> dict[str, Any]:
    told = {name: given[name] for name in TOLD if name in given}
    if type(told.get("count", 1)) is not int:
        raise InvalidInput(f"parameter 'count' must be an integer, not {told['count']!r}")
    if not isinstance(told.get("directed", False), bool):
        raise InvalidInput(f"parameter 'directed' must be a bool, not {told['directed']!r}")
    return told


CODEC = GraphCodec()
