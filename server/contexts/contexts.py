"""Contexts as a plane uses them: fits once, opens what is kept, computes anew what is not.

It belongs to one event loop. Every look at a context is as new as the catalogue: what another
worker has deleted is not found here from then on, though it may still be mapped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar, cast

from foretoken.errors import DataLoss, ForetokenError, InvalidInput, Unsupported
from foretoken.models.contract import Context, Steps
from foretoken.models.kinds import InContext, Kind
from foretoken.records import ContextRecord
from foretoken.server.answers import expect_task
from foretoken.server.contexts import states
from foretoken.server.contexts.flights import Flights
from foretoken.server.contexts.forms import form_of
from foretoken.server.contexts.identity import Fitter, tenant_key
from foretoken.server.contexts.limits import expect_state
from foretoken.server.contexts.opened import Opened, OpenedContexts
from foretoken.server.contexts.store import Budgets, StoredContext, expiry
from foretoken.server.engine.observer import Observer
from foretoken.server.registry.loaded import Loaded
from foretoken.server.registry.registry import Registry, Version
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

__all__ = ["Contexts", "Fitted", "Seat"]

_log = logging.getLogger("foretoken.contexts")
T = TypeVar("T")

Find = Callable[[str, Terms], Awaitable[Loaded]]
Drive = Callable[[Loaded, Steps, Terms], Awaitable[Any]]


class Fitted(NamedTuple):
    """A context that is kept.

    Args:
        context: what is told of it.
        cached: whether it was there already.
        version: that it was made on, and stays with.
        seconds: that it took.
        notes: choices that were made for the caller.
    """

    context: ContextRecord
    cached: bool
    version: Version
    seconds: float
    notes: tuple[str, ...]


class Seat(NamedTuple):
    """What a request is answered by.

    Args:
        loaded: the version.
        request: in canonical form.
        context: its training set, fitted; None: the request brings its own.
        hit: whether the context was there; None for a model that keeps none.
    """

    loaded: Loaded
    request: Any
    context: Context | None = None
    hit: bool | None = None


class Contexts:
    """The contexts of one plane.

    Args:
        registry: where they are kept.
        settings: what there is room for.
        observer: hears of what is found and evicted.
        find: the loaded version that answers under a reference.
        drive: has a predictor's steps run.
    """

    def __init__(
        self, registry: Registry, settings: Settings, observer: Observer, find: Find, drive: Drive
    ) -> None:
        self._registry = registry
        self._store = registry.contexts
        self._settings = settings
        self._budgets = Budgets(
            settings.context_bytes, settings.context_quota, settings.context_ttl
        )
        self._observer = observer
        self._find = find
        self._drive = drive
        self._opened = OpenedContexts(settings.context_memory)
        self._fits: Flights[StoredContext] = Flights()
        self._opens: Flights[tuple[Opened, bool]] = Flights()
        self._keys: dict[str | None, bytes] = {}
        self._secret: bytes | None = None
        self._used: dict[str, datetime] = {}  # not noted in the catalogue yet
        self._seen: int | None = None  # state of the registry at the last look

    # -- fitting ----------------------------------------------------------------------------------

    async def fit(self, loaded: Loaded, request: Any, terms: Terms) -> Fitted:
        """See ``Plane.fit``."""
        began, version, tenant = time.monotonic(), loaded.version, terms.caller.tenant
        _in_context(loaded)
        form_of(request).expect_training(request, self._settings)
        request = await _aside(request, lambda: _canonical(loaded, request))
        context = await self._named(loaded, request, terms)
        known = await asyncio.to_thread(self._store.known, context, tenant)
        self._observer.context(version.name, "miss" if known is None else "hit")
        if known is not None:
            self._note_use(context)
            return Fitted(known.record, True, version, time.monotonic() - began, known.notes)
        size = await _aside(request, lambda: _size(loaded, request))
        expect_state(size, self._settings)
        room = size + form_of(request).nbytes(request)
        await asyncio.to_thread(self._store.expect_room, context, tenant, room, self._budgets)
        made = await self._fits.share(
            context, lambda: self._fit(loaded, context, request, terms), terms.deadline
        )
        return Fitted(made.record, False, version, time.monotonic() - began, made.notes)

    async def measure(self, loaded: Loaded, request: Any) -> int:
        """See ``Plane.measure``."""
        _in_context(loaded)
        form_of(request).expect_training(request, self._settings)
        request = await _aside(request, lambda: _canonical(loaded, request))
        return await _aside(request, lambda: _size(loaded, request))

    async def _fit(self, loaded: Loaded, context: str, request: Any, terms: Terms) -> StoredContext:
        # Others may come to wait for this: one caller's deadline is not theirs.
        patient = Terms(terms.caller, priority=terms.priority, request_id=terms.request_id)
        predictor = _in_context(loaded)
        made = await self._drive(loaded, predictor.fit(request), patient)
        new = self._new(loaded, context, request, made, terms.caller.tenant)
        seen = self._registry.state()
        stored, evicted = await asyncio.to_thread(
            self._store.keep, new, request, made, predictor.version, self._budgets
        )
        self._observer.contexts_evicted(evicted)
        with suppress(DataLoss):  # evicted again already; what was computed is as good
            made = await asyncio.to_thread(self._store.state, stored, predictor.version)
        self._opened.put(Opened(stored, seen, made))
        return stored

    def _new(
        self,
        loaded: Loaded,
        context: str,
        request: Any,
        made: Context,
        tenant: str | None,
    ) -> StoredContext:
        version, now = loaded.version, datetime.now(UTC)
        record = ContextRecord(
            id=context,
            model=version.name,
            version=version.number,
            members=states.members(made),
            nbytes=states.nbytes(made),
            kept_nbytes=0,
            created=now,
            used=now,
            expires=expiry(now, self._settings.context_ttl),
            **form_of(request).told(request),
        )
        return StoredContext(
            record,
            tenant,
            version.manifest_digest,
            table_digest="",
            table_size=0,
            kept_digest=None,
            notes=_in_context(loaded).notes(made),
        )

    # -- answering --------------------------------------------------------------------------------

    async def seat(self, model: str, request: Any, terms: Terms) -> Seat:
        """What a request with a context is answered by: the version that it was made on.

        Args:
            model: that the caller names; empty for whichever the context is of.
            request: with a context.
            terms: who asks.

        Raises:
            NotFound: if the caller has no such context, or the model is not there for it.
            FailedPrecondition: if the context's version was deleted.
            InvalidInput: if it is of another model, or its columns are others.
            DataLoss: if its training set is damaged and its state gone.
        """
        assert request.context is not None
        opened, hit = await self._open(request.context, model, terms)
        record = opened.stored.record
        loaded = await self._find(f"{record.model}:{record.version}", terms)
        expect_task(loaded, [request])
        asked = form_of(request).asked(request, record)
        self._observer.context(record.model, "hit" if hit else "rebuilt")
        self._note_use(record.id)
        return Seat(loaded, asked, opened.context, hit)

    async def look_up(self, loaded: Loaded, request: Any, terms: Terms) -> Seat:
        """What a request without a context is answered by: one that is kept all the same, if so.

        Raises:
            InvalidInput: if its table is not acceptable.
        """
        if loaded.family.kind is not Kind.IN_CONTEXT:
            return Seat(loaded, request)
        form = form_of(request)
        if not form.brings(request):
            return Seat(loaded, form.canonical(request), hit=False)
        request = await _aside(request, lambda: _canonical(loaded, request))
        context = await self._named(loaded, request, terms)
        opened = await self._open_kept(loaded, context, terms)
        self._observer.context(loaded.version.name, "miss" if opened is None else "hit")
        if opened is None:
            return Seat(loaded, request, hit=False)
        self._note_use(context)
        return Seat(loaded, request, opened.context, hit=True)

    async def _open(self, context: str, model: str, terms: Terms) -> tuple[Opened, bool]:
        """A context, and whether its state was there."""
        state, opened = self._registry.state(), self._opened.get(context)
        if opened is not None and opened.seen == state and _current(opened, terms):
            _expect_model(opened.stored.record, model)
            return opened, True
        stored = await asyncio.to_thread(self._store.find, context, terms.caller.tenant)
        _expect_model(stored.record, model)
        if opened is not None and opened.stored.kept_digest == stored.kept_digest:
            opened.stored, opened.seen = stored, state
            return opened, True
        return await self._opens.share(
            context, lambda: self._load(stored, state, terms), terms.deadline
        )

    async def _open_kept(self, loaded: Loaded, context: str, terms: Terms) -> Opened | None:
        """A context whose state is there; nothing is computed for it."""
        tenant, version = terms.caller.tenant, _in_context(loaded).version
        state, opened = self._registry.state(), self._opened.get(context)
        if opened is not None and opened.seen == state and _current(opened, terms):
            return opened
        stored = await asyncio.to_thread(self._store.known, context, tenant)
        if stored is None or stored.kept_digest is None:
            return None
        try:
            mapped = await asyncio.to_thread(self._store.state, stored, version)
        except DataLoss:
            await asyncio.to_thread(self._store.forget_state, stored)
            return None
        found = Opened(stored, state, mapped)
        self._opened.put(found)
        return found

    async def _load(self, stored: StoredContext, seen: int, terms: Terms) -> tuple[Opened, bool]:
        """Open a context, by computing its state anew if it is gone, damaged or out of date."""
        patient = Terms(terms.caller, priority=terms.priority, request_id=terms.request_id)
        loaded = await self._find(f"{stored.record.model}:{stored.record.version}", patient)
        predictor = _in_context(loaded)
        if stored.kept_digest is not None:
            try:
                mapped = await asyncio.to_thread(self._store.state, stored, predictor.version)
            except DataLoss:
                await asyncio.to_thread(self._store.forget_state, stored)
            else:
                opened = Opened(stored, seen, mapped)
                self._opened.put(opened)
                return opened, True
        request = await asyncio.to_thread(self._store.table, stored)
        made = await self._drive(loaded, predictor.fit(request), patient)
        stored, evicted = await asyncio.to_thread(
            self._store.keep_state, stored, made, predictor.version, self._budgets
        )
        self._observer.contexts_evicted(evicted)
        with suppress(DataLoss):  # evicted again already; what was computed is as good
            made = await asyncio.to_thread(self._store.state, stored, predictor.version)
        opened = Opened(stored, seen, made)
        self._opened.put(opened)
        return opened, False

    # -- looking and deleting ---------------------------------------------------------------------

    async def context(self, context: str, terms: Terms) -> ContextRecord:
        """See ``Plane.context``."""
        found = await asyncio.to_thread(self._store.find, context, terms.caller.tenant)
        return found.record

    async def contexts(self, terms: Terms, model: str | None) -> list[ContextRecord]:
        """See ``Plane.contexts``."""
        found = await asyncio.to_thread(self._store.list, terms.caller.tenant, model)
        return [each.record for each in found]

    async def texts(self, context: str, terms: Terms) -> frozenset[str]:
        """See ``Plane.texts``."""
        opened = self._opened.peek(context)
        if opened is not None and _current(opened, terms):
            return frozenset(opened.stored.record.texts)  # they never change
        found = await asyncio.to_thread(self._store.find, context, terms.caller.tenant)
        return frozenset(found.record.texts)

    async def delete(self, context: str, terms: Terms) -> None:
        """See ``Plane.delete_context``."""
        await asyncio.to_thread(self._store.delete, context, terms.caller.tenant)
        self._opened.drop(context)
        self._used.pop(context, None)

    # -- following --------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """How many contexts this worker has open."""
        return len(self._opened)

    async def look(self) -> None:
        """Let go of what other processes have deleted or evicted; cheap while they do nothing."""
        state = self._registry.state()
        if state == self._seen:
            return
        self._seen, ids = state, self._opened.ids
        there = await asyncio.to_thread(self._store.look, ids) if ids else {}
        for context in ids:
            stored, opened = there.get(context), self._opened.peek(context)
            if opened is None:
                continue
            if stored is None or stored.kept_digest != opened.stored.kept_digest:
                self._opened.drop(context)
            else:
                opened.stored, opened.seen = stored, state

    async def note_uses(self) -> None:
        """Write down when contexts were used last."""
        used, self._used = self._used, {}
        if used:
            await asyncio.to_thread(self._touch, used)

    def _touch(self, used: Mapping[str, datetime]) -> None:
        self._store.touch(used, self._settings.context_ttl)

    async def close(self) -> None:
        """Give up what is under way, and let go of everything."""
        await self._fits.close()
        await self._opens.close()
        self._opened.clear()
        used, self._used = self._used, {}
        if used:  # in this thread: an interpreter that ends, as a script's does, starts no other
            try:
                self._touch(used)
            except ForetokenError as e:  # the data dir is gone, say; the rest ends all the same
                _log.warning("uses of contexts are not noted: %s", e)

    # -- ids --------------------------------------------------------------------------------------

    async def _named(self, loaded: Loaded, request: Any, terms: Terms) -> str:
        tenant = terms.caller.tenant
        key = self._keys.get(tenant)
        if key is None:
            if self._secret is None:
                self._secret = await asyncio.to_thread(self._store.secret)
            key = self._keys[tenant] = tenant_key(self._secret, tenant)
        salt, model = key, Fitter.of(loaded.version, _in_context(loaded).version)
        form = form_of(request)
        return await _aside(request, lambda: form.context_id(salt, model, request))

    def _note_use(self, context: str) -> None:
        self._used[context] = datetime.now(UTC)


def _in_context(loaded: Loaded) -> InContext:
    if loaded.family.kind is not Kind.IN_CONTEXT:
        raise Unsupported(
            f"model {loaded.version.name!r} fits no contexts: it is {loaded.family.kind}"
        )
    return cast("InContext", loaded.predictor)


def _canonical(loaded: Loaded, request: Any) -> Any:
    """The canonical form with all options: left out or given as it is, a default is the same."""
    request = form_of(request).canonical(request)
    return replace(request, options=_in_context(loaded).options(request.options))


def _size(loaded: Loaded, request: Any) -> int:
    predictor = _in_context(loaded)
    graphs = [lane.graph for lane in loaded.lanes.values()]
    return states.announced(graphs, predictor.lengths(request), predictor.keeps)


def _current(opened: Opened, terms: Terms) -> bool:
    """Whether an opened context is this caller's and has not expired since it was looked at."""
    stored = opened.stored
    expires = stored.record.expires
    over = expires is not None and expires <= datetime.now(UTC)
    return stored.tenant == terms.caller.tenant and not over


def _expect_model(record: ContextRecord, model: str) -> None:
    """A model is named as in any other call; of its name and number, what is said must be true."""
    named, _, number = model.rpartition("@")[2].partition(":")
    if model and (named != record.model or number not in ("", str(record.version))):
        raise InvalidInput(
            f"context {record.id} was fitted with {record.model}:{record.version}, not with "
            f"{model}; leave the model out, or fit with that one"
        )


async def _aside(request: Any, work: Callable[[], T]) -> T:
    """What ``work()`` returns, done in a thread if the training set is large."""
    return await asyncio.to_thread(work) if form_of(request).large(request) else work()
