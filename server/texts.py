"""Text requests of one plane: long ones in pieces apart from short ones, no text twice at a time.

A request of many texts is cut into pieces, each of texts of much the same length. A few of them
wait at a time, apart from what is short, and run in threads that give way to the others: a batch
that runs cannot be stopped for a short text, but it can be slowed down. A text that is being
embedded already in the same way, for this request or another one of the same tenant, is waited for
rather than embedded again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from foretoken.embeddings import parted
from foretoken.errors import DeadlineExceeded, InvalidInput, Overloaded
from foretoken.models.tasks import TextReply, TextRequest
from foretoken.server.engine.batcher import Batcher
from foretoken.server.engine.drive import Times, drive
from foretoken.server.engine.lane import Limits
from foretoken.server.registry.loaded import Loaded
from foretoken.server.terms import Terms

__all__ = ["Texts"]

R = TypeVar("R")

WRITTEN = 4  # characters of a token, roughly
TEXTS, CHARACTERS = 128, 1 << 14  # of a piece at most; a longer text is a piece of its own


@dataclass(frozen=True, eq=False, slots=True)
class _Piece:
    """Texts that somebody embeds, each once, with its row; ``done`` is cancelled if that fails."""

    rows: Mapping[str, int]
    done: asyncio.Future[TextReply]


@dataclass(frozen=True, eq=False)
class _Asked:
    """A request on its way; ``found`` has the reply and the row of each text that is embedded."""

    loaded: Loaded
    request: TextRequest
    terms: Terms
    times: Times
    bulk: bool  # whether it is long
    found: dict[str, tuple[TextReply, int]] = field(default_factory=dict)

    @property
    def way(self) -> tuple[Any, ...]:
        """All that the vector of a text depends on beside it, and on which terms it is embedded."""
        request, terms = self.request, self.terms
        tenant = terms.caller.tenant  # nobody else's waiting tells what a tenant asks
        same = request.dimensions, request.prompt
        return self.loaded, *same, tenant, terms.priority, self.bulk


class Texts:
    """Answers text requests; it belongs to one event loop.

    Args:
        batcher: runs the calls of short requests.
        bulk: runs those of long ones, in threads that give way to the others.
        slots: calls that may run at once in either.
    """

    def __init__(self, batcher: Batcher, bulk: Batcher, slots: int) -> None:
        self._batcher, self._bulk = batcher, bulk
        self._abreast = slots + 1  # pieces of a request: one waits while the others run
        self._under_way: dict[tuple[Any, ...], dict[str, _Piece]] = {}

    async def answer(
        self, loaded: Loaded, requests: Sequence[TextRequest], terms: Terms, times: Times
    ) -> list[TextReply]:
        """Embed the texts of some requests, side by side.

        Args:
            loaded: by which model.
            requests: of any number of texts.
            terms: of the requests.
            times: receives what was spent on the texts that nobody else had asked for.

        Raises:
            InvalidInput: if the request is not acceptable to the model, or a text is too long and
                not to be cut; it is named by its place in the request.
            Overloaded: if there is no room or no time; but for what has begun, room is waited for.
            ForetokenError: whatever else ``drive`` raises.
        """
        if len(requests) == 1:
            return [await self._answer(loaded, requests[0], terms, times)]
        works = [self._answer(loaded, request, terms, times) for request in requests]
        return await _together(works)

    async def _answer(
        self, loaded: Loaded, request: TextRequest, terms: Terms, times: Times
    ) -> TextReply:
        distinct = tuple(dict.fromkeys(request.texts))
        before = len(request.prompt or "")
        bulk = sum(map(len, distinct)) + before * len(distinct) > _short(loaded)
        asked = _Asked(loaded, request, terms, times, bulk)
        first, *others = _cut(distinct, before)
        await self._embed(asked, first)
        if others:
            waiting = iter(others)
            abreast = min(self._abreast, _share(loaded))
            await _together([self._patiently(asked, waiting) for _ in range(abreast)])
        return _reply(request, asked.found)

    async def _patiently(self, asked: _Asked, pieces: Iterator[Sequence[str]]) -> None:
        """Embed one piece after the other; what was begun is not refused, but waits for room."""
        for texts in pieces:
            while True:
                try:
                    await self._embed(asked, texts)
                    break
                except Overloaded as e:
                    if asked.terms.left <= e.retry_after:
                        raise
                    await asyncio.sleep(e.retry_after)

    async def _embed(self, asked: _Asked, texts: Sequence[str]) -> None:
        """Have texts embedded: here, unless somebody does it already; if that fails, here then."""
        way, left = asked.way, texts
        while left:
            under_way = self._under_way.setdefault(way, {})
            others = dict.fromkeys(under_way[text] for text in left if text in under_way)
            own = [text for text in left if text not in under_way]
            if own:
                await self._embed_here(asked, own, under_way)
            if others:
                await _landed(others, asked.terms)
                for text in left:
                    for piece in others:
                        if text in piece.rows and not piece.done.cancelled():
                            asked.found[text] = piece.done.result(), piece.rows[text]
            left = [text for text in left if text not in asked.found]
        if asked.request.truncate == "error":
            _expect_whole(asked, texts)

    async def _embed_here(
        self, asked: _Asked, texts: Sequence[str], under_way: dict[str, _Piece]
    ) -> None:
        loaded, rows = asked.loaded, {text: row for row, text in enumerate(texts)}
        piece = _Piece(rows, asyncio.get_running_loop().create_future())
        under_way.update(dict.fromkeys(texts, piece))
        try:
            # Which text of the request is too long, a piece of it cannot tell.
            request = replace(asked.request, texts=tuple(texts), truncate="end")
            steps = [loaded.predictor.predict(request)]
            lanes, batcher = loaded.lanes, self._batcher
            if asked.bulk:
                lanes, batcher = loaded.bulk, self._bulk
            made = await drive(steps, lanes, batcher, asked.terms, times=asked.times)
            piece.done.set_result(made[0])
        finally:
            piece.done.cancel()  # which does nothing to what has succeeded
            for text in texts:
                del under_way[text]
            if not under_way:
                self._under_way.pop(asked.way, None)
        asked.found.update((text, (made[0], row)) for text, row in rows.items())


async def _landed(pieces: Mapping[_Piece, None], terms: Terms) -> None:
    """Wait until all pieces are done, well or not.

    Raises:
        DeadlineExceeded: if the deadline passes.
    """
    left = None if terms.deadline == math.inf else max(0.0, terms.left)
    _, late = await asyncio.wait([piece.done for piece in pieces], timeout=left)
    if late:
        raise DeadlineExceeded("the deadline passed before the answer was there")


async def _together(works: Sequence[Coroutine[Any, Any, R]]) -> list[R]:
    """Results of all; when one fails, the others are cancelled and its error raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _short(loaded: Loaded) -> int:
    """Characters of requests that no long ones hold up: about those of one batch's tokens."""
    limits = (lane.limits.batch_tokens for lane in loaded.lanes.values())
    return WRITTEN * min(limits, default=Limits.batch_tokens)


