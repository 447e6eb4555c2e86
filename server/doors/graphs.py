"""The door of graphs: ``EmbedGraph`` of ``foretoken.v1.Embeddings``.

Letters: N nodes, M nodes that are asked for, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import GraphReply, GraphRequest
from foretoken.proto import graphs as wire
from foretoken.proto import tabular
from foretoken.server.doors.graph_messages import graph, ids
from foretoken.server.doors.service import Call, Unary
from foretoken.server.doors.tables import unblocked
from foretoken.server.plane import Answers, Plane
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

__all__ = ["graphs"]

FEW = 256  # nodes whose vectors any reply has room for
NONE = np.empty(0, np.int64)
NONE.setflags(write=False)


def graphs(plane: Plane, settings: Settings) -> Mapping[str, Unary]:
    """The methods by name, answered by ``plane`` within the limits of ``settings``."""
    return {"EmbedGraph": Unary(_Door(plane, settings).embed)}


class _Door:
    def __init__(self, plane: Plane, settings: Settings) -> None:
        self._plane = plane
        self._settings = settings

    async def embed(self, asked: wire.EmbedGraphRequest, call: Call) -> wire.EmbedGraphResponse:
        terms = replace(call.terms, key=asked.key) if asked.key else call.terms
        nodes = ids("nodes", asked.nodes)
        if asked.WhichOneof("known") == "graph":
            return await self._fitted(asked, nodes, terms, call)
        if not asked.context_id:
            raise InvalidInput("give a graph, or context_id, as an earlier reply has it")
        if asked.options or asked.plan_only:
            raise InvalidInput(
                "options and plan_only go with a graph; a context was fitted with its own options"
            )
        answers = await self._vectors(asked.model, asked.context_id, nodes, terms)
        call.answered(answers)
        (hit,) = answers.hits
        return await _response(answers, asked.context_id, cached=bool(hit))

    async def _fitted(
        self, asked: wire.EmbedGraphRequest, nodes: Array, terms: Terms, call: Call
    ) -> wire.EmbedGraphResponse:
        loaded = await self._plane.describe(asked.model, terms)
        request = await unblocked(asked.ByteSize(), lambda: graph(asked, self._settings))
        if asked.plan_only:
            size = await self._plane.measure(asked.model, request, terms)
            version = loaded.version
            return wire.EmbedGraphResponse(model=version.name, version=version.number, nbytes=size)
        self._plane.expect_time(loaded, terms)
        fitted = await self._plane.fit(asked.model, request, terms)
        answers = await self._vectors("", fitted.context.id, nodes, terms)
        answers = answers._replace(seconds=fitted.seconds + answers.seconds)
        call.answered(answers)
        return await _response(answers, fitted.context.id, cached=fitted.cached)

    async def _vectors(self, model: str, context: str, nodes: Array, terms: Terms) -> Answers:
        if len(nodes) > FEW:  # how long vectors are is not known yet
            one = GraphRequest(nodes=NONE, context=context)
            known = await self._plane.predict(model, [one], terms)
            self._expect_room(len(nodes), known.replies[0].vectors.shape[1])
        request = GraphRequest(nodes=nodes, context=context)
        return await self._plane.predict(model, [request], terms)

    def _expect_room(self, nodes: int, dimensions: int) -> None:
        most = self._settings.message_bytes
        if 4 * nodes * dimensions > most:
            raise InvalidInput(
                f"{nodes} vectors of {dimensions} dimensions do not fit a reply of {most} bytes; "
                f"ask for at most {max(1, most // (4 * dimensions))} nodes at once"
            )


async def _response(answers: Answers, context: str, *, cached: bool) -> wire.EmbedGraphResponse:
    reply: GraphReply = answers.replies[0]
    vectors = reply.vectors
    data = await unblocked(vectors.nbytes, lambda: vectors.astype("<f4", copy=False).tobytes())
    return wire.EmbedGraphResponse(
        context_id=context,
        cache=tabular.HIT if cached else tabular.MISS,
        model=answers.version.name,
        version=answers.version.number,
        nodes=reply.count,
        dimensions=vectors.shape[1],
        nbytes=4 * reply.count * vectors.shape[1],
        vectors=data,
        notes=reply.notes,
        seconds=answers.seconds,
    )
