"""Texts as vectors, in the caller's own process or by a server. Letters: N texts, D dimensions."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foretoken.arrays import texts as texts_of
from foretoken.embeddings import Embeddings, joined, parted
from foretoken.errors import ForetokenWarning, InvalidInput

# Neither a server's packages nor gRPC are needed for the other way of answering.
if TYPE_CHECKING:
    from foretoken.client import Client

MODEL = "static-minilm"  # in the box
CHUNK = 1024  # texts of one message


class Embedder:
    """Makes vectors of texts that are close where texts say much the same.

    Args:
        model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
        server: None answers in this process; else a server's "host:port", or a ``foretoken.Client``
            with a token or TLS.
        data_dir: of the registry in this process; the default is that of the command line.

    Attributes:
        tokens: of the last call of ``embed``: how many the model read of each text, int64 [N].
        cut: of the same: how many were cut off, int64 [N].

    Raises:
        InvalidInput: if ``server`` is no address, or there is a data dir beside it.
    """

    tokens: NDArray[np.int64]
    cut: NDArray[np.int64]

    def __init__(
        self,
        model: str = MODEL,
        server: str | Client | None = None,
        *,
        data_dir: Path | str | None = None,
    ) -> None:
        if server is not None and data_dir is not None:
            raise InvalidInput("data_dir is this process's own; a server has its registry itself")
        self.model = model
        self.server = server
        self.data_dir = data_dir
        if isinstance(server, str):
            _ = self._client  # refuses what is no address

    def embed(
        self,
        texts: Iterable[str],
        dimensions: int | None = None,
        prompt: str | None = None,
        truncate: str = "end",
    ) -> NDArray[np.float32]:
        """Vectors of texts, float32 [N, D].

        Args:
            texts: at least one; any number.
            dimensions: D, if the model knows others than its own.
            prompt: put before each text, such as what the model expects of queries.
            truncate: "end" cuts what is too long, warns once and says in ``cut`` how much;
                "error" refuses it.

        Raises:
            InvalidInput: for anything unusable; the text is named.
            NotFound: if there is no such model.
            ForetokenError: what else ``foretoken.Client`` raises, if a server answers.
        """
        given = texts_of(texts)
        if not given:
            raise InvalidInput("texts must not be empty; give at least one")
        # In this process one request takes them all, and tells of each by its place.
        chunks: Iterable[Sequence[str]] = [given]
        if self.server is not None:
            before = len(str(prompt or "").encode("utf-8", "replace"))
            chunks = parted(given, lambda text: len(text.encode()) + before, CHUNK)
        parts: list[Embeddings] = []
        try:
            parts += self.stream(chunks, dimensions, prompt, truncate)
        except InvalidInput as e:
            if not (start := sum(map(len, parts))):
                raise
            raise type(e)(f"of the texts from {start} on: {e}") from e
        found = joined(parts)
        self.tokens, self.cut = found.tokens, found.cut
        if cut := np.count_nonzero(found.cut):
            warnings.warn(
                f"{cut} of {len(given)} texts are longer than {self.model} reads; their ends were "
                "cut off, and cut says how much: split them to have all of them count",
                ForetokenWarning,
                stacklevel=2,
            )
        return found.vectors

    def stream(
        self,
        chunks: Iterable[Sequence[str]],
        dimensions: int | None = None,
        prompt: str | None = None,
        truncate: str = "end",
    ) -> Iterator[Embeddings]:
        """Vectors of any number of texts, chunk after chunk, in little memory.

        Args:
            chunks: lists of texts, at most 2,048 each unless the server says otherwise; they are
                read as fast as they are answered.
            dimensions: see ``embed``, as for those that follow.
            prompt: put before each text.
            truncate: "end" or "error".

        Yields:
            For each chunk its vectors and counts; one version answers for all.
        """
        if self.server is None:
            return self._locally(chunks, dimensions, prompt, truncate)
        return self._client.embed_stream(self.model, chunks, dimensions, prompt, truncate)

    def _locally(
        self,
        chunks: Iterable[Sequence[str]],
        dimensions: int | None,
        prompt: str | None,
        truncate: str,
    ) -> Iterator[Embeddings]:
        from foretoken.models.tasks import TextRequest  # noqa: PLC0415
        from foretoken.server.app import local_plane  # noqa: PLC0415
        from foretoken.server.settings import load_settings  # noqa: PLC0415

        here = None if self.data_dir is None else Path(self.data_dir)
        plane, model = local_plane(load_settings(data_dir=here)), self.model
        for chunk in chunks:
            request = TextRequest(texts_of(chunk), dimensions, prompt, truncate)
            answers = plane.answer(model, [request])
            reply, version = answers.replies[0], answers.version
            model = version.ref
            yield Embeddings(reply.vectors, reply.tokens, reply.cut, version.name, version.number)

    @cached_property
    def _client(self) -> Client:
        from foretoken.client import Client  # noqa: PLC0415

        return self.server if isinstance(self.server, Client) else Client(str(self.server))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_client"}
