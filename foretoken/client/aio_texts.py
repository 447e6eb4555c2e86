"""Texts on ``grpc.aio``: the part of ``AsyncClient`` that embeds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TypeVar

from foretoken.client import embeddings
from foretoken.client.aio_transport import Transport
from foretoken.client.embeddings import Manner, TextFlow
from foretoken.client.flow import aflowing
from foretoken.client.operations import Steps
from foretoken.embeddings import Embeddings

__all__ = ["AsyncTexts"]

R = TypeVar("R")


class AsyncTexts(ABC):
    """See ``AsyncClient``."""

    _transport: Transport

    async def embed(
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
        """See ``Client.embed``."""
        manner = Manner(dimensions, prompt, truncate)
        return await self._run(embeddings.embed(model, texts, manner, key), timeout)

    def embed_stream(
        self,
        model: str,
        chunks: Iterable[Iterable[str]] | AsyncIterable[Iterable[str]],
        dimensions: int | None = None,
        prompt: str | None = None,
        truncate: str = "end",
        *,
        key: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Embeddings]:
        """See ``Client.embed_stream``; ``chunks`` may be asynchronous."""
        flow = TextFlow(model, Manner(dimensions, prompt, truncate), key)
        return aflowing(self._transport, flow, chunks, self._seconds(timeout))

    @abstractmethod
    async def _run(self, steps: Steps[R], timeout: float | None) -> R: ...

    @abstractmethod
    def _seconds(self, timeout: float | None) -> float: ...
