"""The plane: the one path from a typed request to its reply, with or without a network.

It decides who may, finds the model, has it loaded, and lets the engine drive the family's
predictor. It belongs to one event loop; doors await it, ``local`` lends it a loop in-process.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from foretoken.errors import (
    ForetokenError,
    InvalidInput,
    NotFound,
    Unavailable,
)
from foretoken.models.catalog import family
from foretoken.models.kinds import Kind
from foretoken.records import ContextRecord
from foretoken.server.answering import Answering
from foretoken.server.answers import (
    Answers,
    LoadedVersion,
    expect_task,
    in_time,
    whole,
    with_context,
)
from foretoken.server.contexts.contexts import Contexts, Fitted, Seat
from foretoken.server.engine.batcher import Batcher
from foretoken.server.engine.observer import SILENT, Observer
from foretoken.server.housekeeping import Housekeeping
from foretoken.server.loading import BULK, key_of, load, slots, warm_up, yielding
from foretoken.server.registry.loaded import Loaded, LoadedModels
from foretoken.server.registry.records import Origin
from foretoken.server.registry.registry import Registry, ServingOptions, Version
from foretoken.server.rollouts import Rollouts, said
from foretoken.server.sessions.sessions import Sessions
from foretoken.server.settings import Settings
from foretoken.server.terms import Scope, Terms

__all__ = ["Answers", "LoadedVersion", "Plane"]

_log = logging.getLogger("foretoken.plane")
FIRST = 32  # models that are loaded at the start, budget permitting
LOADERS = 2  # versions that load at once
ANYONE = Terms()


class Plane:
    """Answers requests with the models of a registry.

    Args:
        registry: where versions are found; the caller closes it.
        settings: for what a version's serving options leave open.
        observer: hears of what is done.
    """

    def __init__(self, registry: Registry, settings: Settings, observer: Observer = SILENT) -> None:
        self.registry = registry
        self._settings = settings
        self._observer = observer
        self._loaders = ThreadPoolExecutor(LOADERS, "foretoken-load")
        count = slots(settings)
        self._pool = ThreadPoolExecutor(count, "foretoken-run", yielding)
        self._bulk_pool = ThreadPoolExecutor(count, "foretoken-bulk", yielding, (BULK,))
        self._batcher = Batcher(count, self._pool, observer)
        self._models = LoadedModels(settings.model_bytes, self._dropped)
        self._rollouts = Rollouts(registry, self._load, self._models.retire)
        self._answering = Answering(
            self._batcher, Batcher(count, self._bulk_pool, observer), count, observer
        )
        self._contexts = Contexts(registry, settings, observer, self._found, self._answering.driven)
        self._housekeeping = Housekeeping(registry, self._contexts, settings, observer)
        self.sessions = Sessions(registry, settings, self._batcher, observer, self._found)
        self._options: dict[str, tuple[int, ServingOptions, str]] = {}  # and what is loaded so
        self._follower: asyncio.Task[None] | None = None
        self._broken: set[str] = set()  # versions whose last load failed
        self._inflight = 0
        self._closing = False

    # -- answering --------------------------------------------------------------------------------

    async def predict(
        self,
        model: str,
        requests: Sequence[Any],
        terms: Terms = ANYONE,
        emit: Callable[[int, Any], None] = lambda _index, _reply: None,
    ) -> Answers:
        """Answer ``requests``, all of one task, by one version, together.

        Cancelling withdraws them.

        Args:
            model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``; may be empty for
                requests with a context.
            requests: of the task that the model's family answers; one with a context is answered
                by the version that it was fitted with, whatever the alias points at.
            terms: who asks, until when, how urgently, and on which side of a canary.
            emit: receives partial replies, with the index of their request.

        Raises:
            NotFound: if there is no such model, version, alias or context for the caller.
            InvalidInput: if a request is of another task or not acceptable to the model, or a
                context is of another model.
            FailedPrecondition: if the version of a context was deleted.
            Overloaded: if there is no room, or no time before the deadline.
            DeadlineExceeded: if the deadline passes.
            PermissionDenied: if the caller may not predict.
            Unavailable: if the model has been unloaded, or the plane is closing.
            DataLoss: if the version's files are not what was registered.
        """
        if any(map(with_context, requests)):
            return await self._with_contexts(model, requests, terms, emit)
        return await self.answer(await self.describe(model, terms), requests, terms, emit)

    async def answer(
        self,
        loaded: Loaded,
        requests: Sequence[Any],
        terms: Terms = ANYONE,
        emit: Callable[[int, Any], None] = lambda _index, _reply: None,
    ) -> Answers:
        """Answer as ``predict`` does, by a version that ``describe`` gave for the same terms."""
        if any(map(with_context, requests)):
            return await self._with_contexts(loaded.version.name, requests, terms, emit)
        began = in_time(terms)
        self._inflight += 1
        try:
            expect_task(loaded, requests)
            if loaded.family.kind is Kind.IN_CONTEXT:
                seats = [await self._contexts.look_up(loaded, each, terms) for each in requests]
            else:
                seats = [Seat(loaded, each) for each in whole(loaded, requests)]
            return await self._answering.answer(loaded, seats, terms, emit, began)
        finally:
            self._inflight -= 1

    async def _with_contexts(
        self,
        model: str,
        requests: Sequence[Any],
        terms: Terms,
        emit: Callable[[int, Any], None],
    ) -> Answers:
        """Answer requests some of which have contexts, which must be of one version."""
        terms.caller.expect(Scope.PREDICT)
        began = in_time(terms)
        self._inflight += 1
        try:
            fitted = {
                i: await self._contexts.seat(model, request, terms)
                for i, request in enumerate(requests)
                if with_context(request)
            }
            loaded = next(iter(fitted.values())).loaded
            if others := {s.loaded.version.ref for s in fitted.values()} - {loaded.version.ref}:
                raise InvalidInput(
                    f"contexts of one call are of one version; these are of {loaded.version.ref} "
                    f"and {', '.join(sorted(others))}: send them apart"
                )
            expect_task(loaded, requests)
            seats = [
                fitted.get(i) or await self._contexts.look_up(loaded, request, terms)
                for i, request in enumerate(requests)
            ]
            return await self._answering.answer(loaded, seats, terms, emit, began)
        finally:
            self._inflight -= 1

    # -- contexts ---------------------------------------------------------------------------------

    async def fit(self, model: str, request: Any, terms: Terms = ANYONE) -> Fitted:
        """Fit a training set and keep it, or find that it is kept already.

        Equal training sets of one tenant, fitted with one version, are one context. Its version
        stays the one that answers under ``model`` now.

        Args:
            model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
            request: a training set, such as rows to learn from and their target, and nothing to
                predict for.
            terms: who asks, and until when.

        Raises:
            As ``predict`` does, and
            Unsupported: if the model keeps no contexts, or this one is too large for the server.
            Overloaded: if the tenant's quota is used up.
        """
        loaded = await self.describe(model, terms)
        in_time(terms)
        self._inflight += 1
        try:
            expect_task(loaded, [request])
            return await self._contexts.fit(loaded, request, terms)
        finally:
            self._inflight -= 1

    async def measure(self, model: str, request: Any, terms: Terms = ANYONE) -> int:
        """Bytes that the context of a training set would take, besides the training set.

        Raises:
            As ``fit`` does; nothing is computed or kept.
        """
        loaded = await self.describe(model, terms)
        expect_task(loaded, [request])
        return await self._contexts.measure(loaded, request)

    async def context(self, context: str, terms: Terms = ANYONE) -> ContextRecord:
        """What there is to know of a context.

        Raises:
            NotFound: if the caller has none of that id.
            FailedPrecondition: if its version was deleted, and its data with it.
        """
        terms.caller.expect(Scope.PREDICT)
        return await self._contexts.context(context, terms)

    async def contexts(
        self, terms: Terms = ANYONE, model: str | None = None
    ) -> list[ContextRecord]:
        """The caller's contexts, of one model or of all, the last used first."""
        terms.caller.expect(Scope.PREDICT)
        return await self._contexts.contexts(terms, model)

    async def texts(self, context: str, terms: Terms = ANYONE) -> frozenset[str]:
        """Names of the columns that a context was fitted with as text.

        Raises:
            As ``context`` does.
        """
        terms.caller.expect(Scope.PREDICT)
        return await self._contexts.texts(context, terms)

    async def delete_context(self, context: str, terms: Terms = ANYONE) -> None:
        """Erase a context: its training set and all that was computed of it, for all workers.

        Raises:
            NotFound: if the caller has none of that id.
        """
        terms.caller.expect(Scope.PREDICT)
        await self._contexts.delete(context, terms)

    # -- what answers -----------------------------------------------------------------------------

    async def pin(self, model: str, terms: Terms = ANYONE) -> Version:
        """The version that answers under a reference now, loaded; its ``ref`` stays with it.

        Raises:
            As ``predict`` does, for the model and the caller.
        """
        return (await self.describe(model, terms)).version

    async def describe(self, model: str, terms: Terms = ANYONE) -> Loaded:
        """The version that answers under a reference now: what it is, its graphs and sizes.

        Raises:
            As ``pin`` does.
        """
        terms.caller.expect(Scope.PREDICT)
        return await self._found(model, terms)

    async def ready(self, model: str, terms: Terms = ANYONE, *, load: bool = True) -> bool:
        """Whether the model would answer.

        Args:
            model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
            terms: who asks.
            load: try, if it is not loaded; else what could not be loaded before is not ready.

        Raises:
            NotFound: if there is no such model, version or alias for the caller.
            InvalidInput: if ``model`` is not a reference.
        """
        try:
            if load:
                await self._found(model, terms)
                return True
            key = terms.key or terms.request_id or None
            version = await self._rollouts.locate(model, key, terms.caller)
            return not self._closing and version.ref not in self._broken
        except (NotFound, InvalidInput):
            raise
        except ForetokenError:
            return False

    async def _found(self, model: str, terms: Terms) -> Loaded:
        if self._closing:
            raise Unavailable("the server is closing; ask another one, or again in a moment")
        key = terms.key or terms.request_id or None
        known = self._rollouts.known(model, key, terms.caller)
        if known is None:
            return await self._rollouts.find(model, key, terms.caller)
        self._models.touch(known)
        return known

    def expect_time(self, loaded: Loaded, terms: Terms) -> None:
        """Refuse what cannot be answered in time, before any work is done for it.

        Raises:
            Overloaded: if the queue is too long for the deadline.
            DeadlineExceeded: if that has passed.
        """
        if terms.deadline < math.inf:
            self._batcher.expect_time(loaded.version.name, terms.deadline)

    # -- what is held -----------------------------------------------------------------------------

    @property
    def loaded(self) -> list[LoadedVersion]:
        """The versions in memory, the least recently used first."""
        return [
            LoadedVersion(m.version, m.family.task, m.executable.nbytes)
            for m in self._models.held()
        ]

    @property
    def contexts_open(self) -> int:
        """Contexts whose state this process has mapped."""
        return self._contexts.open

    @property
    def closing(self) -> bool:
        """Whether new requests are refused, because the server drains or has ended."""
        return self._closing

    @property
    def inflight(self) -> int:
        """Requests that are being answered now."""
        return self._inflight

    async def load(self, model: str, terms: Terms = ANYONE) -> Version:
        """Serve a model, by its name, again or from now on, and have its champion loaded.

        Raises:
            PermissionDenied: if the caller is no administrator.
            NotFound: if there is no such model for the caller.
            ForetokenError: if it does not load.
        """
        await self._administer(model, terms, served=True)
        return (await self._found(model, terms)).version

    async def unload(self, model: str, terms: Terms = ANYONE) -> None:
        """Serve a model no longer, under any alias or version, until ``load``; requests end.

        Raises:
            PermissionDenied: if the caller is no administrator.
            NotFound: if there is no such model for the caller.
        """
        await self._administer(model, terms, served=False)
        for held in self._models.held():
            if held.version.name == model:
                self._models.retire(held)

    async def _administer(self, model: str, terms: Terms, *, served: bool) -> None:
        terms.caller.expect(Scope.ADMIN)
        await asyncio.to_thread(self.registry.set_served, model, served, caller=terms.caller)
        await self.follow()

    async def follow(self, *, everything: bool = False) -> None:
        """Catch up with the registry now; what does not load leaves the old version serving.

        With ``everything``, wait also for versions that began to load before.
        """
        await self._rollouts.catch_up(everything=everything)
        self._let_go()
        await self._contexts.look()
        await self._housekeeping.tidy()

    def _let_go(self) -> None:
        """Forget versions of models that are no longer served, however they came to be held."""
        for held in self._models.held():
            if not self._rollouts.serves(held.version.name):
                self._models.retire(held)

    def _dropped(self, loaded: Loaded) -> None:
        self._rollouts.forget(loaded)
        self._observer.unloaded(loaded.version.name, loaded.version.number)
        if loaded.generator is not None:
            self._observer.pool(loaded.generator, loaded.version.name, 0)

    async def _load(self, version: Version) -> Loaded:
        options, key = await self._in_force(version)
        held = self._models.peek(key)
        return held or await self._models.get(
            key, version.size, lambda: self._loading(version, options)
        )

    async def _in_force(self, version: Version) -> tuple[ServingOptions, str]:
        """A version's options and ``key_of``, read again only after a commit to the registry."""
        state = self.registry.state()
        known = self._options.get(version.ref)
        if known is None or known[0] != state:
            options = await asyncio.to_thread(self.registry.serving_options, version)
            known = self._options[version.ref] = state, options, key_of(version, options)
        return known[1:]

    async def _loading(self, version: Version, options: ServingOptions) -> Loaded:
        loop, began = asyncio.get_running_loop(), time.monotonic()
        try:
            loaded = await loop.run_in_executor(
                self._loaders, load, self.registry, version, options, self._settings
            )
            await loop.run_in_executor(self._loaders, warm_up, loaded)
        except Exception as e:
            self._broken.add(version.ref)
            self._observer.load_failed(version.name, version.number, e)
            raise
        seconds = time.monotonic() - began
        self._broken.discard(version.ref)
        self._observer.loaded(version.name, version.number, seconds, loaded.executable.nbytes)
        if (generator := loaded.generator) is not None:
            self._observer.pool(generator, version.name, generator.blocks.count)
        return loaded

    # -- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the champions, as far as the budget goes, and follow the registry from now on.

        Those in the box that torch runs are loaded when they are first asked for: to import it
        takes a second and 200 MiB, which most servers can do without.
        """
        self._housekeeping.settle()
        room = self._settings.model_bytes
        for model in await asyncio.to_thread(self.registry.models, None, FIRST):
            try:
                version = await asyncio.to_thread(self.registry.resolve, model.name)
                room -= version.size
                if room >= 0 and not _waits(version):
                    await self._rollouts.find(model.name, None, ANYONE.caller)
            except Exception as e:  # the others are to be served whatever it is
                _log.error("%s is not served: %s", model.name, said(e))
        self._follower = asyncio.ensure_future(self._keep_following())

    async def _keep_following(self) -> None:
        while True:
            await asyncio.sleep(self._settings.follow)
            try:
                await self._rollouts.look()
                self._let_go()
                await self._contexts.look()
                await self._housekeeping.tidy()
                await self.sessions.tidy(self._rollouts.serves)
            except Exception as e:  # to follow ends with the plane, and with nothing else
                _log.error("cannot follow the registry: %s", said(e))

    async def drain(self, seconds: float) -> bool:
        """Take no new requests, and wait for those in flight; whether all of them ended."""
        self._closing = True
        end = time.monotonic() + seconds
        while self._inflight and time.monotonic() < end:
            await asyncio.sleep(0.01)
        return not self._inflight

    async def close(self) -> None:
        """Release the loaded models and the threads."""
        self._closing = True
        self._rollouts.close()
        if self._follower is not None:
            self._follower.cancel()
            with suppress(asyncio.CancelledError):
                await self._follower
        await self.sessions.close_all()
        await self._contexts.close()
        self._housekeeping.close()
        self._models.clear()
        self._loaders.shutdown(wait=False, cancel_futures=True)
        for pool in (self._pool, self._bulk_pool):
            pool.shutdown(wait=False, cancel_futures=True)


def _waits(version: Version) -> bool:
    """Whether a version is not loaded before it is asked for."""
    return version.origin is Origin.BUNDLED and family(version.family).kind is Kind.GENERATIVE
