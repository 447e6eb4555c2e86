"""Which version answers under a name, and how that changes without a request failing.

A route is an alias as this process serves it: the versions it leads to are loaded and warm. When an
alias moves, the new version is loaded beside the old one, and the route is switched only then;
should it not load, the old one goes on serving. Requests in flight end on the version that they
began on. A route is made when it is first asked for, or at the start.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property

from foretoken.errors import ForetokenError, NotFound, Unavailable
from foretoken.server.registry.aliases import pick
from foretoken.server.registry.loaded import Loaded
from foretoken.server.registry.lookup import no_model
from foretoken.server.registry.names import Ref
from foretoken.server.registry.records import Alias, Version
from foretoken.server.registry.registry import Registry
from foretoken.server.terms import LOCAL, Caller

__all__ = ["Rollouts", "said"]

_log = logging.getLogger("foretoken.rollouts")
REMEMBERED = 4096  # parsed references and versions by number
RETRY = 30.0  # seconds until a version that did not load is tried again
Load = Callable[[Version], Awaitable[Loaded]]


def said(error: Exception) -> str:
    """An error for the log; of one that is not of our tree, its kind as well."""
    return str(error) if isinstance(error, ForetokenError) else repr(error)


@dataclass(frozen=True)
class _Route:
    alias: Alias
    owner: str | None
    loaded: dict[int, Loaded]  # by version number: the alias's own, and its canary's

    @cached_property
    def only(self) -> Loaded | None:
        """The version that answers whatever the key is."""
        return next(iter(self.loaded.values())) if len(self.loaded) == 1 else None


class Rollouts:
    """Routes of one process; it belongs to one event loop.

    Args:
        registry: where aliases move.
        load: loads and warms a version, or gives it when it is held.
        retire: is told of a version that no route leads to any more.
    """

    def __init__(self, registry: Registry, load: Load, retire: Callable[[Loaded], None]) -> None:
        self._registry = registry
        self._load = load
        self._retire = retire
        self._routes: dict[Ref, _Route] = {}
        self._named: dict[str, _Route] = {}  # the same, by what callers say
        self._refs: dict[str, Ref] = {}
        self._versions: dict[Ref, Version] = {}
        self._unserved: frozenset[str] = frozenset()
        self._state: int | None = None
        self._retry = math.inf  # when to try again what did not load
        self._turn = asyncio.Lock()
        self._moves: dict[
            Ref, asyncio.Task[None]
        ] = {}  # routes on their way: the last move of each
        self._queued: set[asyncio.Task[None] | None] = set()  # moves that have not begun
        self._begun: list[asyncio.Task[None]] = []  # by the last look, of routes that were at rest

    def known(self, text: str, key: str | None, caller: Caller) -> Loaded | None:
        """What answers under an alias, if there is a route for it already; see ``find``."""
        route = self._named.get(text)
        if route is None or not caller.sees(route.owner):
            return None
        if route.only is not None:
            return route.only
        return route.loaded[pick(route.alias, key)]

    async def find(self, text: str, key: str | None, caller: Caller) -> Loaded:
        """What answers under a reference, loaded first if need be.

        Args:
            text: the reference.
            key: chooses the side of a canary.
            caller: must see the model.

        Raises:
            InvalidInput: if ``text`` is not a reference.
            NotFound: if there is no such model, version or alias, or none that the caller sees.
            Unavailable: if the model has been unloaded.
            ForetokenError: if it does not load.
        """
        if self._state is None:
            await self.catch_up()
        ref = self._parsed(text)
        if ref.alias is None:
            loaded = await self._load(await self._version(ref, caller))
            self._expect_served(ref)  # still, for to load takes a while
            return loaded
        while (route := self._routes.get(ref)) is None:
            state = self._registry.state()
            route = await self._made(ref, await self._alias(ref), caller)
            self._expect_served(ref)
            if state == self._registry.state():  # else it may have moved meanwhile
                route = self._routes.setdefault(ref, route)
                break
        if not caller.sees(route.owner):
            raise no_model(ref.name)
        self._named[text] = route
        return route.loaded[pick(route.alias, key)]

    async def locate(self, text: str, key: str | None, caller: Caller) -> Version:
        """The version that would answer under a reference; errors as for ``find``, but loading."""
        if (known := self.known(text, key, caller)) is not None:
            return known.version
        ref = self._parsed(text)
        if ref.alias is not None:
            alias = await self._alias(ref)
            ref = Ref(ref.name, version=pick(alias, key))
        return await self._version(ref, caller)

    def serves(self, name: str) -> bool:
        """Whether the model is to be served at all."""
        return name not in self._unserved

    def stale(self) -> bool:
        """Whether there is anything to catch up with."""
        return self._registry.state() != self._state or time.monotonic() > self._retry

    async def catch_up(self, *, everything: bool = False) -> None:
        """Bring every route to where the registry is now; one that cannot follow stays.

        Args:
            everything: wait also for routes that were on their way before; a version that takes
                long to load then holds the caller up, though never other routes.
        """
        await self.look()
        # Somebody else may have looked first: whose moves they are makes no difference.
        moves = [*self._moves.values()] if everything else self._begun
        if moves:
            await asyncio.wait(moves)

    async def look(self) -> None:
        """Begin to follow what has changed."""
        if not self.stale():
            return
        async with self._turn:
            if not self.stale():
                return
            state = self._registry.state()
            self._unserved = await asyncio.to_thread(self._registry.unserved)
            self._versions.clear()
            self._retry = math.inf
            resting = [ref for ref in self._routes if ref not in self._moves]
            for ref in list(self._routes):
                self._move(ref)
            self._state = state
            self._begun = [self._moves[ref] for ref in resting]

    def _move(self, ref: Ref) -> None:
        """Follow one route; if it is on its way already, once more behind that."""
        before = self._moves.get(ref)
        if before in self._queued:
            return
        task = self._moves[ref] = asyncio.ensure_future(self._moved(ref, before))
        self._queued.add(task)

    async def _moved(self, ref: Ref, before: asyncio.Task[None] | None) -> None:
        task = asyncio.current_task()
        if before is not None:
            await asyncio.wait([before])
        self._queued.discard(task)
        await self._follow(ref)
        if self._moves.get(ref) is task:
            del self._moves[ref]

    def close(self) -> None:
        """Follow no more."""
        for task in self._moves.values():
            task.cancel()

    def forget(self, loaded: Loaded) -> None:
        """Give up the routes that lead to a version; they are made again when asked for."""
        self._named.clear()
        for ref, route in list(self._routes.items()):
            if any(each is loaded for each in route.loaded.values()):
                del self._routes[ref]

    async def _follow(self, ref: Ref) -> None:
        before = self._routes.get(ref)
        if before is None:
            return
        after = None
        try:
            alias = await self._alias_or_none(ref)
            if alias is not None and ref.name not in self._unserved:
                after = await self._made(ref, alias, LOCAL)
        except Exception as e:  # whatever it is, it must not keep other routes where they are
            self._retry = time.monotonic() + RETRY
            _log.error("%s stays at %s: %s", ref, before.alias.target, said(e))
            return
        self._named.clear()
        if after is None:
            self._routes.pop(ref, None)
            _log.info("%s is no longer served", ref)
        else:
            self._routes[ref] = after
            if before.alias != after.alias:
                _log.info("%s moves to %s", ref, after.alias.target)
        served = {id(each) for route in self._routes.values() for each in route.loaded.values()}
        for loaded in before.loaded.values():
            if id(loaded) not in served:
                self._retire(loaded)

    async def _alias(self, ref: Ref) -> Alias:
        return await asyncio.to_thread(self._registry.alias, str(ref))

    async def _alias_or_none(self, ref: Ref) -> Alias | None:
        try:
            return await self._alias(ref)
        except NotFound:
            return None

    async def _made(self, ref: Ref, alias: Alias, caller: Caller) -> _Route:
        numbers = [alias.target.version]
        if alias.target.canary is not None:
            numbers.append(alias.target.canary.version)
        versions = [await self._version(Ref(ref.name, version=n), caller) for n in numbers]
        loaded = {version.number: await self._load(version) for version in versions}
        return _Route(alias, versions[0].owner, loaded)

    async def _version(self, ref: Ref, caller: Caller) -> Version:
        found = self._versions.get(ref)
        if found is None or self._registry.state() != self._state:
            found = await asyncio.to_thread(self._registry.resolve, str(ref))
            if len(self._versions) >= REMEMBERED:
                self._versions.clear()
            self._versions[ref] = found
        if not caller.sees(found.owner):
            raise no_model(ref.name)
        self._expect_served(ref)
        return found

    def _expect_served(self, ref: Ref) -> None:
        if ref.name in self._unserved:
            raise Unavailable(
                f"{ref.name} has been unloaded; `foretoken models load {ref.name}` serves it again"
            )

    def _parsed(self, text: str) -> Ref:
        ref = self._refs.get(text)
        if ref is None:
            ref = Ref.parse(text)
            if len(self._refs) >= REMEMBERED:
                self._refs.clear()
            self._refs[text] = ref
        return ref
