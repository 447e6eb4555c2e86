"""What administrators do with the registry of a running server, and what others may see of it.

Every method asks first whether the caller may. What the caller is not to know of does not exist for
it. The registry blocks, so it is spoken to by threads of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from foretoken.errors import (
    DataLoss,
    InvalidInput,
    NotFound,
    Overloaded,
)
from foretoken.models import catalog
from foretoken.models.artefact import Artefact
from foretoken.server.registrar import Registrar, Registration
from foretoken.server.registry.lookup import PAGE
from foretoken.server.registry.manifest import Manifest
from foretoken.server.registry.names import CHAMPION, Ref
from foretoken.server.registry.options import ServingOptions
from foretoken.server.registry.records import (
    Alias,
    AliasEvent,
    Model,
    Relation,
    Status,
    Version,
)
from foretoken.server.registry.verify import FileReport
from foretoken.server.terms import Caller, Scope, Terms
from foretoken.server.uploads import Upload

if TYPE_CHECKING:
    from foretoken.server.plane import Plane

__all__ = ["Admin", "Chunks", "Shown"]

T = TypeVar("T")
THREADS = 4
UPLOADS = 4  # at a time in one worker
CHUNK = 1 << 20  # bytes that one reading returns at most
REPORTS = 100  # of a verification, and
SECONDS = 5.0  # after which it ends its page with the version that it has come to

Chunks = Callable[[], Awaitable[bytes | None]]  # the next bytes, or None at the end


@dataclass(frozen=True)
class Shown:
    """All there is to know of a version; of one that is not READY only the first.

    Args:
        version: itself.
        task: that its family answers, empty when this release has no such family.
        kind: of its family.
        manifest: what it consists of.
        options: with which it is served.
    """

    version: Version
    task: str = ""
    kind: str = ""
    manifest: Manifest | None = None
    options: ServingOptions | None = None


class Admin:
    """The registry, on behalf of callers.

    Args:
        plane: whose registry it is.
        follow: returns when every worker knows what is committed now.
        upload_bytes: most bytes of all files of a version that is registered.
    """

    def __init__(
        self, plane: Plane, follow: Callable[[], Awaitable[None]], upload_bytes: int
    ) -> None:
        self._plane = plane
        self._registry = plane.registry
        self._follow = follow
        self._registrar = Registrar(plane.registry, upload_bytes)
        self._uploads = 0
        self._threads = ThreadPoolExecutor(THREADS, "foretoken-admin")

    def close(self) -> None:
        """Take no more calls; what has begun ends by itself."""
        self._threads.shutdown(wait=False)

    # -- looking ----------------------------------------------------------------------------------

    async def models(
        self, caller: Caller, after: str | None = None, limit: int = PAGE
    ) -> list[Model]:
        """A page of the models that there are for the caller; see ``Registry.models``."""
        return await self._run(self._registry.models, after, limit, tenants=_tenants(caller))

    async def versions(
        self,
        caller: Caller,
        name: str,
        after: int | None = None,
        limit: int = PAGE,
        *,
        unready: bool = False,
    ) -> list[Version]:
        """A page of a model's versions; see ``Registry.versions``."""
        look = partial(self._registry.versions, name, after, limit, unready=unready)
        return await self._seen(caller, name, look)

    async def show(self, caller: Caller, ref: str) -> Shown:
        """All there is to know of a version; see ``Registry.show``."""
        return await self._seen(caller, Ref.parse(ref).name, partial(self._shown, ref))

    async def aliases(self, caller: Caller, name: str) -> list[Alias]:
        """A model's aliases; see ``Registry.aliases``."""
        return await self._seen(caller, name, partial(self._registry.aliases, name))

    async def history(
        self, caller: Caller, name: str, alias: str | None = None
    ) -> list[AliasEvent]:
        """Every move of a model's aliases; see ``Registry.history``."""
        return await self._seen(caller, name, partial(self._registry.history, name, alias))

    async def options(self, caller: Caller, name: str) -> ServingOptions:
        """What is set for all versions of a model; see ``Registry.options``."""
        return await self._seen(caller, name, partial(self._registry.options, name))

    # -- changing ---------------------------------------------------------------------------------

    async def set_alias(
        self,
        caller: Caller,
        name: str,
        alias: str,
        version: int,
        *,
        canary: float | None = None,
        expect_generation: int | None = None,
    ) -> Alias:
        """Point an alias at a version, or a share of its traffic; see ``Registry.set_alias``."""
        move = partial(
            self._registry.set_alias,
            name,
            alias,
            version,
            canary=canary,
            expect_generation=expect_generation,
            actor=caller.name,
        )
        return await self._changed(caller, name, move)

    async def delete_alias(
        self, caller: Caller, name: str, alias: str, *, expect_generation: int | None = None
    ) -> None:
        """Remove an alias; see ``Registry.delete_alias``."""
        remove = partial(
            self._registry.delete_alias,
            name,
            alias,
            expect_generation=expect_generation,
            actor=caller.name,
        )
        await self._changed(caller, name, remove)

    async def rollback(self, caller: Caller, name: str, alias: str = CHAMPION) -> Alias:
        """Undo the last move of an alias; see ``Registry.rollback``."""
        back = partial(self._registry.rollback, name, alias, actor=caller.name)
        return await self._changed(caller, name, back)

    async def set_options(
        self, caller: Caller, name: str, options: ServingOptions
    ) -> ServingOptions:
        """Set the options for all versions of a model; see ``Registry.set_options``."""
        set_ = partial(self._registry.set_options, name, options, actor=caller.name)
        await self._changed(caller, name, set_)
        return await self.options(caller, name)

    async def delete(self, caller: Caller, ref: str, *, force: bool = False) -> Version:
        """Delete a version, given as ``NAME:VERSION``; see ``Registry.delete``."""
        name = Ref.parse(ref).name
        return await self._changed(caller, name, partial(self._registry.delete, ref, force=force))

    async def load(self, name: str, terms: Terms) -> None:
        """Have every worker serve a model from now on; see ``Plane.load``."""
        terms.caller.expect(Scope.ADMIN)
        await self._plane.load(name, terms)
        await self._follow()

    async def unload(self, name: str, terms: Terms) -> None:
        """Have no worker serve a model until it is loaded again; see ``Plane.unload``."""
        terms.caller.expect(Scope.ADMIN)
        await self._plane.unload(name, terms)
        await self._follow()

    # -- bytes ------------------------------------------------------------------------------------

    async def verify(
        self, caller: Caller, ref: str | None = None, after: str | None = None
    ) -> tuple[list[FileReport], str]:
        """Hash the files of one version, or of a page of those that the caller sees.

        Args:
            caller: who asks.
            ref: of the version.
            after: ``NAME:VERSION`` that the page before this one ended with.

        Returns:
            The reports, and where the next page goes on; empty when there is none.

        Raises:
            NotFound: if there is no such READY version for the caller.
        """
        caller.expect(Scope.ADMIN)
        if ref is None:
            return await self._run(self._verified, caller, after)
        one = partial(self._registry.verify, ref)
        name = Ref.parse(ref).name
        return await self._seen(caller, name, lambda: list(one())), ""

    async def read(self, caller: Caller, ref: str, file: str, offset: int, limit: int) -> bytes:
        """At most ``limit`` bytes of a file of a READY version, from ``offset`` on.

        Raises:
            NotFound: if there is no such version for the caller, or no such file in it.
            InvalidInput: if ``offset`` or ``limit`` makes no sense.
            DataLoss: if the file is gone.
        """
        caller.expect(Scope.ADMIN)
        if offset < 0 or not 1 <= limit <= CHUNK:
            raise InvalidInput(f"offset is 0 or more, and limit 1 to {CHUNK} bytes")
        look = partial(self._part, ref, file, offset, limit)
        return await self._seen(caller, Ref.parse(ref).name, look)

    async def register(self, caller: Caller, wanted: Registration, chunks: Chunks) -> Version:
        """Receive the files of a version, and register it when they are whole and it answers.

        Args:
            caller: becomes its actor, and its tenant the owner of a new model.
            wanted: what is to come.
            chunks: gives the bytes.

        Raises:
            InvalidInput: if other bytes come than were announced.
            DataLoss: if they do not hash to what was announced.
            Overloaded: if there are too many uploads already.
            Others: as ``Registrar.check`` and ``Registrar.admit`` do.
        """
        caller.expect(Scope.ADMIN)
        await self._run(self._registrar.check, caller, wanted)
        if self._uploads >= UPLOADS:
            raise Overloaded(f"{UPLOADS} uploads are under way in this worker; try again later")
        upload = Upload(wanted.files, self._registry.incoming)
        self._uploads += 1
        try:
            while (data := await chunks()) is not None:
                await self._run(upload.write, data)
            files = await self._run(upload.finish)
            version = await self._run(self._registrar.admit, caller, wanted, files)
        finally:
            self._uploads -= 1
            await asyncio.shield(self._run(upload.discard))
        await self._follow()
        return version

    async def expect_change(self, caller: Caller, name: str) -> None:
        """Refuse before long work what ``derive`` would refuse after it.

        Raises:
            PermissionDenied: if the caller may not register, or not under this name.
            NotFound: if there is no such model for the caller.
        """
        caller.expect(Scope.ADMIN)
        await self._run(self._registry.expect_reach, name, caller, change=True)

    async def derive(
        self, caller: Caller, parent: Version, change: Callable[[Artefact], Artefact]
    ) -> Version:
        """Register what ``change`` makes of a version as another one of its model, its child.

        Args:
            caller: becomes its actor.
            parent: READY.
            change: of the description; the files stay.

        Raises:
            Others: as ``expect_change`` and ``Registry.register`` do.
        """

        def run() -> Version:
            made = change(self._registry.artefact(parent))
            derived = Relation.DERIVED_FROM
            return self._registry.register(
                parent.name, made, parent=parent, relation=derived, actor=caller.name
            )

        return await self._changed(caller, parent.name, run)

    # -- in a thread ------------------------------------------------------------------------------

    async def _run(self, do: Callable[..., T], *args: Any, **named: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(do, *args, **named))

    async def _seen(self, caller: Caller, name: str, look: Callable[[], T]) -> T:
        def run() -> T:
            self._registry.expect_reach(name, caller)
            return look()

        return await self._run(run)

    async def _changed(self, caller: Caller, name: str, change: Callable[[], T]) -> T:
        caller.expect(Scope.ADMIN)

        def run() -> T:
            self._registry.expect_reach(name, caller, change=True)
            return change()

        changed = await self._run(run)
        await self._follow()
        return changed

    def _shown(self, ref: str) -> Shown:
        version = self._registry.show(ref)
        if version.status is not Status.READY:
            return Shown(version)
        family = catalog.families().get(version.family)
        return Shown(
            version,
            task=family.task if family else "",
            kind=family.kind if family else "",
            manifest=self._registry.manifest(version),
            options=self._registry.serving_options(version),
        )

    def _verified(self, caller: Caller, after: str | None) -> tuple[list[FileReport], str]:
        last = None if after is None else Ref.parse(after)
        if last is not None:
            self._registry.expect_reach(last.name, caller)
        reports: list[FileReport] = []
        end = time.monotonic() + SECONDS
        for version in self._registry.all_versions(last, tenants=_tenants(caller)):
            reports += self._registry.verify(version.ref)
            if len(reports) >= REPORTS or time.monotonic() > end:
                return reports, version.ref
        return reports, ""

    def _part(self, ref: str, file: str, offset: int, limit: int) -> bytes:
        version = self._registry.resolve(ref)
        files = self._registry.artefact(version, verify=False).files
        if file not in files:
            raise NotFound(f"{version.ref} has no file {file!r}; it has {', '.join(sorted(files))}")
        try:
            with files[file].open("rb") as stream:
                stream.seek(offset)
                return stream.read(limit)
        except OSError as e:
            raise DataLoss(f"{version.ref}: {file} cannot be read: {e.strerror}") from e


def _tenants(caller: Caller) -> frozenset[str] | None:
    """Whose models the caller sees beside everybody's; None: all there are."""
    if caller.tenant is not None:
        return frozenset({caller.tenant})
    return None if Scope.ADMIN in caller.scopes else frozenset()
