"""Answers by models that generate, at once or as they come, in either of OpenAI's forms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from starlette.responses import JSONResponse, Response

from foretoken.models.kinds import Generative
from foretoken.models.tasks import GenerationReply, Token
from foretoken.server.answers import Answers
from foretoken.server.doors.web.openai.asked import Asked
from foretoken.server.doors.web.openai.events import DONE, Events, event
from foretoken.server.doors.web.openai.pieces import Pieces

if TYPE_CHECKING:
    from foretoken.server.doors.web.openai.calls import Call
    from foretoken.server.plane import Plane

__all__ = ["Form", "Generating"]

# A token and the choice that it belongs to, or that there is nothing more.
Heard: TypeAlias = "asyncio.Queue[tuple[int, Token] | None]"


class Form(Protocol):
    """What completions and chats say differently."""

    prefix: str  # of an answer's id
    whole: str  # what an answer is called
    part: str  # what a part of one that is streamed is called

    def parsed(self, body: bytes) -> Asked:
        """The request that a body is.

        Raises:
            InvalidInput: naming the field that is not acceptable.
        """

    def choice(self, text: str, logprobs: Any) -> dict[str, Any]:
        """A choice, but for its place and its end."""

    def opening(self) -> dict[str, Any] | None:
        """What goes before the first text of a choice that is streamed."""

    def delta(self, text: str, logprobs: Any) -> dict[str, Any]:
        """More of a choice that is streamed."""

    def logprobs(self, tokens: Sequence[Token], pieces: Pieces, offset: int) -> dict[str, Any]:
        """Logarithms of tokens' probabilities; their text begins ``offset`` characters on."""


class Generating:
    """Answers calls.

    Args:
        plane: that generates.
        form: of calls and answers.
    """

    def __init__(self, plane: Plane, form: Form) -> None:
        self._plane = plane
        self._form = form

    async def answer(self, call: Call) -> Response:
        """Choices for the prompts that a call brings."""
        asked = self._form.parsed(await call.body())
        loaded = await self._plane.describe(asked.model, call.terms)
        version, piece = loaded.version, cast("Generative", loaded.predictor)
        answer = _Answer(self._form, asked, call.id, version.ref, piece)
        call.answered(version)
        if not asked.stream:
            work = self._plane.answer(loaded, asked.requests, call.terms)
            answers = await call.unless_gone(work)
            if asked.logprobs:  # which are many
                return await asyncio.to_thread(answer.whole, answers.replies)
            return answer.whole(answers.replies)
        heard: Heard = asyncio.Queue()

        def hear(choice: int, token: Token) -> None:
            heard.put_nowait((choice, token))

        asking = self._plane.answer(loaded, asked.requests, call.terms, hear)
        working = asyncio.ensure_future(asking)
        working.add_done_callback(lambda _done: heard.put_nowait(None))
        try:
            first = await call.unless_gone(heard.get())
            if first is None:
                working.result()  # what was refused is no stream
        except BaseException:
            working.cancel()
            raise
        return Events(answer.parts(first, heard, working), working)


class _Answer:
    """One answer, as it is written."""

    def __init__(
        self, form: Form, asked: Asked, name: str, model: str, predictor: Generative
    ) -> None:
        self._form = form
        self._asked = asked
        self._head = {"id": f"{form.prefix}-{name}", "created": int(time.time()), "model": model}
        self._pieces = Pieces(predictor)
        # Characters of each choice that were told, and choices that go on.
        self._offsets = [0] * len(asked.requests)
        self._going = set(range(len(asked.requests)))

    def whole(self, replies: Sequence[GenerationReply]) -> Response:
        """All of it at once."""
        choices = [
            {
                "index": i,
                **self._form.choice(reply.text, self._logprobs(reply.tokens, 0)),
                "finish_reason": reply.finish,
            }
            for i, reply in enumerate(replies)
        ]
        said = {"object": self._form.whole, **self._head, "choices": choices}
        used = {"usage": self._usage(replies), "foretoken": self._own(replies)}
        return JSONResponse(said | used)

    async def parts(
        self, first: tuple[int, Token] | None, heard: Heard, working: asyncio.Future[Answers]
    ) -> AsyncGenerator[bytes, None]:
        """Events, those of what is there already together."""
        if (opening := self._form.opening()) is not None:
            yield b"".join(self._part(i, opening) for i in range(len(self._offsets)))
        async for tokens in _together(first, heard):
            if events := b"".join(part for token in tokens for part in self._more(*token)):
                yield events
        yield b"".join(self._last((await working).replies))

    def _more(self, choice: int, token: Token) -> Iterator[bytes]:
        if token.text or self._asked.logprobs:
            logprobs = self._logprobs([token], self._offsets[choice])
            self._offsets[choice] += len(token.text)
            yield self._part(choice, self._form.delta(token.text, logprobs))
        # The last choice ends with what is told of all.
        if token.finish and len(self._going) > 1:
            self._going.discard(choice)
            yield self._end(choice, token.finish)

    def _last(self, replies: Sequence[GenerationReply]) -> Iterator[bytes]:
        *others, last = sorted(self._going)  # tokens of graphs do not say that they end an answer
        yield from (self._end(i, replies[i].finish) for i in others)
        yield self._end(last, replies[last].finish, foretoken=self._own(replies))
        if self._asked.usage:
            head = {"object": self._form.part, **self._head}
            yield event({**head, "choices": [], "usage": self._usage(replies)})
        yield DONE

    def _end(self, choice: int, finish: str, **own: Any) -> bytes:
        return self._part(choice, self._form.delta("", None), finish, **own)

    def _part(
        self, choice: int, told: dict[str, Any], finish: str | None = None, **own: Any
    ) -> bytes:
        one = {"index": choice, **told, "finish_reason": finish}
        if self._asked.usage:
            own["usage"] = None  # yet
        return event({"object": self._form.part, **self._head, "choices": [one], **own})

    def _logprobs(self, tokens: Sequence[Token], offset: int) -> dict[str, Any] | None:
        if not self._asked.logprobs:
            return None
        return self._form.logprobs(tokens, self._pieces, offset)

    def _usage(self, replies: Sequence[GenerationReply]) -> dict[str, Any]:
        """Tokens, those of a prompt counted once for all of its choices."""
        prompts = replies[:: self._asked.n]
        read = sum(reply.prompt for reply in prompts)
        made = sum(len(reply.tokens) for reply in replies)
        return {
            "prompt_tokens": read,
            "completion_tokens": made,
            "total_tokens": read + made,
            "prompt_tokens_details": {"cached_tokens": sum(reply.reused for reply in prompts)},
        }

    def _own(self, replies: Sequence[GenerationReply]) -> dict[str, Any]:
        """What OpenAI has no place for, of all choices together."""
        return {
            "chain": list(replies[0].chain),
            "layers_run": sum(reply.layers_run for reply in replies),
            "cached_tokens": sum(reply.reused for reply in replies),
            "seed": self._asked.seed,
        }


async def _together(
    first: tuple[int, Token] | None, heard: Heard
) -> AsyncGenerator[list[tuple[int, Token]], None]:
    """Tokens in order, as many at a time as are there, until there is nothing more."""
    more = first
    while more is not None:
        there = [more]
        while not heard.empty() and (more := heard.get_nowait()) is not None:
            there.append(more)
        yield there
        if more is not None:
            more = await heard.get()
