"""The door of generation: ``foretoken.v1.Generation``.

What a stream knows is local to its handler. However the stream ends, the work for it is cancelled,
which gives back all that the engine keeps for it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from foretoken.errors import InvalidInput
from foretoken.generated import SearchProgress
from foretoken.models.depth.requests import SearchReply
from foretoken.models.tasks import GenerationReply
from foretoken.proto import generation as wire
from foretoken.proto.loading import service
from foretoken.server.admin import Admin
from foretoken.server.doors import generation_messages as messages
from foretoken.server.doors.generation_messages import Reading
from foretoken.server.doors.service import Bidirectional, Call, Service, Stream, Unary
from foretoken.server.menus import MenuStored, build_menu
from foretoken.server.plane import Answers, Plane
from foretoken.server.prompts import detokenized, expect_generative, tokenized
from foretoken.server.registry.loaded import Loaded
from foretoken.server.settings import Settings
from foretoken.server.terms import Scope, Terms

__all__ = ["generation"]


def generation(plane: Plane, admin: Admin, settings: Settings) -> Service:
    """The service, answered by ``plane`` within the limits of ``settings``.

    Menus are stored by ``admin``.
    """
    door = _Door(plane, admin, settings)
    return Service(
        service("foretoken/v1/generation.proto", "Generation"),
        {
            "Generate": Bidirectional(door.generate),
            "Score": Unary(door.score),
            "Tokenize": Unary(door.tokenize),
            "Search": Bidirectional(door.search),
        },
    )


class _Door:
    def __init__(self, plane: Plane, admin: Admin, settings: Settings) -> None:
        self._plane = plane
        self._admin = admin
        self._read = Reading(settings)

    async def generate(self, stream: Stream, call: Call) -> None:
        asked, terms, loaded = await self._begin(stream, call)
        request = self._read.generation(asked, secrets.randbits(63))
        version, seed = loaded.version, request.sampling.seed
        begun = wire.Begun(model=version.name, version=version.number, seed=seed)
        # Not before there is more to tell: whoever has heard nothing may ask again.
        first = [wire.GenerateResponse(begun=begun)]
        answers = await self._told(loaded, request, terms, stream, messages.told, first)
        call.answered(answers)
        reply: GenerationReply = answers.replies[0]
        await stream.write(messages.ended(reply, answers.version))

    async def score(self, asked: wire.ScoreRequest, call: Call) -> wire.ScoreResponse:
        terms = _keyed(call.terms, asked.key)
        loaded = await self._plane.describe(asked.model, terms)
        answers = await self._plane.answer(loaded, [self._read.scoring(asked)], terms)
        call.answered(answers)
        return messages.scored(answers.replies[0], answers.version)

    async def tokenize(self, asked: wire.TokenizeRequest, call: Call) -> wire.TokenizeResponse:
        loaded = await self._plane.describe(asked.model, _keyed(call.terms, asked.key))
        prompt = self._read.prompt(asked.prompt)
        if isinstance(prompt, str):
            ids, text = await tokenized(loaded, prompt), prompt
        else:
            ids = tuple(prompt.tolist())
            text = await detokenized(loaded, ids)
        version = loaded.version
        return wire.TokenizeResponse(ids=ids, text=text, model=version.name, version=version.number)

    async def search(self, stream: Stream, call: Call) -> None:
        asked, terms, loaded = await self._begin(stream, call)
        what = asked.WhichOneof("what")
        if what == "problems":
            terms = _keyed(stream.expect(Scope.ADMIN), asked.key)
            await self._menu(asked, terms, loaded, stream)
            return
        if what is None:
            raise InvalidInput("give a problem, or problems to make a menu of")
        request = self._read.search(asked)
        answers = await self._told(loaded, request, terms, stream, _searched)
        call.answered(answers)
        reply: SearchReply = answers.replies[0]
        await stream.write(messages.found(reply, answers.version))

    async def _menu(
        self, asked: wire.SearchRequest, terms: Terms, loaded: Loaded, stream: Stream
    ) -> None:
        rows, options = self._read.menu(asked)
        made = build_menu(self._plane, self._admin, loaded.version.ref, rows, options, terms)
        async with aclosing(made):
            async for each in made:
                stream.expect(None)  # it takes hours, and tokens are revoked meanwhile
                if isinstance(each, MenuStored):
                    await stream.write(messages.stored(each))
                else:
                    await stream.write(messages.menu_progress(each))

    async def _begin(self, stream: Stream, call: Call) -> tuple[Any, Terms, Loaded]:
        """The message of a stream that has one, on whose terms it is answered, and by what."""
        asked = await stream.read()
        if asked is None:
            raise InvalidInput("the stream ended before a request came")
        terms = _keyed(call.terms, asked.key)
        loaded = await self._plane.describe(asked.model, terms)
        expect_generative(loaded)
        self._plane.expect_time(loaded, terms)
        return asked, terms, loaded

    async def _told(
        self,
        loaded: Loaded,
        request: Any,
        terms: Terms,
        stream: Stream,
        said: Callable[[Any], Any],
        first: Sequence[Any] = (),
    ) -> Answers:
        """The answer to a request whose partial replies are written, as ``said``, as they come.

        ``first`` is written before them.
        """
        heard: asyncio.Queue[Any] = asyncio.Queue()  # no longer than the answer
        answering = asyncio.ensure_future(
            self._plane.answer(loaded, [request], terms, lambda _i, each: heard.put_nowait(each))
        )
        answering.add_done_callback(lambda _: heard.put_nowait(None))
        try:
            while (each := await heard.get()) is not None:
                for message in (*first, said(each)):
                    await stream.write(message)
                first = ()
            return await answering
        finally:
            if not answering.done():
                answering.cancel()
                await asyncio.wait([answering])
            if not answering.cancelled():
                answering.exception()  # told already, or to nobody


def _searched(each: SearchProgress) -> wire.SearchResponse:
    return wire.SearchResponse(progress=messages.progress(each))


def _keyed(terms: Terms, key: str) -> Terms:
    return replace(terms, key=key) if key else terms