def _share(loaded: Loaded) -> int:
    """Pieces of one request that may wait at once: they leave half of the queue to others."""
    queues = (lane.limits.queue for lane in loaded.lanes.values())
    return max(1, min(queues, default=Limits.queue) // (2 * TEXTS))


def _cut(texts: Sequence[str], before: int) -> Iterator[Sequence[str]]:
    """The texts, with so many characters before each, in pieces, shorter ones first."""
    return parted(sorted(texts, key=len), lambda text: len(text) + before, TEXTS, CHARACTERS)


def _expect_whole(asked: _Asked, texts: Sequence[str]) -> None:
    """Refuse texts that were cut."""
    for text in texts:
        reply, row = asked.found[text]
        if cut := int(reply.cut[row]):
            read = int(reply.tokens[row])
            raise InvalidInput(
                f"text {asked.request.texts.index(text)} has {read + cut} tokens, of which "
                f"{asked.loaded.version.name} reads {read}: shorten it, or let truncate be 'end', "
                "which cuts it and says how much"
            )


def _reply(request: TextRequest, found: Mapping[str, tuple[TextReply, int]]) -> TextReply:
    """Rows of replies in the order of the request."""
    places = [found[text] for text in request.texts]
    first = places[0][0]
    if all(reply is first for reply, _ in places):
        rows = [row for _, row in places]  # copied: other requests may have the same
        return TextReply(first.vectors[rows], first.tokens[rows], first.cut[rows])
    return TextReply(
        np.stack([reply.vectors[row] for reply, row in places]),
        np.array([reply.tokens[row] for reply, row in places], np.int64),
        np.array([reply.cut[row] for reply, row in places], np.int64),
    )
