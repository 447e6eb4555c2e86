"""Texts: what is sent to embed them, and how replies are read.

Letters: N texts, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretoken.arrays import texts as texts_of
from foretoken.client.methods import method
from foretoken.client.operations import Steps, Unary, message
from foretoken.embeddings import Embeddings, joined, parted
from foretoken.errors import InternalError, InvalidInput
from foretoken.proto import embeddings as wire

__all__ = ["Manner", "TextFlow", "embed", "embeddings_of"]

TEXTS = 1024  # of a message at most

_TRUNCATE = {"end": wire.EmbedOptions.END, "error": wire.EmbedOptions.ERROR}


@dataclass(frozen=True)
class Manner:
    """How texts are to be embedded; see ``Client.embed``."""

    dimensions: int | None = None
    prompt: str | None = None
    truncate: str = "end"

    def message(self) -> wire.EmbedOptions:
        """As the wire has it.

        Raises:
            InvalidInput: naming what is not acceptable.
        """
        if self.truncate not in _TRUNCATE:
            raise InvalidInput(f"truncate is 'end' or 'error', not {self.truncate!r}")
        return message(
            wire.EmbedOptions,
            dimensions=self.dimensions,
            prompt=self.prompt,
            truncate=_TRUNCATE[self.truncate],
        )


def embed(model: str, given: Iterable[str], manner: Manner, key: str | None) -> Steps[Embeddings]:
    """Texts, in as many messages as it takes, all answered by one version."""
    texts, options, found = texts_of(given), manner.message(), []
    start = 0
    for part in _parts(texts, manner.prompt or ""):
        request = message(wire.EmbedRequest, model=model, texts=part, options=options, key=key)
        try:
            reply = yield Unary(method("Embeddings.Embed"), request)
        except InvalidInput as e:
            if not start:
                raise
            raise type(e)(f"of the texts from {start} on: {e}") from e
        found.append(embeddings_of(reply, len(part)))
        model = found[0].ref
        start += len(part)
    return joined(found)


def embeddings_of(said: wire.EmbedResponse, count: int) -> Embeddings:
    """A reply's arrays.

    Raises:
        InternalError: if it is not one to so many texts.
    """
    shape = (count, said.dimensions)
    if len(said.vectors) != 4 * count * said.dimensions or not (
        len(said.tokens) == len(said.cut) == count
    ):
        raise InternalError(
            f"the reply is malformed: {len(said.vectors)} bytes of vectors, {len(said.tokens)} "
            f"counts of tokens and {len(said.cut)} of what was cut, for {shape}",
            id="",
        )
    return Embeddings(
        vectors=np.frombuffer(said.vectors, "<f4").astype(np.float32).reshape(shape),
        tokens=np.array(said.tokens, np.int64),
        cut=np.array(said.cut, np.int64),
        model=said.model,
        version=said.version,
    )


class TextFlow:
    """What flows through a stream of texts; see ``flow.Subject``.

    Args:
        model: that embeds them.
        manner: how.
        key: chooses the side of a canary.
    """

    method = "Embeddings.EmbedStream"

    def __init__(self, model: str, manner: Manner, key: str | None) -> None:
        self._opening = message(wire.EmbedOpen, model=model, options=manner.message(), key=key)

    def opening(self) -> wire.EmbedStreamRequest:
        return wire.EmbedStreamRequest(open=self._opening)

    def chunk(self, given: Iterable[str]) -> wire.EmbedStreamRequest:
        texts = [text.encode() for text in texts_of(given)]
        return wire.EmbedStreamRequest(chunk=wire.EmbedChunk(texts=texts))

    def answer(self, asked: wire.EmbedStreamRequest, reply: Any, /) -> Embeddings:
        found = embeddings_of(reply, len(asked.chunk.texts))
        self._opening.model = found.ref  # if the stream breaks, the same version goes on
        return found


def _parts(texts: Sequence[str], prompt: str) -> Iterator[list[bytes]]:
    """The texts in parts that fit a message; no texts are one part, for the server to refuse."""
    before = len(prompt.encode("utf-8", "replace"))
    if not texts:
        yield []
    yield from parted(map(str.encode, texts), lambda data: len(data) + before, TEXTS)
