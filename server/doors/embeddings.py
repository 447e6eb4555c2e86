"""The door of embeddings: ``foretoken.v1.Embeddings``; ``graphs`` answers for graphs.

Letters: N texts, D dimensions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from foretoken.errors import InvalidInput
from foretoken.models.tasks import Task, TextReply, TextRequest
from foretoken.proto import embeddings as wire
from foretoken.proto.loading import service
from foretoken.server.doors.graphs import graphs
from foretoken.server.doors.service import Bidirectional, Call, Service, Stream, Unary
from foretoken.server.doors.texts import TextLimits, decoded
from foretoken.server.doors.turns import in_turns
from foretoken.server.plane import Answers, Plane
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

__all__ = ["embeddings"]

_TRUNCATE = {wire.EmbedOptions.END: "end", wire.EmbedOptions.ERROR: "error"}


def embeddings(plane: Plane, settings: Settings) -> Service:
    """The service, answered by ``plane`` within the limits of ``settings``."""
    door = _Door(plane, settings)
    advice = TextLimits.of(settings).advice
    return Service(
        service("foretoken/v1/embeddings.proto", "Embeddings"),
        {
            "Embed": Unary(door.embed, advice=advice),
            "EmbedStream": Bidirectional(door.embed_stream, advice=advice),
            **graphs(plane, settings),
        },
    )


class _Door:
    def __init__(self, plane: Plane, settings: Settings) -> None:
        self._plane = plane
        self._deadline = settings.deadline
        self._limits = TextLimits.of(settings)

    async def embed(self, asked: wire.EmbedRequest, call: Call) -> wire.EmbedResponse:
        terms = _keyed(call.terms, asked.key)
        loaded = await self._plane.describe(asked.model, terms)
        self._plane.expect_time(loaded, terms)
        request = self._request(asked.texts, asked.options)
        answers = await self._plane.answer(loaded, [request], terms)
        call.answered(answers)
        return _response(answers)

    async def embed_stream(self, stream: Stream, call: Call) -> None:
        """Answer chunk after chunk, all by the version that was chosen for the first message."""
        first = await stream.read()
        if first is None:
            return
        _expect(first, "open")
        opening = first.open
        terms = _keyed(call.terms, opening.key)
        loaded = await self._plane.describe(opening.model, self._timed(terms))
        if loaded.family.task is not Task.TEXT:
            raise InvalidInput(f"model {opening.model!r} answers {loaded.family.task} requests")
        ref = loaded.version.ref
        del loaded  # a stream may outlast what is loaded now

        async def answer(message: wire.EmbedStreamRequest) -> wire.EmbedResponse:
            _expect(message, "chunk")
            request = self._request(message.chunk.texts, opening.options)
            answers = await self._plane.predict(ref, [request], self._timed(terms))
            call.answered(answers)
            return _response(answers)

        await in_turns(stream, answer)

    def _request(self, texts: Sequence[bytes], options: wire.EmbedOptions) -> TextRequest:
        self._limits.expect_few(len(texts))
        self._limits.expect_short([*map(len, texts)], len(options.prompt.encode()))
        if options.truncate not in _TRUNCATE:
            known = ", ".join(wire.EmbedOptions.Truncate.keys())
            raise InvalidInput(f"truncate is one of {known}, not {options.truncate}")
        return TextRequest(
            decoded(texts),
            options.dimensions if options.HasField("dimensions") else None,
            options.prompt or None,
            _TRUNCATE[options.truncate],
        )

    def _timed(self, terms: Terms) -> Terms:
        """Each message of a stream has the default deadline, unless the stream's is earlier."""
        return replace(terms, deadline=min(terms.deadline, time.monotonic() + self._deadline))


def _expect(message: wire.EmbedStreamRequest, kind: str) -> None:
    """Refuse a message that is not the one that is due."""
    said = message.WhichOneof("message")
    if said != kind:
        raise InvalidInput(f"expected `{kind}` here, not `{said}`: `open` once, then `chunk`")


def _keyed(terms: Terms, key: str) -> Terms:
    return replace(terms, key=key) if key else terms


def _response(answers: Answers) -> wire.EmbedResponse:
    reply: TextReply = answers.replies[0]
    return wire.EmbedResponse(
        vectors=reply.vectors.astype("<f4", copy=False).tobytes(),
        dimensions=reply.vectors.shape[1],
        tokens=reply.tokens.tolist(),
        cut=reply.cut.tolist(),
        model=answers.version.name,
        version=answers.version.number,
    )
