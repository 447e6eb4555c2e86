"""Texts on ``grpc``: the part of ``Client`` that embeds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TypeVar

from foretoken.client import embeddings
from foretoken.client.blocking_transport import Transport
from foretoken.client.embeddings import Manner, TextFlow
from foretoken.client.flow import flowing
from foretoken.client.operations import Steps
from foretoken.embeddings import Embeddings

__all__ = ["Texts"]

R = TypeVar("R")


class Texts(ABC):
    """See ``Client``."""

    _transport: Transport

    def embed(
        self,
        model: str,
        texts: Iterable[str],
        dimensions: int | None = None,
        prompt: str | None = None,
        truncate: str = "end",
        *,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Embeddings:
        """Vectors of texts, in as many calls as they take, all by one version.

        Args:
            model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
            texts: at least one.
            dimensions: of the vectors, if the model knows others than its own.
            prompt: put before each text, such as what the model expects of queries.
            truncate: "end" cuts what is too long and says how much, "error" refuses it.
            key: chooses the side of a canary; the same key is always on the same side.
            timeout: seconds.
        """
        manner = Manner(dimensions, prompt, truncate)
        return self._run(embeddings.embed(model, texts, manner, key), timeout)

    def embed_stream(
        self,
        model: str,
        chunks: Iterable[Iterable[str]],
        dimensions: int | None = None,
        prompt: str | None = None,
        truncate: str = "end",
        *,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[Embeddings]:
        """Vectors of any number of texts, an answer for each chunk, in order, by one version.

        A few chunks are on their way at a time; ``chunks`` is read as fast as they are answered.
        A connection that is lost is made anew, and no chunk with it.

        Args:
            model: see ``embed``, as for those that follow.
            chunks: lists of texts; how many a chunk may have is the server's setting ``texts``.
            dimensions: of the vectors.
            prompt: put before each text.
            truncate: "end" or "error".
            key: chooses the side of a canary.
            timeout: seconds for each answer.
        """
        flow = TextFlow(model, Manner(dimensions, prompt, truncate), key)
        return flowing(self._transport, flow, chunks, self._seconds(timeout))

    @abstractmethod
    def _run(self, steps: Steps[R], timeout: float | None) -> R: ...

    @abstractmethod
    def _seconds(self, timeout: float | None) -> float: ...
