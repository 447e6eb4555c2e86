"""Generation in-process: prompts to tokens as they come, and searches, for who does not await."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from foretoken.errors import Cancelled, FailedPrecondition, InternalError
from foretoken.generated import Answer, Found, Menu, MenuProgress, SearchProgress, Token
from foretoken.models.depth.requests import SearchRequest
from foretoken.models.tasks import GenerationReply, GenerationRequest
from foretoken.server.admin import Admin
from foretoken.server.answers import Answers
from foretoken.server.menus import LabelledRow, MenuOptions, MenuStored, build_menu
from foretoken.server.plane import Plane
from foretoken.server.prompts import tokenized
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

if TYPE_CHECKING:
    from foretoken.server import menus

__all__ = ["Generating", "LocalPrompts"]

T = TypeVar("T")
_END: Any = object()


class Generating:
    """An answer on its way: an iterator of tokens.

    To close it, or to leave it as a context manager, ends the work for it.

    Args:
        begin: begins the work, of what is told every token as it comes.
        seed: of what is drawn.
    """

    def __init__(
        self, begin: Callable[[Callable[[Any], None]], Future[Answers]], seed: int
    ) -> None:
        self._heard: SimpleQueue[Any] = SimpleQueue()
        self._seed = seed
        self._work = begin(self._heard.put)
        self._work.add_done_callback(lambda _: self._heard.put(_END))
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Token:
        """The next token, once it is there.

        Raises:
            ForetokenError: as ``Plane.predict`` does.
        """
        if self._ended:
            raise StopIteration
        try:
            token = self._heard.get()
        except BaseException:  # Ctrl-C ends the waiting, so the work is to end as well
            self.close()
            raise
        if token is not _END:
            return token  # type: ignore[no-any-return]
        self._ended = True
        if self._work.cancelled():
            raise Cancelled("the work for this answer was given up")
        self._work.result()
        raise StopIteration

    @property
    def reply(self) -> Answer:
        """The whole answer, after its last token.

        Raises:
            FailedPrecondition: it has not ended.
        """
        if not self._work.done() or self._work.cancelled() or self._work.exception() is not None:
            raise FailedPrecondition("the answer has not ended; take all of its tokens first")
        answers = self._work.result()
        reply: GenerationReply = answers.replies[0]
        return Answer(
            tokens=reply.tokens,
            finish=reply.finish,
            chain=reply.chain,
            layers_run=reply.layers_run,
            prompt_tokens=reply.prompt,
            cached_tokens=reply.reused,
            model=answers.version.name,
            version=answers.version.number,
            seed=self._seed,
        )

    def close(self) -> None:
        """End it now."""
        self._ended = True
        self._work.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class LocalPrompts(ABC):
    """See ``LocalPlane``."""

    plane: Plane
    _loop: asyncio.AbstractEventLoop
    _settings: Settings

    def generate(
        self, model: str, request: GenerationRequest, key: str | None = None
    ) -> Generating:
        """Continue a prompt; an iterator gives each token as it comes, and the answer at its end.

        Args:
            model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
            request: what to continue, and how.
            key: decides which side of a canary answers.
        """

        def begin(emit: Callable[[Any], None]) -> Future[Answers]:
            work = self._predicted(model, request, Terms(key=key), emit)
            return asyncio.run_coroutine_threadsafe(work, self._loop)

        return Generating(begin, request.sampling.seed)

    def tokens(self, model: str, text: str) -> tuple[int, ...]:
        """The tokens of a text."""
        return self.run(self._tokens(model, text))

    def search(
        self,
        model: str,
        request: SearchRequest,
        heard: Callable[[SearchProgress], None] = lambda _progress: None,
    ) -> Found:
        """Search for chains of layers by which a model answers a prompt right.

        Args:
            model: as of ``generate``.
            request: the prompt, what says which answers are right, and options.
            heard: is told how far the search is, from another thread.
        """
        answers = self.run(self._predicted(model, request, Terms(), heard))
        reply, version = answers.replies[0], answers.version
        return Found(reply.layers, reply.tried, version.name, version.number)

    def search_rows(
        self,
        model: str,
        rows: Sequence[LabelledRow],
        options: MenuOptions | None = None,
        heard: Callable[[MenuProgress], None] = lambda _progress: None,
    ) -> Menu:
        """Make a menu of labelled prompts, and store it as a child version; see ``build_menu``.

        ``heard`` is told how far it is, from another thread.
        """
        return self.run(self._menu(model, rows, options, heard))

    async def _predicted(
        self, model: str, request: Any, terms: Terms, emit: Callable[[Any], None]
    ) -> Answers:
        await self.plane.follow(everything=True)
        return await self.plane.predict(model, [request], terms, lambda _i, each: emit(each))

    async def _tokens(self, model: str, text: str) -> tuple[int, ...]:
        await self.plane.follow(everything=True)
        return await tokenized(await self.plane.describe(model), text)

    async def _menu(
        self,
        model: str,
        rows: Sequence[LabelledRow],
        options: MenuOptions | None,
        heard: Callable[[MenuProgress], None],
    ) -> Menu:
        await self.plane.follow(everything=True)
        admin = Admin(self.plane, self.plane.follow, self._settings.upload_bytes)
        made = build_menu(self.plane, admin, model, rows, options)
        try:
            async with aclosing(made):
                async for each in made:
                    if isinstance(each, MenuStored):
                        version = each.version
                        return Menu(
                            version.name, version.number, each.chains, each.chooser, each.figures
                        )
                    heard(_told(each))
        finally:
            admin.close()
        raise InternalError("a menu was made, and not stored")

    @abstractmethod
    def run(self, work: Coroutine[Any, Any, T]) -> T: ...


def _told(done: menus.MenuProgress) -> MenuProgress:
    found = done.found
    if found is None:
        return MenuProgress(done.stage, done.done, done.total, done.row)
    return MenuProgress(done.stage, done.done, done.total, done.row, found.layers, found.tried)
