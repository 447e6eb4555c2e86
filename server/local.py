"""In-process use: a plane on an event loop in a thread of its own, asked synchronously."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from foretoken.models.contract import Array
from foretoken.models.tasks import SequenceReply
from foretoken.records import ContextRecord, SnapshotRecord
from foretoken.server.contexts.contexts import Fitted
from foretoken.server.local_prompts import LocalPrompts
from foretoken.server.plane import Answers, Plane
from foretoken.server.registry.registry import Registry
from foretoken.server.sessions.session import Resume, Session, SessionOptions, Want
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

__all__ = ["LocalPlane"]

T = TypeVar("T")


class LocalPlane(LocalPrompts):
    """A plane for callers that do not await; safe to share between threads.

    Args:
        registry: where versions are found; the caller closes it.
        settings: for what a version's serving options leave open.
    """

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.registry = registry
        self.plane = Plane(registry, settings)
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="foretoken-plane", daemon=True
        )
        self._thread.start()

    def predict(self, model: str, requests: Sequence[Any], key: str | None = None) -> list[Any]:
        """Answer ``requests`` as ``Plane.predict`` does, by what the registry says now.

        Args:
            model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
            requests: all of one task.
            key: decides which side of a canary answers.
        """
        return self.answer(model, requests, key).replies

    def answer(self, model: str, requests: Sequence[Any], key: str | None = None) -> Answers:
        """The same, with the version that answered, and whether contexts were there.

        ``model`` may be empty for requests with a context.
        """
        return self.run(self._answer(model, requests, Terms(key=key)))

    def fit(self, model: str, request: Any, key: str | None = None) -> Fitted:
        """Fit a training set and keep it; see ``Plane.fit``."""
        terms = Terms(key=key)
        return self.run(self._followed(lambda: self.plane.fit(model, request, terms)))

    def measure(self, model: str, request: Any, key: str | None = None) -> int:
        """Bytes that the context of a training set would take; see ``Plane.measure``."""
        terms = Terms(key=key)
        return self.run(self._followed(lambda: self.plane.measure(model, request, terms)))

    def context(self, context: str) -> ContextRecord:
        """What there is to know of a context; see ``Plane.context``."""
        return self.run(self.plane.context(context))

    def contexts(self, model: str | None = None) -> list[ContextRecord]:
        """All contexts, of one model or of all; see ``Plane.contexts``."""
        return self.run(self.plane.contexts(model=model))

    def delete_context(self, context: str) -> None:
        """Erase a context; see ``Plane.delete_context``."""
        self.run(self.plane.delete_context(context))

    def open_session(
        self,
        model: str,
        options: SessionOptions | None = None,
        resume: Resume | None = None,
        key: str | None = None,
    ) -> Session:
        """Begin a session, or go on with one; see ``Sessions.open``."""
        terms, sessions = Terms(key=key), self.plane.sessions
        opened = self._followed(lambda: sessions.open(model, terms, options, resume))
        return self.run(opened)

    def step(self, session: Session, values: Array, want: Want = "every") -> SequenceReply:
        """Step a session through observations [T, D]; see ``Sessions.step``."""
        return self.run(self._step(session, values, want))

    def fork(self, session: Session) -> Session:
        """Begin a session at the state where another one is."""
        return self.run(self.plane.sessions.fork(session, Terms()))

    def snapshot(
        self, session: Session, *, keep: bool = True
    ) -> tuple[SnapshotRecord | None, bytes]:
        """What is kept of a session's state, and its bytes; see ``Sessions.snapshot``."""
        return self.run(self.plane.sessions.snapshot(session, Terms(), keep=keep))

    def close_session(self, session: Session) -> None:
        """End a session; nothing of it is kept but its snapshots."""
        self.run(self.plane.sessions.close(session))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have ``work`` done on the plane's loop, and wait for it."""
        done = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return done.result()
        except BaseException:  # Ctrl-C ends the waiting, so the work is to end as well
            done.cancel()
            raise

    async def _answer(self, model: str, requests: Sequence[Any], terms: Terms) -> Answers:
        return await self._followed(lambda: self.plane.predict(model, requests, terms))

    async def _step(self, session: Session, values: Array, want: Want) -> SequenceReply:
        self.plane.sessions.deliver(session, session.step)  # whoever asks again has the last reply
        return await self.plane.sessions.step(session, values, Terms(), want)

    async def _followed(self, do: Callable[[], Awaitable[T]]) -> T:
        """What ``do()`` returns, by what the registry says now."""
        await self.plane.follow(everything=True)
        return await do()

    async def _end(self) -> None:
        """End the plane, and then what nobody waits for any more."""
        await self.plane.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def close(self) -> None:
        """Release the loaded models, and end the thread."""
        if self._loop.is_closed():
            return
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> LocalPlane:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
